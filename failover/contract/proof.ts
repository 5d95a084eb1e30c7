/**
 * Proofs and passwords that keepers, monitor and Pulumi program derive from the cluster key, the one secret that they
 * share.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';

/**
 * Proof that its sender knows the cluster key: HMAC-SHA256 over the sender's role, the peer's nonce, the sender's own
 * nonce and the node's name.
 */
export function proof(
  clusterKey: string,
  role: 'keeper' | 'monitor' | 'pooler' | 'checker',
  peerNonce: string,
  ownNonce: string,
  node: string,
): string {
  return createHmac('sha256', clusterKey).update(`${role}\n${peerNonce}\n${ownNonce}\n${node}`).digest('hex');
}

/** Compares two proofs in constant time. */
export function sameProof(a: string, b: string): boolean {
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
}

/**
 * Password of an internal role. It is derived from the cluster key, so that no further secret has to be distributed.
 * - `replication`: for standbys, base backups and rewinds.
 * - `monitor`: for the monitor's own sessions in PostgreSQL.
 * - `admin`: the token of people and scripts that command the monitor over HTTP.
 * - `backup`: the passphrase with which the backups' repository is encrypted.
 * - `pooler`: for the proofs between monitor and pooler. Clients reach the pooler, so it is not told the cluster key.
 * - `checker`: for the proofs between monitor and the container that tests restores, and for what it is handed.
 */
export function derivedPassword(
  clusterKey: string,
  role: 'replication' | 'monitor' | 'admin' | 'backup' | 'pooler' | 'checker',
): string {
  return createHmac('sha256', clusterKey).update(`password\n${role}`).digest('hex');
}
