/**
 * Replaces the node's data by data of the backups. They are made in a folder beside the present data, brought to their
 * target by a PostgreSQL of their own, promoted, and shut down; only then do they take the place of the present data.
 *
 * PostgreSQL gives the promoted data the next number that neither the repository nor `pg_wal` has a history file for
 * (`xlog.c`, StartupXLOG). The repository has no file of a candidate that was never opened, so an empty file stands for
 * each number that is taken.
 */
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PATHS } from '../../contract/layout';
import { exists, syncFolder } from '../../disk/durable';
import { KeeperError, type MadeFrom, RESTORED, type Restorer } from '../ports';
import { readControlFile } from './look';
import type { Place } from './place';
import { noServerLeft } from './processes';
import { throttled } from './receive-wal';
import { recover } from './recover';
import { Repositories, stanzaOf, writePgbackrestConf } from './repositories';
import { restoreData } from './restore';
import { freeBytes, reserveFor, usedBytes, watchRoom } from './room';
import { locationsOf } from './tablespaces';
import { historyFile } from './timelines';

const CONFIG = 'restore.conf';
const SCRATCH = 'data.scratch';
const LEFT_MS = 5_000;
/** Interval at which the free space is looked at for the status, ms. */
const LOOK_MS = 5_000;

/** What it needs from the node's data folder. */
interface DataUser {
  /** Called when other data have taken the place of the present ones. */
  replaced(): Promise<void>;
}

export class NodeRestorer implements Restorer {
  private free: { bytes: number | null; atMs: number } = { bytes: null, atMs: Number.NEGATIVE_INFINITY };

  constructor(
    private readonly place: Place,
    private readonly user: DataUser,
    private readonly repositories: Repositories = new Repositories(),
    private readonly folder: string = PATHS.archiveRun,
  ) {}

  get freeBytes(): number | null {
    const nowMs = performance.now();
    if (nowMs - this.free.atMs >= LOOK_MS) {
      this.free.atMs = nowMs;
      freeBytes(this.place.volume)
        .then((bytes) => {
          this.free.bytes = bytes;
        })
        .catch(() => undefined);
    }
    return this.free.bytes;
  }

  sizeBytes(): Promise<number> {
    return usedBytes(this.place.data);
  }

  readonly make: Restorer['make'] = async (source, above, progress, signal) => {
    const { place } = this;
    await noServerLeft(LEFT_MS);
    await this.refuseTablespaces();
    const tell = throttled(progress);
    const full = new AbortController();
    const all = AbortSignal.any([signal, full.signal]);
    watchRoom('the backup', place, reserveFor(0), all, (error) => full.abort(error));
    try {
      if (source.kind === 'backup') await this.restore(source, above, tell, all);
      else await this.raise(join(place.volume, source.folder), above, all);
      await syncFolder(place.volume);
    } catch (error) {
      await this.remove(RESTORED).catch(() => undefined);
      full.signal.throwIfAborted();
      throw error;
    } finally {
      full.abort();
    }
  };

  /** Both data would have their tablespaces at the same place. */
  private async refuseTablespaces(): Promise<void> {
    const [location] = await locationsOf(this.place.data);
    if (location === undefined) return;
    const why = `the database has a tablespace in ${location}, which the old and the new data cannot both have`;
    throw new KeeperError('RESTORE_IMPOSSIBLE', `${why}: restore beside it instead`);
  }

  private async restore(
    { target, timeline }: Extract<MadeFrom, { kind: 'backup' }>,
    above: number,
    tell: (text: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { place } = this;
    const data = join(place.volume, RESTORED);
    await this.remove(RESTORED);
    const { systemId } = await readControlFile(place.data);
    const stanza = stanzaOf(systemId);
    const places = this.repositories.first();
    const configPath = await writePgbackrestConf(this.folder, CONFIG, { ...place, data }, stanza, places);
    const progress = (share: number) => tell(`${Math.round(share * 100)} % of the backup is copied`);
    await restoreData({ stanza, target, timeline, data, configPath, signal, progress });
    await this.bringUp(data, timeline, above, (file) => tell(`replayed up to ${file}`), signal, { target });
  }

  /** Gives kept data, which were shut down cleanly, a timeline of their own. */
  private async raise(data: string, above: number, signal: AbortSignal): Promise<void> {
    if (!(await exists(join(data, 'PG_VERSION')))) {
      throw new KeeperError('RESTORE_IMPOSSIBLE', 'the data from before the restore are not here any more');
    }
    const { control } = await readControlFile(data);
    const { timeline } = control;
    const settings = ["restore_command = 'exit 1'", `recovery_target_timeline = '${timeline}'`, ''];
    await writeFile(join(data, 'postgresql.auto.conf'), settings.join('\n'));
    await rm(join(data, 'standby.signal'), { force: true });
    await writeFile(join(data, 'recovery.signal'), '');
    const made = await this.bringUp(data, timeline, above, () => undefined, signal, { target: { kind: 'latest' } });
    await nameReason(join(data, 'pg_wal', historyFile(made)));
  }

  private async bringUp(
    data: string,
    timeline: number,
    above: number,
    tell: (file: string) => void,
    signal: AbortSignal,
    { target }: Pick<Extract<MadeFrom, { kind: 'backup' }>, 'target'>,
  ): Promise<number> {
    const wal = join(data, 'pg_wal');
    const present = await readdir(wal);
    const taken: string[] = [];
    for (let number = timeline + 1; number <= above; number++) {
      const file = historyFile(number);
      if (present.includes(file)) continue;
      await writeFile(join(wal, file), '');
      taken.push(file);
    }
    const { newTimeline } = await recover({ data, target, scratch: join(this.place.volume, SCRATCH), signal, tell });
    for (const file of taken) await rm(join(wal, file), { force: true });
    if (newTimeline > above) return newTimeline;
    throw new KeeperError('RESTORE_IMPOSSIBLE', `the data came up on timeline ${newTimeline}, which may be taken`);
  }

  async swap(from: string, keep: string | null): Promise<void> {
    const { volume, data, old } = this.place;
    const made = join(volume, from);
    if (await exists(join(made, 'PG_VERSION'))) {
      const place = keep === null ? old : join(volume, keep);
      if (keep === null && (await exists(data))) await rm(old, { recursive: true, force: true });
      if (await exists(data)) await rename(data, place);
      await rename(made, data);
    }
    await syncFolder(volume);
    await this.user.replaced();
  }

  async remove(folder: string): Promise<void> {
    const path = join(this.place.volume, folder);
    // A folder without this file is never taken for complete data, so it goes first.
    await rm(join(path, 'PG_VERSION'), { force: true });
    await rm(path, { recursive: true, force: true });
    await syncFolder(this.place.volume);
  }
}

/**
 * Writes into a history file that this timeline began with a restore, and not with a change of leader. PostgreSQL does not
 * read the reason (manual, "Timelines"); restore-timeline.ts does.
 */
async function nameReason(file: string): Promise<void> {
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace(/no recovery target specified(?=\s*$)/, 'a restore in place was undone'));
}
