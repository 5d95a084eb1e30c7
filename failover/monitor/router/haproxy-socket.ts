/** Talking to HAProxy: one request over a Unix socket with a deadline, and what its answers mean. Parsing is pure. */
import { connect } from 'node:net';
import { StringDecoder } from 'node:string_decoder';

/** No answer within this is "not done" (S15), ms. */
export const ANSWER_LIMIT_MS = 100;
/** Longest that a list of sessions may take, ms. */
const LIST_LIMIT_MS = 2_000;
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** Port of a slot that was never given an address: it refuses at once. */
export const CLOSED_PORT = 1;

/**
 * Sends one line (commands joined by `;`) and resolves with the whole answer. Throws at the deadline and on any error.
 * `mayStill` is asked just before the line is sent: a process that was stopped meanwhile must not send it (S11).
 */
export function ask(
  path: string,
  line: string,
  limitMs: number = ANSWER_LIMIT_MS,
  mayStill: () => boolean = () => true,
): Promise<string> {
  const chunks: Buffer[] = [];
  const heard = (chunk: Buffer) => {
    chunks.push(chunk);
  };
  return converse({ path, line, silenceMs: limitMs, limitMs, mayStill, heard }).then(() =>
    Buffer.concat(chunks).toString('utf8'),
  );
}

/**
 * Sends one line and calls `each` with every line of the answer as it comes; resolves at its end. An answer as long as a
 * list of thousands of sessions may take its time, as long as some of it comes at least every `silenceMs`.
 * Throws when it does not, when it takes {@link LIST_LIMIT_MS}, and on any error.
 */
export async function askLines(
  path: string,
  line: string,
  each: (line: string) => void,
  silenceMs: number = ANSWER_LIMIT_MS,
  mayStill: () => boolean = () => true,
): Promise<void> {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  const heard = (chunk: Buffer) => {
    const lines = (rest + decoder.write(chunk)).split('\n');
    rest = lines.pop() ?? '';
    for (const one of lines) each(one);
  };
  await converse({ path, line, silenceMs, limitMs: LIST_LIMIT_MS, mayStill, heard });
  if (rest !== '') each(rest);
}

interface Conversation {
  path: string;
  line: string;
  /** Longest time without a byte, ms. */
  silenceMs: number;
  /** Longest time for all of it, ms. */
  limitMs: number;
  mayStill: () => boolean;
  heard: (chunk: Buffer) => void;
}

function converse({ path, line, silenceMs, limitMs, mayStill, heard }: Conversation): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let bytes = 0;
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
    // Half-closed, because the master's socket ends a conversation only when its peer has nothing more to say.
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
      heard(chunk);
    });
    socket.once('end', () => end(null));
    socket.once('error', (error) => end(error));
  });
}

/** One server line of `show servers state`. */
export interface ServerState {
  backend: string;
  /** Number of the backend, by which `show stat` is asked for it. */
  backendId: string;
  server: string;
  address: string;
  port: number;
  /** Taken out by `set server … state maint` or `disabled`. */
  maintenance: boolean;
  /** HAProxy's own connects to it fail; false also where it makes none. */
  down: boolean;
}

/**
 * Flags of srv_admin_state that mean maintenance now: forced, inherited, by DNS (management guide, "show servers state").
 * 0x04 only remembers that the configuration said `disabled`.
 */
const MAINTENANCE_FLAGS = 0x01 | 0x02 | 0x20;

/** Reads `show servers state`; columns are found by their names. */
export function parseServers(answer: string): ServerState[] {
  const lines = answer.split('\n');
  const header = lines.find((l) => l.startsWith('# be_id'));
  if (header === undefined) return [];
  const columns = header.slice(2).trim().split(' ');
  const at = (fields: string[], name: string) => fields[columns.indexOf(name)] ?? '';
  return lines
    .filter((l) => /^\d+ \S+ \d+ \S+ /.test(l))
    .map((l) => l.trim().split(' '))
    .map((fields) => ({
      backend: at(fields, 'be_name'),
      backendId: at(fields, 'be_id'),
      server: at(fields, 'srv_name'),
      address: at(fields, 'srv_addr'),
      port: Number(at(fields, 'srv_port')),
      maintenance: (Number(at(fields, 'srv_admin_state')) & MAINTENANCE_FLAGS) !== 0,
      down: at(fields, 'srv_op_state') === '0',
    }));
}

