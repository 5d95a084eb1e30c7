/** Confirms quickly that PostgreSQL is gone (docs/safety.md S20). */
import { connect, type Socket } from 'node:net';
import { PORTS } from '../../contract/layout';
import type { ProbeResult } from '../ports';

/** Time after which a missing answer counts, ms. On the inner network an answer takes 1 to 5 ms. */
export const PROBE_LIMIT_MS = 25;
/**
 * Number of round trips for which one attempt waits: it needs two, one to connect and one for the answer, and a third
 * is in reserve.
 */
const ROUND_TRIPS = 3;
/** Number of newest answers by which a node's network is judged: those of three seconds. */
const ANSWERS_KEPT = 32;
/** Minimum number of answers of another node that are used. Fewer would not show how slow the slowest answer can be. */
const ANSWERS_ENOUGH = 5;

/** PostgreSQL's SSLRequest. Every postmaster answers it with one byte, before any authentication. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]);

/** Records how long one node's last answers took, to distinguish silence from a slow network (S11). */
export class AnswerTimes {
  private readonly times: number[] = [];
  private isOld = true;

  note(tookMs: number): void {
    this.times.push(tookMs);
    if (this.times.length > ANSWERS_KEPT) this.times.shift();
    this.isOld = false;
  }

  /** Called after a stall of the monitor. Until the next answer, the recorded times are only a lower bound. */
  age(): void {
    this.isOld = true;
  }

  /**
   * How long to wait for an answer of this node before a missing answer counts, ms. After a stall, until the node has
   * answered again, this is at least as long as for the `others` in the same network. Null when nothing is known of
   * them either.
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
 * Connects again and again until `limitMs` have passed; that limit may change meanwhile. The first attempt with a
 * result decides. An accepted connection is no result, because the kernel of a dying container still accepts for an
 * instant. Never throws.
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
      // The time is the number of looks, and not measured, so that a busy machine gives more time, not less.
      goneMs += PROBE_LIMIT_MS;
      if (goneMs >= limitMs()) end('silent');
      else if (goneMs >= nextMs) {
        // A packet of an attempt may be lost. The time between attempts doubles, because on a slow network each takes
        // long.
        nextMs *= 2;
        attempt();
      }
    };
    const looks = setInterval(look, PROBE_LIMIT_MS);
    attempt();
  });
}
