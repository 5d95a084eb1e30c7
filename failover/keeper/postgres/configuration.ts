/**
 * Writes the configuration files on the node's volume. They are outside the data directory, because copies and rewinds
 * replace that.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../contract/errors';
import { PORTS } from '../../contract/layout';
import { REPLICATION_ROLE } from '../../contract/naming';
import { derivedPassword } from '../../contract/proof';
import { writeWhole } from '../../disk/durable';
import type { ServerConfig } from '../ports';
import { renderFailoverConf, renderPgHba, renderPgIdent, renderPostgresqlConf } from './config-files';
import { run } from './processes';
import { plainWords } from './server-log';

const CHECK_LIMIT_MS = 5_000;

interface ConfigurationOptions {
  node: string;
  clusterKey: string;
  /** Folder of the configuration files. */
  folder: string;
  data: string;
  memoryLimitBytes: number | null;
}

export class Configuration {
  readonly passfile: string;
  readonly mainFile: string;
  private readonly options: ConfigurationOptions;
  /** The texts that this keeper wrote, by file. */
  private readonly written = new Map<string, string>();
  /** The settings for which the files that no order changes were written; null: not known. */
  private settings: string | null = null;

  constructor(options: ConfigurationOptions) {
    this.options = options;
    this.passfile = join(options.folder, 'pgpass');
    this.mainFile = join(options.folder, 'postgresql.conf');
  }

  /** Arguments of `postgres` that select this configuration. */
  serverArguments(): string[] {
    const setting = (name: string, file: string) => ['-c', `${name}=${join(this.options.folder, file)}`];
    return [
      ...['-D', this.options.data, ...setting('config_file', 'postgresql.conf')],
      ...[...setting('hba_file', 'pg_hba.conf'), ...setting('ident_file', 'pg_ident.conf')],
    ];
  }

  /** Writes the replication role's password in a passfile for libpq. */
  async writePassfile(): Promise<void> {
    await mkdir(this.options.folder, { recursive: true, mode: 0o700 });
    const password = derivedPassword(this.options.clusterKey, 'replication');
    await this.put('pgpass', `*:*:*:${REPLICATION_ROLE}:${password}\n`);
  }

  /** Writes the files whose text changed. For the other parameters see {@link renderFailoverConf}. */
  async write(config: ServerConfig, version: number, blind = false): Promise<void> {
    const { node, memoryLimitBytes } = this.options;
    const settings = JSON.stringify(config.settings);
    if (settings !== this.settings) {
      this.settings = null;
      await this.put('postgresql.conf', renderPostgresqlConf(node, config.settings, memoryLimitBytes));
      await this.put('pg_hba.conf', renderPgHba(config.settings));
      await this.put('pg_ident.conf', renderPgIdent());
      this.settings = settings;
    }
    await this.put('failover.conf', renderFailoverConf(node, config, PORTS.postgres, this.passfile, version, blind));
  }

  /** Writes the configuration for the server that pg_rewind runs: without a source and without standbys. */
  async writeForRewind(): Promise<void> {
    await this.writePassfile();
    await this.put('failover.conf', '# No source and no standbys while this data is rewound.\n');
  }

  /**
   * Writes all files before a start. Returns PostgreSQL's own message when it refuses the stack's settings, else null.
   */
  async writeForStart(config: ServerConfig, version: number, blind: boolean): Promise<string | null> {
    this.written.clear();
    this.settings = null;
    await this.writePassfile();
    await this.write(config, version, blind);
    if (Object.keys(config.settings.postgresSettings).length === 0) return null;
    return refusal(this.serverArguments(), CHECK_LIMIT_MS);
  }

  /** Writes one file if its text changed. It is not synced, because all files are written again before a start. */
  private async put(name: string, text: string): Promise<void> {
    if (this.written.get(name) === text) return;
    this.written.delete(name);
    await writeWhole(this.options.folder, name, text, 0o600, false);
    this.written.set(name, text);
  }
}

/** Returns PostgreSQL's own message when it refuses the configuration of these arguments; null when it accepts it. */
export async function refusal(serverArguments: readonly string[], limitMs: number): Promise<string | null> {
  let heard = '';
  const onError = (piece: string) => {
    heard += piece;
  };
  try {
    await run('postgres', [...serverArguments, '-C', 'port'], { limitMs, onError });
    return null;
  } catch (error) {
    return plainWords(heard) || messageOf(error);
  }
}
