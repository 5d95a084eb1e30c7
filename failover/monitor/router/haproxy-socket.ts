/** Sends a request to HAProxy over a Unix socket, with a deadline, and parses the answers. The parsers are pure. */
import { connect } from 'node:net';
import { StringDecoder } from 'node:string_decoder';

/** A command without an answer within this time counts as not done (S15), ms. */
export const ANSWER_LIMIT_MS = 100;
/** Longest time that a list of sessions may take, ms. */
const LIST_LIMIT_MS = 2_000;
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** Port of a backend slot that has never got an address. A connect to it is refused at once. */
export const CLOSED_PORT = 1;

/**
 * False when the line must not be sent any more, because the process stood still since it decided to send it (S11).
 * Called just before a line is sent.
 */
type MayStill = () => boolean;

/**
 * Sends one line (commands joined by `;`) and resolves with the whole answer. Throws at the deadline and on any error.
 */
export async function ask(
  path: string,
  line: string,
  limitMs: number = ANSWER_LIMIT_MS,
  mayStill: MayStill = () => true,
): Promise<string> {
  const lines: string[] = [];
  await askLines(path, line, (one) => lines.push(one), mayStill, limitMs, limitMs);
  return lines.join('\n');
}

/**
 * Sends one line, calls `each` with every line of the answer as it arrives, and resolves at its end. A list of
 * thousands of sessions takes long, so the deadline `silenceMs` begins anew with each part of the answer. Throws at
 * that deadline, after `limitMs` in total, and on any error.
 */
export function askLines(
  path: string,
  line: string,
  each: (line: string) => void,
  mayStill: MayStill,
  silenceMs: number = ANSWER_LIMIT_MS,
  limitMs: number = LIST_LIMIT_MS,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const decoder = new StringDecoder('utf8');
    let bytes = 0;
    let rest = '';
    const end = (error: Error | null) => {
      clearTimeout(limit);
      clearTimeout(silence);
      socket.destroy();
      if (error === null) resolve();
      else reject(error);
    };
    const silent = () => end(new Error(`HAProxy gave no answer within ${silenceMs} ms`));
    const limit = setTimeout(() => end(new Error(`HAProxy's answer took over ${limitMs} ms`)), limitMs);
    let silence = setTimeout(silent, silenceMs);
    // Half-closes the socket, because HAProxy's master ends a conversation only when its peer has nothing more to send.
    socket.once('connect', () => {
      if (mayStill()) socket.end(`${line}\n`);
      else end(new Error('the monitor stood still before it could ask HAProxy'));
    });
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > ANSWER_BYTES_MAX) {
        end(new Error('the answer of HAProxy is too long'));
        return;
      }
      clearTimeout(silence);
      silence = setTimeout(silent, silenceMs);
      const lines = (rest + decoder.write(chunk)).split('\n');
      rest = lines.pop() ?? '';
      for (const one of lines) each(one);
    });
    socket.once('end', () => {
      if (rest !== '') each(rest);
      end(null);
    });
    socket.once('error', (error) => end(error));
  });
}

/** One server line of `show servers state`. */
export interface ServerState {
  backend: string;
  /** Number of the backend, for `show stat`. */
  backendId: string;
  server: string;
  address: string;
  port: number;
  /** True when the server is in maintenance, by `set server … state maint` or `disabled`. */
  maintenance: boolean;
  /** True when HAProxy's own health checks of the server fail; false also where it makes none. */
  down: boolean;
}

/**
 * Flags of srv_admin_state that mean maintenance now: forced, inherited, by DNS (management guide, "show servers
 * state"). 0x04 only remembers that the configuration said `disabled`.
 */
const MAINTENANCE_FLAGS = 0x01 | 0x02 | 0x20;

/**
 * The rows of a table in an answer, each as a function from a column's name to its value. `first`: the first column.
 */
function rowsOf(answer: string, first: string, separator: string): ((column: string) => string)[] {
  const lines = answer.split('\n');
  const header = lines.find((l) => l.startsWith(`# ${first}${separator}`));
  if (header === undefined) return [];
  const columns = header.slice(2).trim().split(separator);
  return lines.map((line) => {
    const fields = line.trim().split(separator);
    return (column) => fields[columns.indexOf(column)] ?? '';
  });
}

/** Reads `show servers state`. */
export function parseServers(answer: string): ServerState[] {
  return rowsOf(answer, 'be_id', ' ')
    .filter((at) => /^\d+$/.test(at('be_id')) && /^\d+$/.test(at('srv_id')))
    .map((at) => ({
      backend: at('be_name'),
      backendId: at('be_id'),
      server: at('srv_name'),
      address: at('srv_addr'),
      port: Number(at('srv_port')),
      maintenance: (Number(at('srv_admin_state')) & MAINTENANCE_FLAGS) !== 0,
      down: at('srv_op_state') === '0',
    }));
}

