/** The certificate that a process of PgBouncer shows to a client that asks for TLS. */
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';

/** PostgreSQL manual, "Message Formats", SSLRequest. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
const LIMIT_MS = 3_000;

/**
 * Its SHA-256 fingerprint as Node writes it, without a login. @throws Error when the process offers no TLS, or does not
 * answer in time.
 */
export function shownBy(port: number, host = '127.0.0.1'): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, host, () => socket.write(SSL_REQUEST));
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    socket.setTimeout(LIMIT_MS, () => fail(new Error(`no answer within ${LIMIT_MS} ms`)));
    socket.once('error', fail);
    socket.once('end', () => fail(new Error('the connection was closed')));
    socket.once('data', (answer) => {
      if (answer.toString('latin1') !== 'S') return fail(new Error('no TLS is offered'));
      // Which certificate it is, is judged by its fingerprint.
      const secure = connectTls({ socket, rejectUnauthorized: false }, () => {
        resolve(secure.getPeerX509Certificate()?.fingerprint256 ?? '');
        secure.end();
      });
      secure.once('error', fail);
    });
  });
}
