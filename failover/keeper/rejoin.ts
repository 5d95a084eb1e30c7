/** Base backup and rewind: how a node's data gets to another node's history. */
import { lstat, readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { derivedPassword, REPLICATION_ROLE } from '../protocol';
import { conninfo } from './config-files';
import { KeeperError, messageOf, type Source } from './ports';
import { run } from './processes';
import { Session } from './session';

const HOUR_MS = 3_600_000;
const REWIND_LIMIT_MS = HOUR_MS;
const SOURCE_LIMIT_MS = 3_000;
const MB = 1024 * 1024;
/** Unit of `blocks` in what `stat` tells, bytes. */
const BLOCK_BYTES = 512;
/** Room that must stay beside both copies, bytes: WAL that streams in during the copy, and some air. */
const RESERVE_BYTES = 128 * MB;
const PROGRESS_EVERY_MS = 3_000;

export interface RejoinContext {
  node: string;
  clusterKey: string;
  port: number;
  passfile: string;
  volume: string;
  data: string;
  fresh: string;
  configFile: string;
}

/** A session on the source, under the replication role. Throws LEADER_UNREACHABLE. */
async function openSource(source: Source, context: RejoinContext): Promise<Session> {
  try {
    return await Session.open({
      host: source.address,
      port: context.port,
      user: REPLICATION_ROLE,
      password: derivedPassword(context.clusterKey, 'replication'),
      database: 'postgres',
      applicationName: `${context.node}-rejoin`,
      limitMs: SOURCE_LIMIT_MS,
    });
  } catch (error) {
    const words = messageOf(error);
    throw new KeeperError('LEADER_UNREACHABLE', `${source.name} (${source.address}) does not answer: ${words}`);
  }
}

/**
 * Throws LEADER_UNREACHABLE unless the source answers by its own name and is a primary: nothing is thrown away before it
 * does. An address may have become another node's (S14).
 */
export async function reach(source: Source, context: RejoinContext): Promise<void> {
  const session = await openSource(source, context);
  try {
    const [row] = await session.query<{ recovery: boolean; name: string }>(
      "SELECT pg_is_in_recovery() AS recovery, current_setting('cluster_name') AS name",
    );
    if (row !== undefined && row.name !== source.name) {
      throw new KeeperError('LEADER_UNREACHABLE', `the address of ${source.name} answers as ${row.name}`);
    }
    if (row?.recovery !== false) throw new KeeperError('LEADER_UNREACHABLE', `${source.name} is not a primary yet`);
  } finally {
    session.destroy();
  }
}

/** Size of the source's databases, bytes. */
async function sizeOf(source: Source, context: RejoinContext): Promise<number> {
  const session = await openSource(source, context);
  try {
    const [row] = await session.query<{ bytes: string }>(
      'SELECT sum(pg_database_size(oid))::text AS bytes FROM pg_database',
    );
    return Number(row?.bytes ?? 0);
  } finally {
    session.destroy();
  }
}

function inBytes(bytes: number): string {
  return `${bytes} bytes (${Math.ceil(bytes / MB)} MB)`;
}

/** Room that a folder takes on its disk, bytes. Files that vanish meanwhile count nothing. */
async function usedBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  let bytes = 0;
  for (const entry of entries) {
    if (entry.isFile()) bytes += (await lstat(join(entry.parentPath, entry.name)).catch(() => null))?.blocks ?? 0;
  }
  return bytes * BLOCK_BYTES;
}

/**
 * Makes sure that a copy of the source fits on this disk beside the old data; where it does not, `removeOld` may make
 * room. Throws DISK_TOO_SMALL, naming what is needed and what is free, before anything is removed.
 */
export async function makeRoom(
  source: Source,
  context: RejoinContext,
  removeOld: (() => Promise<void>) | null,
): Promise<void> {
  const [size, disk] = [await sizeOf(source, context), await statfs(context.volume)];
  const [needed, free] = [size + RESERVE_BYTES, disk.bavail * disk.bsize];
  if (free >= needed) return;
  const old = await usedBytes(context.data);
  const refuse = (what: string, rest: string) =>
    new KeeperError(
      'DISK_TOO_SMALL',
      `the copy of ${source.name} needs ${inBytes(needed)}${what}, ${inBytes(free)} are free in the volume of ${context.node}${rest}`,
    );
  if (free + old < needed) throw refuse('', ` and the old data takes ${inBytes(old)}: make the disk larger`);
  if (removeOld !== null) await removeOld();
  else throw refuse(' beside the old data', '; make the disk larger, or allow rebuildInPlace');
}

/** Base backup of the source beside the old data, checked against its manifest. */
export async function baseBackup(
  source: Source,
  context: RejoinContext,
  progress: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  let toldMs = performance.now();
  const connection = conninfo(source.address, context.port, `${context.node}-basebackup`, context.passfile);
  await run(
    'pg_basebackup',
    [
      '-d',
      connection,
      '-D',
      context.fresh,
      '--checkpoint=fast',
      '--wal-method=stream',
      '--progress',
      '--no-password',
      '--sync-method=syncfs',
    ],
    {
      limitMs: 24 * HOUR_MS,
      signal,
      onError: (text) => {
        const percent = /\((\d+)%\)/.exec(text)?.[1];
        if (percent === undefined || performance.now() - toldMs < PROGRESS_EVERY_MS) return;
        toldMs = performance.now();
        progress(`base backup of ${source.name}: ${percent} %`);
      },
    },
  );
  await run('pg_verifybackup', ['--quiet', context.fresh], { limitMs: 24 * HOUR_MS, signal });
}

/**
 * `pg_rewind` of the data, over the replication role and its grants (S12). Throws on any error, also when the data was not
 * shut down cleanly: pg_rewind's own recovery would write a record into the leader's timeline (S3).
 */
export async function rewind(source: Source, context: RejoinContext, signal: AbortSignal): Promise<void> {
  const connection = conninfo(source.address, context.port, `${context.node}-rewind`, context.passfile);
  await run(
    'pg_rewind',
    [
      '-D',
      context.data,
      '--no-ensure-shutdown',
      '--sync-method=syncfs',
      `--source-server=${connection} dbname=postgres`,
      `--config-file=${context.configFile}`,
    ],
    { limitMs: REWIND_LIMIT_MS, signal },
  );
}