/** One row of `show stat`: the number of sessions of a slot, or of a whole backend. */
export interface Load {
  backend: string;
  /** Name of the server; `BACKEND` in the row with the sum of a backend. */
  server: string;
  /**
   * Sessions that are connected or connecting to the server. For a backend: all of its sessions, with those that wait
   * and, for a while, those that have ended on the server's side without their client noticing.
   */
  sessions: number;
  /** Sessions so far. */
  total: number;
  /** Sessions in the queue. */
  queued: number;
  /** Maximum number of sessions of the server; null when there is no limit. */
  limit: number | null;
}

/** Reads `show stat`. Listeners and frontends are left out. */
export function parseLoads(answer: string): Load[] {
  return rowsOf(answer, 'pxname', ',')
    .filter((at) => ['1', '2'].includes(at('type')))
    .map((at) => ({
      backend: at('pxname'),
      server: at('svname'),
      sessions: Number(at('scur')),
      total: Number(at('stot')),
      queued: Number(at('qcur')),
      limit: at('slim') === '' ? null : Number(at('slim')),
    }));
}

/** One stream of `show sess` on a PostgreSQL backend. */
export interface Session {
  /** Id for `shutdown session`. HAProxy may give it to another session as soon as this one has ended. */
  id: string;
  backend: string;
  /** Name of the server that the session was sent to; null when none yet. */
  slot: string | null;
  /**
   * State on the server's side: `waits` for a place or for the next try, `connects`, is `established`, or has `ended`
   * there and can do nothing any more.
   */
  state: 'waits' | 'connects' | 'established' | 'ended';
}

/**
 * HAProxy's numbers for the states of the server's side (`enum sc_state` in stconn-t.h): 0 INI, 1 REQ, 2 QUE, 3 TAR, 4
 * ASS … 8 EST, 9 DIS, 10 CLO.
 */
const TURN_AROUND = 3;
const ESTABLISHED = 8;

/** Reads one line of `show sess`; null when the line is not a session on a backend. */
export function parseSession(line: string): Session | null {
  const match = /^(0x[0-9a-f]+): .* be=(\S+) srv=(\S+) .* scb=\[(\d+),/.exec(line);
  if (match === null) return null;
  const [, id = '', backend = '', server = '', number = ''] = match;
  if (backend === '<NONE>') return null;
  return { id, backend, slot: server === '<none>' ? null : server, state: stateOf(Number(number)) };
}

function stateOf(number: number): Session['state'] {
  if (number <= TURN_AROUND) return 'waits';
  if (number < ESTABLISHED) return 'connects';
  return number === ESTABLISHED ? 'established' : 'ended';
}

/** The worker's epoch, which differs after each start of a worker; null when the answer is not one to `show info`. */
export function parseEpoch(answer: string): string | null {
  const pid = /^Pid: (\d+)/m.exec(answer)?.[1];
  const start = /^Start_time_sec: (\d+)/m.exec(answer)?.[1];
  return pid === undefined ? null : `${pid}@${start ?? '?'}`;
}

/** Process ids of the workers that only finish old sessions after a reload (`show proc` on the master's socket). */
export function parseOldWorkers(answer: string): string[] {
  const [, old = ''] = answer.split('# old workers');
  return [...(old.split('# programs')[0]?.matchAll(/^(\d+)\s+worker/gm) ?? [])].map((m) => m[1] ?? '');
}

/** True when the server is a node's slot. The server `hold` is not: it only holds waiting clients. */
export function isSlot(row: ServerState): boolean {
  return row.server !== 'hold';
}

/** The slots of a backend that lead to a node. */
export function openSlots(servers: readonly ServerState[], backend: 'write' | 'read'): ServerState[] {
  return servers.filter((row) => row.backend === backend && isSlot(row) && !row.maintenance);
}

export function isPort(backend: string): boolean {
  return backend === 'write' || backend === 'read';
}

export function isOn(session: Session, slot: { backend: string; server: string }): boolean {
  return session.backend === slot.backend && session.slot === slot.server;
}

/**
 * True when the session is not connected to a server yet but may still get a connection. A client in `hold` has a
 * second session, which HAProxy lists separately.
 */
export function isOnTheWay(session: Session): boolean {
  return session.state === 'waits' || session.state === 'connects';
}

export function loadOf(loads: readonly Load[], slot: { backend: string; server: string }): Load | undefined {
  return loads.find((load) => load.backend === slot.backend && load.server === slot.server);
}

/**
 * True when sessions may be waiting. A backend's number also includes sessions that have ended on the server's side, so
 * only a list shows whether one waits.
 */
export function mayHaveWaiting(loads: readonly Load[]): boolean {
  const all = loadOf(loads, { backend: 'write', server: 'BACKEND' });
  const placed = loads.filter((load) => load.backend === 'write' && load.server !== 'BACKEND');
  return all === undefined || all.sessions > placed.reduce((sum, load) => sum + load.sessions, 0);
}
