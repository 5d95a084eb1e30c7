/** Checks a certificate and its key before a server gets them. A PostgreSQL that cannot load them does not start. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { messageOf } from './errors';
import { PEM_MAX } from './limits';

/** Ends of a certificate that is signed with Ed25519 or Ed448: algorithm, length of the signature, the signature. */
const EDWARDS = [
  { head: Buffer.from('300506032b6570034100', 'hex'), signature: 64 },
  { head: Buffer.from('300506032b6571037300', 'hex'), signature: 114 },
];

/** End of the certificate's life; null when the text has no certificate. The first certificate of a chain counts. */
export function endOf(certificate: string): number | null {
  try {
    return Date.parse(new X509Certificate(certificate).validTo);
  } catch {
    return null;
  }
}

/** Why a server cannot use this pair, as a message without a secret; null: it can. It may have expired. */
export function pairProblem(certificate: string, key: string): string | null {
  if (certificate.length > PEM_MAX || key.length > PEM_MAX) return `it is longer than ${PEM_MAX} characters`;
  try {
    const leaf = new X509Certificate(certificate);
    if (isEdwards(leaf)) {
      return 'it is signed with Ed25519 or Ed448, with which no client of libpq can log in (channel binding)';
    }
    // PostgreSQL would ask for it at its start, and no person could answer.
    if (key.includes('ENCRYPTED')) return 'the key has a passphrase';
    if (!leaf.checkPrivateKey(createPrivateKey(key))) return 'the key does not fit the certificate';
    // The same checks as PostgreSQL makes: chain, lengths of the keys, digests (OpenSSL manual,
    // SSL_CTX_set_security_level).
    createSecureContext({ cert: certificate, key, ciphers: 'DEFAULT:@SECLEVEL=2' });
    return null;
  } catch (error) {
    return messageOf(error);
  }
}

/** Like {@link pairProblem}, but it also refuses a certificate that is not valid at the time `atMs`. */
export function pairProblemAt(certificate: string, key: string, atMs: number): string | null {
  const problem = pairProblem(certificate, key);
  if (problem !== null) return problem;
  const { validFrom, validTo } = new X509Certificate(certificate);
  if (Date.parse(validTo) <= atMs) return `it expired at ${new Date(validTo).toISOString()}`;
  return Date.parse(validFrom) > atMs ? `it is valid from ${new Date(validFrom).toISOString()} only` : null;
}

/** Such a signature has no digest of its own, and channel binding needs one (RFC 5929, "tls-server-end-point"). */
function isEdwards({ raw }: X509Certificate): boolean {
  return EDWARDS.some(({ head, signature }) => {
    const from = raw.length - signature - head.length;
    return from > 0 && raw.subarray(from, from + head.length).equals(head);
  });
}
