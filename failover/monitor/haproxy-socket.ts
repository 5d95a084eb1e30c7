/** Talking to HAProxy: one request over a Unix socket with a deadline, and what its answers mean. Parsing is pure. */
import { connect } from 'node:net';

/** No answer within this is "not done" (S15), ms. */
export const ANSWER_LIMIT_MS = 100;
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
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const chunks: Buffer[] = [];
    let bytes = 0;
    const end = (error: Error | null) => {
      clearTimeout(limit);
      socket.destroy();
      if (error === null) resolve(Buffer.concat(chunks).toString('utf8'));
      else reject(error);
    };
    const limit = setTimeout(() => end(new Error(`HAProxy gave no answer within ${limitMs} ms`)), limitMs);
    // Half-closed, because the master's socket ends a conversation only when its peer has nothing more to say.
    socket.once('connect', () => {
      if (mayStill()) socket.end(`${line}\n`);
      else end(new Error('the monitor stood still before it could ask HAProxy'));
    });
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > ANSWER_BYTES_MAX) end(new Error('the answer of HAProxy is too long'));
    });
    socket.once('end', () => end(null));
    socket.once('error', (error) => end(error));
  });
}

/** One server line of `show servers state`. */
export interface ServerState {
  backend: string;
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
      server: at(fields, 'srv_name'),
      address: at(fields, 'srv_addr'),
      port: Number(at(fields, 'srv_port')),
      maintenance: (Number(at(fields, 'srv_admin_state')) & MAINTENANCE_FLAGS) !== 0,
      down: at(fields, 'srv_op_state') === '0',
    }));
}

/** One stream of `show sess all` on a PostgreSQL backend. */
export interface Session {
  /** What `shutdown session` takes. HAProxy uses it again for the next session as soon as this one has ended. */
  id: string;
  /** Never used twice by one worker. */
  serial: string;
  backend: string;
  /** Name of the slot that it was sent to. */
  slot: string | null;
  /** Address of the server that it is connected or connecting to; null while it waits. */
  server: string | null;
  /** State of the server side: EST, CON, TAR (waits before the next try), QUE, CLO … */
  state: string;
}

/** Reads `show sess all`; streams without a backend are left out. */
export function parseSessions(answer: string): Session[] {
  const sessions: Session[] = [];
  for (const block of answer.split(/^(?=0x[0-9a-f]+: \[)/m)) {
    const id = /^(0x[0-9a-f]+):/.exec(block)?.[1];
    const serial = / id=(\d+) proto=/.exec(block)?.[1] ?? '';
    const backend = /^ {2}backend=(\S+)/m.exec(block)?.[1];
    if (id === undefined || backend === undefined || backend === '<NONE>') continue;
    const [, slot = null, address, port] = /^ {2}server=(\S+) \(id=-?\d+\)(?: addr=([\d.]+):(\d+))?/m.exec(block) ?? [];
    const server = address === undefined || Number(port) === CLOSED_PORT ? null : address;
    const state = /^ {2}scb=.* state=([A-Z]+)/m.exec(block)?.[1] ?? '?';
    sessions.push({ id, serial, backend, slot, server, state });
  }
  return sessions;
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
