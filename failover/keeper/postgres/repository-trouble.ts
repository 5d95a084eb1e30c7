/** Says in plain words what pgBackRest's error means, where its own words lead astray. */
import { messageOf } from '../../contract/errors';
import { PATHS } from '../../contract/layout';
import { KeeperError } from '../ports';
import { freeBytes } from './room';

/** With less than this free, a file of the repository does not fit, bytes. */
const FULL_BYTES = 1024 * 1024;

/** What another passphrase makes of a file is broken, or has any bytes, which pgBackRest repeats. */
const UNREADABLE = /unable to load info file '([^']{1,300})'.*(?:CryptoError|FormatError)/s;

/**
 * The error in plain words, or with its cause before it. With another passphrase pgBackRest speaks of broken files. When the room ends in
 * the middle of a write, it names the error number of an earlier call (storage/posix/write.c: a short write sets none).
 */
export async function explained(error: unknown, folder: string | null = PATHS.backupVolume): Promise<unknown> {
  if (!(error instanceof KeeperError) || error.code !== 'TOOL_FAILED') return error;
  const message = messageOf(error);
  const info = UNREADABLE.exec(message)?.[1];
  if (info !== undefined) {
    return new KeeperError('TOOL_FAILED', `the repository has another passphrase, or ${info} is damaged`);
  }
  if (folder === null || !message.includes('unable to write') || message.includes('No space left')) return error;
  const free = await freeBytes(folder).catch(() => null);
  if (free === null || free >= FULL_BYTES) return error;
  return new KeeperError('TOOL_FAILED', `No space left in the repository: ${message}`);
}