/** One row of `show stat`: how many sessions a slot has, or a backend in all. */
export interface Load {
  backend: string;
  /** Name of the server; `BACKEND` for the sum of a backend. */
  server: string;
  /**
   * Sessions that are connected or connecting to the server. Of a backend: all of its sessions, the waiting ones too, and
   * for a while those that have ended on the server's side and whose client has not noticed.
   */
  sessions: number;
  /** Sessions in the queue. */
  queued: number;
  /** Most sessions that the server takes; null: no limit. */
  limit: number | null;
}

/** Reads `show stat`; columns are found by their names. Listeners and frontends are left out. */
export function parseLoads(answer: string): Load[] {
  const lines = answer.split('\n');
  const header = lines.find((l) => l.startsWith('# pxname,'));
  if (header === undefined) return [];
  const columns = header.slice(2).split(',');
  const [backend, server, sessions, queued, limit, type] = ['pxname', 'svname', 'scur', 'qcur', 'slim', 'type'].map(
    (c) => columns.indexOf(c),
  );
  const at = (fields: string[], column: number | undefined) => fields[column ?? -1] ?? '';
  return lines
    .filter((l) => l !== '' && !l.startsWith('#'))
    .map((l) => l.split(','))
    .filter((fields) => ['1', '2'].includes(at(fields, type)))
    .map((fields) => ({
      backend: at(fields, backend),
      server: at(fields, server),
      sessions: Number(at(fields, sessions)),
      queued: Number(at(fields, queued)),
      limit: at(fields, limit) === '' ? null : Number(at(fields, limit)),
    }));
}

/** One stream of `show sess` on a PostgreSQL backend. */
export interface Session {
  /** What `shutdown session` takes. HAProxy uses it again for the next session as soon as this one has ended. */
  id: string;
  backend: string;
  /** Name of the server that it was sent to; null: none yet. */
  slot: string | null;
  /**
   * How far the session is with the server: it `waits` for a place or for the next try, `connects`, is `established`, or has
   * `ended` there and can do nothing any more.
   */
  state: 'waits' | 'connects' | 'established' | 'ended';
}

/** HAProxy's numbers of the states of the server's side (`enum sc_state`): 0 INI, 1 REQ, 2 QUE, 3 TAR, 4 ASS … 8 EST, 9 DIS, 10 CLO. */
const TURN_AROUND = 3;
const ESTABLISHED = 8;

/** Reads one line of `show sess`; null when it is no session on a backend. */
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

/** Differs after each start of a worker; null when the answer is not `show info`. */
export function parseEpoch(answer: string): string | null {
  const pid = /^Pid: (\d+)/m.exec(answer)?.[1];
  const start = /^Start_time_sec: (\d+)/m.exec(answer)?.[1];
  return pid === undefined ? null : `${pid}@${start ?? '?'}`;
}

/** Process ids of workers that only finish old sessions after a reload (`show proc` on the master's socket). */
export function parseOldWorkers(answer: string): string[] {
  const [, old = ''] = answer.split('# old workers');
  return [...(old.split('# programs')[0]?.matchAll(/^(\d+)\s+worker/gm) ?? [])].map((m) => m[1] ?? '');
}

/** A node's slot; `hold` is none. */
export function isSlot(row: ServerState): boolean {
  return row.server !== 'hold';
}

export function isPort(backend: string): boolean {
  return backend === 'write' || backend === 'read';
}

export function isOn(session: Session, slot: { backend: string; server: string }): boolean {
  return session.backend === slot.backend && session.slot === slot.server;
}

/** The session is not with a server yet, and may get to one. A client in `hold` has a second session, which is listed itself. */
export function isOnTheWay(session: Session): boolean {
  return session.state === 'waits' || session.state === 'connects';
}

export function loadOf(loads: readonly Load[], slot: { backend: string; server: string }): Load | undefined {
  return loads.find((load) => load.backend === slot.backend && load.server === slot.server);
}

/** A backend also counts sessions that have ended on the server's side and whose clients have not noticed: then only a list tells. */
export function mayHaveWaiting(loads: readonly Load[]): boolean {
  const all = loadOf(loads, { backend: 'write', server: 'BACKEND' });
  const placed = loads.filter((load) => load.backend === 'write' && load.server !== 'BACKEND');
  return all === undefined || all.sessions > placed.reduce((sum, load) => sum + load.sessions, 0);
}
