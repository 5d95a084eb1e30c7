/** The quick confirmation that PostgreSQL is gone (docs/safety.md S20). */
import { connect, type Socket } from 'node:net';
import { PORTS } from '../../contract/layout';

/** An answer takes 1 to 5 ms on the inner network: none within this tells something there, ms. */
export const PROBE_LIMIT_MS = 25;
/** Of two round trips, with half of that to spare, consists an attempt: a connection and an answer. */
const ROUND_TRIPS = 3;
/** The newest answers by which a node's network is judged: three seconds of them. */
const ANSWERS_KEPT = 32;
/** So many of another node tell something of the network: of one, nothing can be said about the slowest. */
const ANSWERS_ENOUGH = 5;

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
  private isOld = true;

  note(tookMs: number): void {
    this.times.push(tookMs);
    if (this.times.length > ANSWERS_KEPT) this.times.shift();
    this.isOld = false;
  }

  /** The monitor stood still: what was usual is the least that may be expected now, until the next answer. */
  age(): void {
    this.isOld = true;
  }

  /**
   * For how long an answer of this node has to be awaited until its lack tells something, ms; while nothing new is known of it,
   * as long as `others` of the same network need, or null when nothing is known of those either.
   */
  limitMs(others: readonly AnswerTimes[]): number | null {
    const own = this.usualMs();
    if (!this.isOld) return own;
    const known = others.filter((o) => !o.isOld && o.times.length >= ANSWERS_ENOUGH).map((o) => o.usualMs());
    return known.length === 0 ? null : Math.max(own, ...known);
  }

  private usualMs(): number {
    return Math.max(PROBE_LIMIT_MS, ROUND_TRIPS * Math.max(0, ...this.times));
  }
}

/**
 * Connects, again and again until `limitMs` have gone by, which may become more or less meanwhile; the first attempt that has
 * an outcome tells it. A bare connect is not enough: the kernel of a dying container still accepts for an instant. Never throws.
 */
export function probePostgres(
  address: string,
  limitMs: () => number = () => PROBE_LIMIT_MS,
  port: number = PORTS.postgres,
): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const sockets: Socket[] = [];
    let goneMs = 0;
    let nextMs = PROBE_LIMIT_MS;
    const end = (result: ProbeResult) => {
      clearInterval(looks);
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
    const look = () => {
      // Counted, not measured: a busy machine gives more time, not less.
      goneMs += PROBE_LIMIT_MS;
      if (goneMs >= limitMs()) end('silent');
      else if (goneMs >= nextMs) {
        // A packet of an attempt may be lost, and each attempt needs as long as the network does.
        nextMs *= 2;
        attempt();
      }
    };
    const looks = setInterval(look, PROBE_LIMIT_MS);
    attempt();
  });
}
