/**
 * Restores another cluster's data into the first node of a new cluster. That cluster's repository is mounted read-only, or
 * it is in S3, of which nothing but reading is asked; the new cluster archives into a repository of its own, in which nothing of the other one may be: both have the same
 * system identifier, and so the same stanza and file names.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { RestoreSource } from '../../contract/inputs';
import { PATHS, RESTORED_FILE } from '../../contract/layout';
import type { Restored } from '../../contract/restore';
import { exists, writeWhole } from '../../disk/durable';
import { KeeperError, type Postgres } from '../ports';
import type { Place } from './place';
import { throttled } from './receive-wal';
import { type Recovered, recover } from './recover';
import { backupsIn, lookIn } from './repository-look';
import { restoreData } from './restore';
import { writeRestoreConf } from './restore-conf';
import { makeRoom } from './room';

export class NodeRestore {
  private recovered: Recovered | null = null;

  constructor(
    private readonly place: Place,
    private readonly source: RestoreSource,
    private readonly repository: string = PATHS.restoreVolume,
    /** The new cluster's own repository. */
    private readonly own: string = PATHS.backupVolume,
    private readonly folder: string = PATHS.archiveRun,
  ) {}

  /** The restore as the keeper's port has it. `empty` makes `data.new` empty. */
  into(empty: () => Promise<void>): NonNullable<Postgres['restore']> {
    return async (progress, signal) => {
      await this.mustBeNew();
      await empty();
      const tell = throttled(progress);
      // It holds the other cluster's passphrase and key. The node's own files of S3 are beside it.
      const secrets = join(this.folder, 'restore-from');
      try {
        return await this.run(await writeRestoreConf(secrets, this.source, this.repository), tell, signal);
      } finally {
        await rm(secrets, { recursive: true, force: true });
      }
    };
  }

  private async run(configPath: string, tell: (text: string) => void, signal: AbortSignal): Promise<string> {
    const { place, source } = this;
    const { stanza, target, timeline } = source;
    await this.mustHaveRoom(configPath, signal);
    const job = { stanza, target, timeline, data: place.fresh, configPath, signal };
    await restoreData({
      ...job,
      progress: (share) => tell(`restore of ${stanza}: ${Math.floor(share * 100)} % copied`),
    });
    const scratch = join(this.folder, 'recovery');
    this.recovered = await recover({
      ...{ data: place.fresh, target, scratch, signal },
      tell: (file) => tell(`restore of ${stanza}: replays ${file}`),
    });
    return wordsOf(stanza, this.recovered);
  }

  /** Refuses a second restore: `restoreFrom` may stay in the config, but acts once. */
  private async mustBeNew(): Promise<void> {
    const { stanza } = this.source;
    const what = `restoreFrom: ${stanza} is not restored`;
    if (await exists(join(this.own, RESTORED_FILE))) {
      const text = await readFile(join(this.own, RESTORED_FILE), 'utf8');
      throw new KeeperError('DATA_EXISTS', `${what}, because this stack restored it before (${text.trim()})`);
    }
    if (await exists(join(this.own, 'archive', stanza))) {
      const why = 'because the stack’s own repository has that cluster already: two histories would meet in it';
      throw new KeeperError('DATA_EXISTS', `${what}, ${why}`);
    }
  }

  private async mustHaveRoom(configPath: string, signal: AbortSignal): Promise<void> {
    const { stanza } = this.source;
    const backups = await backupsIn(lookIn({ configPath, stanza, signal }));
    await makeRoom(stanza, Math.max(0, ...backups.map(({ sizeBytes }) => sizeBytes)), this.place, null);
  }

  /** Notes in the new cluster's repository what was restored, so that no later start restores again. */
  async remember(): Promise<void> {
    const { recovered, source } = this;
    if (recovered === null) return;
    const { stanza, target, timeline } = source;
    const { lastCommitMs, lsn } = recovered;
    const lastCommit = lastCommitMs === null ? null : new Date(lastCommitMs).toISOString();
    const restored: Restored = { stanza, target, timeline, lastCommit, lsn };
    await writeWhole(this.own, RESTORED_FILE, `${JSON.stringify(restored)}\n`);
  }
}

function wordsOf(stanza: string, { lastCommitMs, lsn, timeline, newTimeline }: Recovered): string {
  const last =
    lastCommitMs === null ? 'no commit after its backup' : `last commit ${new Date(lastCommitMs).toISOString()}`;
  return `${stanza} is restored up to ${lsn} of timeline ${timeline} (${last}); it goes on as timeline ${newTimeline}`;
}
