/**
 * The gate before the backups' repository, and the repository of this node. PostgreSQL's archiver runs
 * images/postgres/archive-wal, which reads the lease from a folder in memory; pgBackRest reads its config there, so the
 * passphrase is in no image, log or process list. No repository setting is anywhere else.
 */
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { PATHS } from '../../contract/layout';
import { parseLsn, printLsn } from '../../contract/lsn';
import { KEEPER_ROLE } from '../../contract/naming';
import { derivedPassword } from '../../contract/proof';
import { exists, writeWhole } from '../../disk/durable';
import type { Archive, ArchiveLease, ArchiveQueue } from '../ports';
import { keepFrom, releaseWal } from './archive-slot';
import { readControlFile, readHistory } from './look';
import { type OwnSessions, SOCKETS } from './own-sessions';
import type { Place } from './place';
import { commandLine, isArchiver, run, signalProcess } from './processes';
import { type Stretch, segmentFile, segmentStart } from './timelines';

/** Limit for making the repository's stanza ready, ms. */
const STANZA_LIMIT_MS = 60_000;
const CONFIG = 'pgbackrest.conf';
/** A lease in this file opens the gate, {@link CLOSED} shuts it for good, and {@link FULL} lets files go. */
const LEASE = 'lease';
const CLOSED = 'closed';
const FULL = 'full';
const READY = /^([0-9A-F]{24})\.ready$/;
const DONE = /^([0-9A-F]{24})\.done$/;
/** The command that hands one file to the repository. */
const PUSH = /^pgbackrest .* archive-push /;

/** Name of the repository's stanza: one for each database cluster, so that no other data ever meets in it. */
export function stanzaOf(systemId: string): string {
  return `c${systemId}`;
}

/** pgBackRest's config of a node. It holds the passphrase. */
export function renderPgbackrestConf(place: Pick<Place, 'data' | 'port' | 'clusterKey'>, stanza: string): string {
  const values = {
    'repo1-path': PATHS.backupVolume,
    'repo1-cipher-type': 'aes-256-cbc',
    'repo1-cipher-pass': derivedPassword(place.clusterKey, 'backup'),
    'repo1-bundle': 'y',
    'repo1-block': 'y',
    'compress-type': 'zst',
    'process-max': '1',
    'start-fast': 'y',
    'lock-path': join(PATHS.archiveRun, 'lock'),
    'log-level-file': 'off',
    'log-level-console': 'off',
    'log-level-stderr': 'warn',
  };
  const database = {
    'pg1-path': place.data,
    'pg1-port': String(place.port),
    'pg1-socket-path': SOCKETS,
    'pg1-user': KEEPER_ROLE,
    'pg1-database': 'postgres',
  };
  const lines = (section: Record<string, string>) => Object.entries(section).map(([name, value]) => `${name}=${value}`);
  // After a change of leader a file may be there already; pgBackRest compares it and warns.
  const push = { 'log-level-stderr': 'error' };
  const sections = { global: values, 'global:archive-push': push, [stanza]: database };
  return Object.entries(sections)
    .map(([name, section]) => [`[${name}]`, ...lines(section), ''].join('\n'))
    .join('\n');
}

/** Text of the lease. For each earlier timeline it names the first file that is not wholly of the leader's history. */
export function renderLease(lease: ArchiveLease, history: readonly Stretch[], segmentBytes: bigint): string {
  const until = Math.floor(lease.untilBootMs / 10);
  const ancestors = history.flatMap(({ timeline, end }) => {
    if (end === null) return [];
    const name = segmentFile(timeline, end, segmentBytes);
    return `${name.slice(0, 8)} ${name.slice(8)}\n`;
  });
  const own = lease.timeline.toString(16).toUpperCase().padStart(8, '0');
  return [`${until} ${own} ${lease.term}\n`, ...ancestors].join('');
}

/**
 * The files of earlier timelines of the history that the former leader may not have archived. PostgreSQL marks what a
 * standby has received as archived, so without this no node would ever archive them.
 */
export function missed(
  marks: readonly string[],
  history: readonly Stretch[],
  segmentBytes: bigint,
  archivedTo: bigint | null,
): string[] {
  return marks.flatMap((mark) => {
    const name = DONE.exec(mark)?.[1];
    if (name === undefined) return [];
    const begin = segmentStart(name, segmentBytes);
    const stretch = history.find(({ timeline }) => timeline === Number.parseInt(name.slice(0, 8), 16));
    const isWhole = stretch !== undefined && stretch.end !== null && begin + segmentBytes <= stretch.end;
    return isWhole && (archivedTo === null || begin + segmentBytes > archivedTo) ? [name] : [];
  });
}

/** The archive of one node. */
export class NodeArchive implements Archive {
  private history: readonly Stretch[] = [];
  private segmentBytes = 1n;
  /** PostgreSQL's archive is the one of the backups, and not a person's. */
  isOurs = false;

