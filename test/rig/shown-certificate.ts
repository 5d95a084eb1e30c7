/** The certificate that PostgreSQL shows to clients. */
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';

const LIMIT_MS = 5_000;
/** PostgreSQL manual, "Message Formats", SSLRequest. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);

/** Serial number of the certificate, without a login. @throws Error when there is no TLS, or no answer in time. */
export function shownCertificate(host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const plain = connect(port, host, () => plain.write(SSL_REQUEST));
    plain.setTimeout(LIMIT_MS, () => plain.destroy(new Error('no answer in time')));
    plain.once('error', reject).once('data', (answer) => {
      if (answer.toString() !== 'S') return reject(new Error(`no TLS: ${answer.toString()}`));
      const secure = connectTls({ socket: plain, rejectUnauthorized: false, host }, () => {
        const { serialNumber } = secure.getPeerCertificate();
        secure.destroy();
        resolve(serialNumber);
      });
      secure.once('error', reject);
    });
  });
}
