/**
 * SCRAM-SHA-256 verifiers (RFC 5803, in PostgreSQL's format). The Pulumi program makes the verifier of the database's
 * owner, so that the owner's password need not travel to the nodes. The keepers make those of the internal roles. No
 * statement contains a plain password, which a log or pg_stat_activity could show.
 */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const derive = promisify(pbkdf2);
/** PostgreSQL's default of `scram_iterations`. Many iterations make it slower to guess a person's password. */
const ITERATIONS = 4096;
/**
 * Iterations for the derived passwords, whose 256 bits cannot be guessed. One iteration saves processor time when every
 * standby connects to a new leader at the same moment.
 */
export const KEY_ITERATIONS = 1;

/** The verifier of a password. The same password and salt always give the same one. */
export async function verifierOf(password: string, salt: Buffer, iterations = ITERATIONS): Promise<string> {
  // RFC 5802 wants SASLprep (RFC 4013), which for nearly all text is the same as NFKC. The client does it, too.
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