  constructor(
    private readonly place: Place,
    private readonly sessions: Pick<OwnSessions, 'common'>,
    private readonly folder: string = PATHS.archiveRun,
  ) {}

  readonly bootMs = () => uptime() * 1_000;

  private get marks(): string {
    return join(this.place.data, 'pg_wal', 'archive_status');
  }

  /** Folder with the first and the last file that was let go. It outlives the container. */
  private get gap(): string {
    return join(this.place.volume, 'archive-gap');
  }

  /** PostgreSQL is about to start. */
  begin(): void {
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    for (const name of [LEASE, CLOSED, FULL]) rmSync(join(this.folder, name), { force: true });
  }

  /**
   * PostgreSQL is about to shut down: its archiver gets no further file, and ends at once. What it leaves, the next leader
   * archives.
   */
  close(): void {
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    writeFileSync(join(this.folder, CLOSED), '');
    this.shut();
  }

  /**
   * Ends the archiver's work during a shutdown. An archiver that got SIGTERM begins no further file, and ends as soon as
   * all else has (PostgreSQL's pgarch.c). A push under way is killed, because the repository may hang.
   */
  async endArchiver(): Promise<void> {
    if (!this.isOurs) return;
    // One pass over all processes, because the shutdown needs the processor.
    for (const entry of await readdir('/proc')) {
      const pid = Number(entry);
      const title = Number.isInteger(pid) ? await commandLine(pid) : null;
      if (title === null) continue;
      if (isArchiver(title, this.place.node)) signalProcess(pid, 'SIGTERM');
      else if (PUSH.test(title)) signalProcess(pid, 'SIGKILL');
    }
  }

  async prepare(timeline: number, archivedTo: string | null): Promise<void> {
    const { place, folder } = this;
    const { systemId, segmentBytes } = await readControlFile(place.data);
    this.history = await readHistory(place.data, timeline);
    this.segmentBytes = BigInt(segmentBytes);
    const stanza = stanzaOf(systemId);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeWhole(folder, CONFIG, renderPgbackrestConf(place, stanza), 0o600, false);
    await writeWhole(folder, 'stanza', `${stanza}\n`, 0o600, false);
    // Does nothing when it is there already.
    const command = [`--config=${join(folder, CONFIG)}`, `--stanza=${stanza}`, 'stanza-create'];
    await run('pgbackrest', command, { limitMs: STANZA_LIMIT_MS });
    const marks = await readdir(this.marks);
    const from = archivedTo === null ? null : parseLsn(archivedTo);
    for (const name of missed(marks, this.history, this.segmentBytes, from)) {
      if (!(await exists(join(place.data, 'pg_wal', name)))) continue;
      await rename(join(this.marks, `${name}.done`), join(this.marks, `${name}.ready`)).catch(() => undefined);
    }
  }

  open(lease: ArchiveLease): void {
    const [temporary, path] = [join(this.folder, `${LEASE}.new`), join(this.folder, LEASE)];
    writeFileSync(temporary, renderLease(lease, this.history, this.segmentBytes), { mode: 0o600 });
    renameSync(temporary, path);
  }

  shut(): void {
    rmSync(join(this.folder, LEASE), { force: true });
  }

  async look(_timeline: number, flushLsn: string, queueBytes: number): Promise<ArchiveQueue> {
    const { segmentBytes, history } = this;
    const waiting = (await readdir(this.marks)).flatMap((mark) => READY.exec(mark)?.[1] ?? []);
    const ours = waiting.filter((name) =>
      history.some(({ timeline }) => timeline === Number.parseInt(name.slice(0, 8), 16)),
    );
    const begins = ours.map((name) => segmentStart(name, segmentBytes));
    const present = (parseLsn(flushLsn) / segmentBytes) * segmentBytes;
    let archivedTo = present;
    for (const begin of begins) if (begin < archivedTo) archivedTo = begin;
    const waitingBytes = waiting.length * Number(segmentBytes);
    const full = join(this.folder, FULL);
    if (waitingBytes > queueBytes) await writeWhole(this.folder, FULL, `${this.gap}\n`, 0o600, false);
    else await rm(full, { force: true });
    const [from, to] = await Promise.all(['from', 'to'].map((name) => this.gapEnd(name)));
    const gap = from !== undefined && to !== undefined ? { gap: { from, to } } : {};
    return { waiting: waiting.length, waitingBytes, archivedTo: printLsn(archivedTo), ...gap };
  }

  private async gapEnd(name: string): Promise<string | undefined> {
    const text = await readFile(join(this.gap, name), 'utf8').catch(() => '');
    return /^[0-9A-F]{24}$/m.exec(text)?.[0];
  }

  async keep(archivedTo: string | null): Promise<void> {
    await keepFrom(await this.sessions.common(), archivedTo);
  }

  async release(): Promise<void> {
    await releaseWal(await this.sessions.common());
  }
}
