/** Manages the node's data directory and the folders beside it: creates, copies, rewinds, swaps and removes data. */
import { statSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../contract/errors';
import { exists, syncFolder } from '../../disk/durable';
import { NO_VIEW, type Postgres, type ServerConfig, type Source, type View } from '../ports';
import type { Floors } from '../tunables';
import type { Configuration } from './configuration';
import { CATCHING_UP, copyData } from './copy';
import { readControlFile } from './look';
import { SOCKET } from './own-sessions';
import type { Place } from './place';
import { noServerLeft, run, serverProcesses } from './processes';
import { CatchUp } from './receive-wal';
import { rewind } from './rejoin';
import type { Repositories } from './repositories';
import { reserveFor } from './room';
import { forgetTablespaces, removeLeftTablespaces, removeTablespaces } from './tablespaces';

const INITDB_LIMIT_MS = 120_000;
const REWIND_WAIT_MS = 5_000;

/** A message for people about a problem that stops nothing. */
export interface Warning {
  text: string | null;
}

/** The server that runs on the data. */
interface DataUser {
  isRunning(): boolean;
  /** Called with the amount of WAL that a copy has still to replay. */
  progress(text: string): void;
  /** Places of the backups from which a copy is made; null: it is made from the leader. */
  backups(): Repositories | null;
}

/** What is known about data on which no server runs. */
interface Stopped {
  view: View;
  /** Null: there is no data. */
  floors: Floors | null;
}

export class DataFolder {
  /** What is known about the stopped data; null: it must be read. */
  private stopped: Stopped | null = null;
  /** Source of the copy in `data.new`, and the disk space that has to stay free while it is made, bytes. */
  private copied: { source: Source; reserveBytes: number } | null = null;
  /** Receives the WAL that the present data still has to replay before it can stream. */
  private catchUp: CatchUp | null = null;
  /** The removal of large folders that is under way. */
  private removing: Promise<void> = Promise.resolve();

  constructor(
    private readonly place: Place,
    private readonly files: Configuration,
    private readonly warning: Warning,
    private readonly user: DataUser,
  ) {}

  /** The data was just copied. It replays the WAL that was received during the copy, and streams after that. */
  get catchesUp(): boolean {
    return this.catchUp !== null;
  }

  /** Returns what is known about the data. Call it only while no server runs on the data. */
  async look(): Promise<Stopped> {
    this.stopped ??= await this.read();
    return this.stopped;
  }

  /** A server ran on the data, or the data was changed in another way, so the next look reads it again. */
  forget(): void {
    this.stopped = null;
  }

  private async read(): Promise<Stopped> {
    const view = { ...NO_VIEW, warning: this.warning.text };
    if (!(await exists(join(this.place.data, 'PG_VERSION')))) return { view, floors: null };
    const { systemId, control, floors } = await readControlFile(this.place.data);
    return { view: { ...view, systemId, control, dataExists: true }, floors };
  }

  /** Time of the control file's last change, ns; null: it cannot be read. */
  controlStamp(): bigint | null {
    const file = join(this.place.data, 'global/pg_control');
    return statSync(file, { bigint: true, throwIfNoEntry: false })?.mtimeNs ?? null;
  }

  // Making data

  /** Makes room for new data in `data.new`. */
  async emptyFresh(): Promise<void> {
    await this.removing;
    await rm(this.place.fresh, { recursive: true, force: true });
  }

  async initialise(): Promise<void> {
    await this.emptyFresh();
    const options = ['--username=postgres', '--encoding=UTF8', '--data-checksums', '--sync-method=syncfs'];
    const locale = ['--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C.UTF-8'];
    const logins = ['--auth-local=peer', '--auth-host=scram-sha-256'];
    // A promotion copies the current segment and syncs it. Small segments make this faster.
    const args = ['-D', this.place.fresh, ...options, ...locale, ...logins, '--wal-segsize=1'];
    await run('initdb', args, { limitMs: INITDB_LIMIT_MS });
  }

  readonly copyFrom: Postgres['copyFrom'] = async (source, progress, signal, giveUp) => {
    await this.endCatchUp();
    await this.dropCopy();
    await this.files.writePassfile();
    const removeData = async () => {
      await giveUp?.();
      await removeTablespaces(this.place.data, null);
      await rm(this.place.data, { recursive: true, force: true });
      this.forget();
    };
    const options = { progress, signal, removeOld: giveUp === undefined ? null : removeData };
    try {
      const reserveBytes = await this.copyData(source, options);
      if (signal.aborted) throw new Error('aborted');
      this.copied = { source, reserveBytes };
    } catch (error) {
      // The removal of a large copy runs in the background, so that a new order does not wait for it.
      void this.dropCopy();
      throw error;
    }
  };

  /** From the newest backup if that is wished and possible, else from the leader. */
  private async copyData(source: Source, options: Parameters<typeof copyData>[2]): Promise<number> {
    const backups = this.user.backups();
    if (backups === null) return copyData(source, this.place, options);
    try {
      return await copyData(source, this.place, { ...options, backups });
    } catch (error) {
      if (options.signal.aborted) throw error;
      options.progress(`the backup cannot be used, so the copy comes from ${source.name}: ${messageOf(error)}`);
      await this.dropCopy();
      return copyData(source, this.place, options);
    }
  }

  dropCopy(): Promise<void> {
    this.copied = null;
    return this.remove(async () => {
      // The process that receives WAL for pg_basebackup ends a moment after it.
      await rm(this.place.fresh, { recursive: true, force: true, maxRetries: 10 });
      await rm(this.place.wal, { recursive: true, force: true });
      await removeLeftTablespaces(this.place.volume, this.place.data);
    });
  }

  async rewindFrom(source: Source, signal: AbortSignal): Promise<void> {
    await this.endCatchUp(true);
    await noServerLeft(REWIND_WAIT_MS);
    await this.removeLocks();
    await rm(join(this.place.data, 'standby.signal'), { force: true });
    await this.files.writeForRewind();
    await rewind(source, this.place, signal);
    this.forget();
  }

  async swapIn(): Promise<void> {
    const { copied } = this;
    const { volume, fresh, data, old } = this.place;
    this.copied = null;
    await this.endCatchUp();
    await this.removing;
    if (await exists(join(fresh, 'PG_VERSION'))) {
      await rm(old, { recursive: true, force: true });
      if (await exists(data)) await rename(data, old);
      await rename(fresh, data);
    }
    await syncFolder(volume);
    this.forget();
    if (copied !== null) this.beginCatchUp(copied.source, copied.reserveBytes);
    await forgetTablespaces(volume);
    // The removal may take a while, and the new data does not depend on it.
    void this.removeOld();
  }

  /** A restore has put other data in the place of the former ones; those that are not kept are in `old`. */
  async replaced(): Promise<void> {
    await this.endCatchUp();
    this.forget();
    void this.removeOld();
  }

  async tidy(): Promise<void> {
    const { data, old } = this.place;
    if (!(await exists(data)) && (await exists(old))) await rename(old, data);
    // These folders may be as large as the database, and the node must not be silent until they are removed.
    void this.dropCopy();
    void this.removeOld();
    await this.removeLocks();
  }

  /** Removes large folders in the background, one after the other. */
  private remove(work: () => Promise<void>): Promise<void> {
    this.removing = this.removing.then(work).catch((error: unknown) => {
      this.warning.text = `files of an unfinished copy cannot be removed: ${messageOf(error)}`;
    });
    return this.removing;
  }

  private removeOld(): Promise<void> {
    return this.remove(async () => {
      await removeTablespaces(this.place.old, this.place.data);
      await rm(this.place.old, { recursive: true, force: true });
    });
  }

  /**
   * Removes the lock files of a server that has ended. PostgreSQL would refuse to start if the process id in a stale
   * lock file belonged to a new process (S25).
   */
  async removeLocks(): Promise<void> {
    if ((await serverProcesses()).length > 0) return;
    for (const file of [join(this.place.data, 'postmaster.pid'), SOCKET, `${SOCKET}.lock`]) {
      await rm(file, { force: true });
    }
  }

  // Starting a server on the data

  /**
   * Continues to receive WAL for data that was just copied and follows that node, also after a restart of this
   * container.
   */
  async resumeCatchUp(upstream: Source | null): Promise<void> {
    if (upstream === null) await this.endCatchUp(true);
    else if (await exists(join(this.place.data, CATCHING_UP))) {
      await this.files.writePassfile();
      this.beginCatchUp(upstream, reserveFor(0));
    }
  }

  /**
   * Adapts the configuration while a copy catches up. PostgreSQL then follows no leader, because its walreceiver would
   * need the slot that pg_receivewal uses.
   */
  async staged(config: ServerConfig): Promise<ServerConfig> {
    const { catchUp } = this;
    if (catchUp === null) return config;
    const isSame = config.upstream?.address === catchUp.source.address;
    if (isSame && !catchUp.isOver) return { ...config, upstream: null };
    await this.endCatchUp(true);
    return config;
  }

  /**
   * Makes the data start as a standby, as every node does (S8). Empties postgresql.auto.conf, because only the order
   * decides the settings, whatever a person wrote there (S5).
   */
  async beStandby(): Promise<void> {
    await writeFile(join(this.place.data, 'postgresql.auto.conf'), '');
    await rm(join(this.place.data, 'recovery.signal'), { force: true });
    await writeFile(join(this.place.data, 'standby.signal'), '');
    await syncFolder(this.place.data);
  }

  private beginCatchUp(source: Source, reserveBytes: number): void {
    if (this.catchUp !== null) return;
    this.catchUp = new CatchUp(source, this.place, reserveBytes, this.user);
  }

  /** Ends the receiving. `streams`: the walreceiver takes over, so pg_receivewal must never run on this data again. */
  async endCatchUp(streams = false): Promise<void> {
    await this.catchUp?.end();
    this.catchUp = null;
    if (!streams || !(await exists(join(this.place.data, CATCHING_UP)))) return;
    // From now on a walreceiver writes into `pg_wal`. pg_receivewal would mistake a segment that the walreceiver has
    // only begun for a whole one.
    await rm(join(this.place.data, CATCHING_UP), { force: true });
    await syncFolder(this.place.data);
  }
}
