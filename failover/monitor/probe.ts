/** The quick confirmation that PostgreSQL is gone (DESIGN §4, SAFETY S20). */
import { connect, type Socket } from 'node:net';
import { PORTS } from '../config';

/** An answer takes 1 to 5 ms on the inner network: none within this tells something there, ms. */
export const PROBE_LIMIT_MS = 25;
/** So many attempts are begun within a longer limit, for a packet of one may be lost. */
const ATTEMPTS = 5;
/** Of two round trips, with half of that to spare, consists an attempt: a connection and an answer. */
const ROUND_TRIPS = 3;
/** The newest answers by which a node's network is judged: three seconds of them. */
const ANSWERS_KEPT = 32;

/** PostgreSQL's SSLRequest: every postmaster answers it with one byte, before any authentication. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]);

/**
 * `alive`: a postmaster answered. `refused`: nobody listens there. `broken`: the connection was taken and dropped without an
 * answer, which no postmaster does. `silent`: nothing came within the limit.
 */
export type ProbeResult = 'alive' | 'refused' | 'broken' | 'silent';

/** How long one node's answers have taken lately, so that silence is told from a slow network (S11). */
export class AnswerTimes {
  private readonly times: number[] = [];

  note(tookMs: number): void {
    this.times.push(tookMs);
    if (this.times.length > ANSWERS_KEPT) this.times.shift();
  }

  /** For how long an answer has to be awaited until its lack tells something, ms; null when nothing is known. */
  limitMs(): number | null {
    if (this.times.length === 0) return null;
    return Math.max(PROBE_LIMIT_MS, ROUND_TRIPS * Math.max(...this.times));
  }
}

/**
 * Connects, again and again within the limit; the first attempt that has an outcome tells it. A bare connect is not enough:
 * the kernel of a dying container still accepts for an instant. Never throws.
 */
export function probePostgres(
  address: string,
  limitMs: number = PROBE_LIMIT_MS,
  port: number = PORTS.postgres,
): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const sockets: Socket[] = [];
    const end = (result: ProbeResult) => {
      clearTimeout(limit);
      clearInterval(next);
      for (const socket of sockets) socket.destroy();
      resolve(result);
    };
    const attempt = () => {
      const socket = connect({ host: address, port, noDelay: true });
      sockets.push(socket);
      socket.on('connect', () => socket.write(SSL_REQUEST));
      socket.on('data', () => end('alive'));
      socket.on('error', ({ code }: NodeJS.ErrnoException) => {
        if (code === 'ECONNREFUSED') end('refused');
        if (code === 'ECONNRESET' || code === 'EPIPE') end('broken');
      });
      socket.on('end', () => end('broken'));
    };
    const limit = setTimeout(() => end('silent'), limitMs);
    const next = setInterval(attempt, Math.max(PROBE_LIMIT_MS, limitMs / ATTEMPTS));
    attempt();
  });
}
