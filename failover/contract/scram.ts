/**
 * SCRAM-SHA-256 verifiers (RFC 5803, in PostgreSQL's format). The program makes the one of the database's owner, so that
 * its password need not travel to the nodes; the keepers make those of the internal roles. No statement contains a plain
 * password, which a log or pg_stat_activity could show.
 */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const derive = promisify(pbkdf2);
/** PostgreSQL's default of `scram_iterations`. Many iterations make it slower to guess a person's password. */
const ITERATIONS = 4096;
/**
 * For derived keys of 256 bits, which cannot be guessed. One iteration saves time when every standby reconnects at the
 * moment at which a new leader needs the machine.
 */
export const KEY_ITERATIONS = 1;

/** The verifier of a password. The same password and salt always give the same one. */
export async function verifierOf(password: string, salt: Buffer, iterations = ITERATIONS): Promise<string> {
  // For nearly all text, SASLprep does no more than NFKC. The client does the same to the password that is typed.
  const salted = await derive(password.normalize('NFKC'), salt, iterations, 32, 'sha256');
  const clientKey = createHmac('sha256', salted).update('Client Key').digest();
  const storedKey = createHash('sha256').update(clientKey).digest('base64');
  const serverKey = createHmac('sha256', salted).update('Server Key').digest('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`;
}

/**
 * Returns a new verifier for the password, or null when the stored one matches it already, with the same number of
 * iterations.
 */
export async function newVerifier(
  password: string,
  stored: string | null,
  iterations = ITERATIONS,
): Promise<string | null> {
  const match = /^SCRAM-SHA-256\$(\d+):([^$]+)\$/.exec(stored ?? '');
  if (match?.[1] === String(iterations) && match[2] !== undefined && stored !== null) {
    const same = await verifierOf(password, Buffer.from(match[2], 'base64'), iterations);
    if (same.length === stored.length && timingSafeEqual(Buffer.from(same), Buffer.from(stored))) return null;
  }
  return verifierOf(password, randomBytes(16), iterations);
}
