/**
 * Tests a restore, in a container of its own: the newest backup and all write-ahead log after it are restored into a scratch
 * folder, a PostgreSQL that only this process reaches replays them, pg_amcheck reads every table and index (PostgreSQL manual,
 * "pg_amcheck"), and the newest commit is compared with what the archive promises. All is deleted afterwards.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../contract/errors';
import { type RestoreTestInput, type RestoreTestResult, resultMessage } from '../../contract/restore-test';
import { writeWhole } from '../../disk/durable';
import { KeeperError } from '../ports';
import { run } from './processes';
import { recover } from './recover';
import { CA_FILE } from './repositories';
import { backupsIn, lookIn, type Pgbackrest, pgbackrest } from './repository-look';
import { chooseBackup, restoreData } from './restore';
import { archivedTimelines, timelineFor } from './restore-timeline';
import { freeBytes, inBytes } from './room';

const TARGET = { kind: 'latest' } as const;
/** Room that the restore needs, as a part of the size of the database. */
const ROOM = 1.2;
/** The newest commit may be this much older than the archive promises, ms: the heartbeat waits while the leader is busy. */
const LATE_MS = 10_000;
/** Limit for reading all tables and indexes, ms. */
const CHECK_LIMIT_MS = 12 * 3_600_000;
const CONFIG = 'restore-test.conf';

export interface RestoreTestParts {
  /** Folder for the copy; it is deleted before and after. */
  scratch: string;
  /** Folder in memory for config and socket. */
  memory: string;
  signal: AbortSignal;
  tell(text: string): void;
  tool?: Pgbackrest;
  wallMs?: () => number;
  free?: (folder: string) => Promise<number>;
}

type Chosen = { label: string; sizeBytes: number };

/** Never throws: a failure is a result. */
export async function testRestore(input: RestoreTestInput, parts: RestoreTestParts): Promise<RestoreTestResult> {
  const { scratch, wallMs = Date.now } = parts;
  const fromMs = wallMs();
  let chosen: Chosen | null = null;
  let newestMs: number | null = null;
  const end = (result: RestoreTestResult['result'], message: string): RestoreTestResult => ({
    ...{ repository: input.repository, result, message: resultMessage(message) },
    ...{ label: chosen?.label ?? null, sizeBytes: chosen?.sizeBytes ?? null },
    newest: newestMs === null ? null : new Date(newestMs).toISOString(),
    ...{ ended: new Date(wallMs()).toISOString(), tookMs: wallMs() - fromMs },
  });
  try {
    await rm(scratch, { recursive: true, force: true });
    newestMs = await restored(input, parts, (one) => {
      chosen = one;
    });
    const late = whyLate(newestMs, input.promisedMs);
    if (late !== null) return end('failed', late);
    return end(
      'done',
      'the backup was restored, PostgreSQL replayed the archive, and all tables and indexes are sound',
    );
  } catch (error) {
    return end('failed', messageOf(error));
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Restores and checks. Resolves with the time of the newest commit, ms. */
async function restored(
  { config, ca }: RestoreTestInput,
  { scratch, memory, signal, tell, tool = pgbackrest, free = freeBytes }: RestoreTestParts,
  choose: (one: Chosen) => void,
): Promise<number | null> {
  const stanza = /^\[(c\d+)\]$/m.exec(config)?.[1];
  if (stanza === undefined) throw new KeeperError('TOOL_FAILED', 'the config of pgBackRest names no stanza');
  await mkdir(memory, { recursive: true, mode: 0o700 });
  await writeWhole(memory, CONFIG, config, 0o600, false);
  if (ca !== undefined) await writeWhole(memory, CA_FILE, ca, 0o600, false);
  const data = join(scratch, 'data');
  const configPath = join(memory, CONFIG);
  const look = lookIn({ configPath, stanza, signal }, tool);
  const known = await archivedTimelines(stanza, look);
  const timeline = timelineFor(TARGET, known);
  const wanted = known.find((one) => one.timeline === timeline);
  if (wanted === undefined) throw new KeeperError('RESTORE_IMPOSSIBLE', 'the repository has no write-ahead log');
  const { label, sizeBytes } = chooseBackup(await backupsIn(look), TARGET, wanted);
  choose({ label, sizeBytes });
  await mkdir(scratch, { recursive: true, mode: 0o700 });
  const [needed, room] = [Math.ceil(sizeBytes * ROOM), await free(scratch)];
  if (room < needed)
    throw new KeeperError('DISK_TOO_SMALL', `the test needs ${inBytes(needed)}, and ${inBytes(room)} are free`);
  tell(`${label}, ${inBytes(sizeBytes)}, is restored`);
  await restoreData({ stanza, target: TARGET, timeline, data, configPath, signal, progress: () => undefined }, tool);
  tell('PostgreSQL replays the archive');
  const socket = join(memory, 'socket');
  const { lastCommitMs } = await recover({
    ...{ data, target: TARGET, scratch: socket, signal },
    inspect: async () => {
      tell('pg_amcheck reads all tables and indexes');
      await amcheck(socket, signal);
    },
  });
  return lastCommitMs;
}

/** The extension is made in the copy alone. Its findings are on standard output, and a failure shows standard error. */
async function amcheck(socket: string, signal: AbortSignal): Promise<void> {
  const options = ['-h', socket, '-U', 'postgres', '--all', '--install-missing'];
  await run('sh', ['-c', 'exec "$@" >&2', 'sh', 'pg_amcheck', ...options], { limitMs: CHECK_LIMIT_MS, signal });
}

/** Why the copy ends too early; null: it does not. */
export function whyLate(newestMs: number | null, promisedMs: number | null): string | null {
  if (promisedMs === null) return null;
  const promised = `the archive promises all up to ${new Date(promisedMs).toISOString()}`;
  if (newestMs === null) return `${promised}, and the restored copy has no commit after its backup`;
  if (newestMs >= promisedMs - LATE_MS) return null;
  return `${promised}, and the newest commit of the restored copy is of ${new Date(newestMs).toISOString()}`;
}
