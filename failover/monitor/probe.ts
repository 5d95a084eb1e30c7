/** The quick confirmation that PostgreSQL is gone (DESIGN §4, SAFETY S20). */
import { connect } from 'node:net';
import { PORTS } from '../config';

/** The whole attempt, ms. On the inner network an answer takes 1 to 5 ms. */
export const PROBE_LIMIT_MS = 25;

/** PostgreSQL's SSLRequest: every postmaster answers it with one byte, before any authentication. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]);

/** `alive`: a postmaster answered. `refused`: nobody listens there. `silent`: anything else. */
export type ProbeResult = 'alive' | 'refused' | 'silent';

/** A bare connect is not enough: the kernel of a dying container still accepts for an instant. Never throws. */
export function probePostgres(address: string, port: number = PORTS.postgres): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, noDelay: true });
    const end = (result: ProbeResult) => {
      clearTimeout(limit);
      socket.destroy();
      resolve(result);
    };
    const limit = setTimeout(() => end('silent'), PROBE_LIMIT_MS);
    socket.once('connect', () => socket.write(SSL_REQUEST));
    socket.once('data', () => end('alive'));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code === 'ECONNREFUSED' ? 'refused' : 'silent'));
    socket.once('close', () => end('silent'));
  });
}
