/** TLS with clients in one line, for page and command line. Pure. */
import type { ClusterStatus } from './api';

/** The rest of a certificate's life from which on it should have been renewed long ago, ms (14 days). */
const SOON_MS = 14 * 24 * 3_600_000;

export interface TlsWords {
  readonly words: string;
  /** Something is wrong with the certificate, or it ends within 14 days. */
  readonly isBad: boolean;
}

/** Null when the monitor is older than the field. @param nowMs wall clock, ms since the epoch. */
export function tlsWords(tls: ClusterStatus['tls'], nowMs: number): TlsWords | null {
  if (tls === undefined) return null;
  const { mode, expires, problem, source } = tls;
  if (mode === 'off') return { words: 'off: clients without TLS only', isBad: false };
  const who = mode === 'require' ? 'required of clients' : 'offered to clients';
  const whose = source === 'files' ? ' (tlsCertificate)' : source === 'authority' ? ' (of the stack’s authority)' : '';
  const until =
    expires === null ? 'there is no certificate' : `certificate${whose} valid until ${expires.slice(0, 10)}`;
  const isBad = problem !== null || expires === null || Date.parse(expires) - nowMs < SOON_MS;
  return { words: [`${who}; ${until}`, ...(problem === null ? [] : [problem])].join('; '), isBad };
}
