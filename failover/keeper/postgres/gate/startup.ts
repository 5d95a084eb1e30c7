/**
 * The first message of a client of PostgreSQL (manual, "Message Formats", StartupMessage, SSLRequest, GSSENCRequest,
 * CancelRequest). Pure.
 */
import { seam } from '../../../contract/seam';

/** Longest first message that is taken, bytes. PostgreSQL itself takes 10,000 (MAX_STARTUP_PACKET_LENGTH). */
export const STARTUP_MAX = 10_000;
/** Length of a CancelRequest, bytes. */
const CANCEL_LENGTH = 16;
const SSL_REQUEST = 80_877_103;
const GSS_REQUEST = 80_877_104;
const CANCEL_REQUEST = 80_877_102;
const PROTOCOL_3 = 3;
/** Longest part of a client's own name that is kept, characters. */
const OWN_NAME_MAX = 40;
/**
 * Begins the name of each session that comes through the gate. PostgreSQL compares `synchronous_standby_names` with whole
 * names, and no node's name has a space.
 */
const NAME_HEAD = 'replication client ';

export type First =
  | { readonly kind: 'more' }
  | { readonly kind: 'refused'; readonly why: string }
  | { readonly kind: 'ssl' | 'gss'; readonly rest: Buffer }
  | { readonly kind: 'cancel'; readonly packet: Buffer }
  | { readonly kind: 'session'; readonly startup: Startup; readonly rest: Buffer };

/** How a client wants its session. */
export interface Startup {
  readonly replicates: boolean;
  /** The name that the session gets. */
  readonly name: string;
  /** The message with that name, for PostgreSQL. */
  readonly packet: Buffer;
}

/** Reads the first message from what a client has sent so far. */
export function readFirst(bytes: Buffer): First {
  if (bytes.length < 8) return { kind: 'more' };
  const length = bytes.readUInt32BE(0);
  const code = bytes.readUInt32BE(4);
  if (length < 8 || length > STARTUP_MAX)
    return { kind: 'refused', why: 'this is no message of PostgreSQL’s protocol' };
  if (bytes.length < length) return { kind: 'more' };
  const rest = bytes.subarray(length);
  if (length === 8 && code === SSL_REQUEST) return { kind: 'ssl', rest };
  if (length === 8 && code === GSS_REQUEST) return { kind: 'gss', rest };
  if (length === CANCEL_LENGTH && code === CANCEL_REQUEST) return { kind: 'cancel', packet: bytes.subarray(0, length) };
  if (code >>> 16 !== PROTOCOL_3)
    return { kind: 'refused', why: 'only version 3 of PostgreSQL’s protocol is spoken here' };
  const parameters = parametersOf(bytes.subarray(8, length));
  if (parameters === null) return { kind: 'refused', why: 'the startup message is malformed' };
  return { kind: 'session', startup: startupOf(code, parameters), rest };
}

/** Names and values, each as its bytes; null: the message is malformed. */
function parametersOf(body: Buffer): [name: string, value: string][] | null {
  // latin1 keeps every byte as it is.
  const texts = body.toString('latin1').split('\0');
  // The list ends with an empty name, and the message with that name's zero byte.
  if (texts.length < 2 || texts.pop() !== '' || texts.pop() !== '' || texts.length % 2 !== 0) return null;
  const pairs: [string, string][] = [];
  for (let at = 0; at < texts.length; at += 2) pairs.push([texts[at] ?? '', texts[at + 1] ?? '']);
  return pairs.some(([name]) => name === '') ? null : pairs;
}

function startupOf(code: number, parameters: readonly [name: string, value: string][]): Startup {
  const last = (wanted: string) => parameters.findLast(([name]) => name === wanted)?.[1];
  const name = clientName(last('application_name') ?? '');
  const kept = parameters.filter(([key]) => key !== 'application_name');
  const text = [...kept, ['application_name', name]].flatMap(([key, value]) => [key, '\0', value, '\0']).join('');
  const body = Buffer.from(`${text}\0`, 'latin1');
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + body.length, 0);
  head.writeUInt32BE(code, 4);
  return { replicates: replicates(last('replication')), name, packet: Buffer.concat([head, body]) };
}

/** PostgreSQL's backend_startup.c: `database`, or a boolean. What it would refuse counts as true. */
function replicates(value: string | undefined): boolean {
  return value !== undefined && !/^(f|fa|fal|fals|false|of|off|n|no|0)$/i.test(value);
}

/** The name of a session whose client calls itself so. */
export const clientName = seam((own: string): string => {
  return `${NAME_HEAD}${own.replaceAll(/[^\x21-\x7e]/g, '?').slice(0, OWN_NAME_MAX)}`;
});

/** An error after which the client has to go (manual, "Error and Notice Message Fields"). */
export function fatal(sqlState: string, message: string): Buffer {
  const body = Buffer.from(`SFATAL\0VFATAL\0C${sqlState}\0M${message}\0\0`);
  const head = Buffer.alloc(5);
  head.write('E', 0, 'latin1');
  head.writeUInt32BE(4 + body.length, 1);
  return Buffer.concat([head, body]);
}
