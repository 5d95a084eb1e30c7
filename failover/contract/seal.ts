/** Encrypts a text for the others that know the cluster key: the connections between them are not encrypted. */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync } from 'node:crypto';

const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

const keyOf = (clusterKey: string, purpose: string) =>
  Buffer.from(hkdfSync('sha256', clusterKey, 'postgres-failover', `seal\n${purpose}`, 32));

/** Base64. The same text gives the same result, so that a receiver notices that nothing changed. */
export function seal(clusterKey: string, text: string): string {
  // The nonce follows from the text, so two texts never share one.
  const nonce = createHmac('sha256', keyOf(clusterKey, 'nonce')).update(text).digest().subarray(0, NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, keyOf(clusterKey, 'key'), nonce);
  const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64');
}

/** The text; null when it was sealed with another key or was changed. */
export function unseal(clusterKey: string, sealed: string): string | null {
  const bytes = Buffer.from(sealed, 'base64');
  const tag = bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES);
  if (tag.length !== TAG_BYTES) return null;
  try {
    const cipher = createDecipheriv(CIPHER, keyOf(clusterKey, 'key'), bytes.subarray(0, NONCE_BYTES));
    cipher.setAuthTag(tag);
    const body = bytes.subarray(NONCE_BYTES + TAG_BYTES);
    return Buffer.concat([cipher.update(body), cipher.final()]).toString('utf8');
  } catch {
    return null;
  }
}
