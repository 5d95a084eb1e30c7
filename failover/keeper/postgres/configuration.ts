/** Writes the configuration files, and keeps track of the stack's settings in them. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../contract/errors';
import { REPLICATION_ROLE } from '../../contract/naming';
import { derivedPassword } from '../../contract/proof';
import { writeWhole } from '../../disk/durable';
import type { ServerConfig } from '../ports';
import { type Floors, type PostgresSettings, Tunables, withSettings } from '../tunables';
import { CertificateFiles, type TlsFiles } from './certificate-files';
import { PG_IDENT, renderFailoverConf, renderPgHba, renderPostgresqlConf, settingValues } from './config-files';
import type { Place } from './place';
import { run } from './processes';
import { plainWords } from './server-log';

const CHECK_LIMIT_MS = 5_000;

export class Configuration {
  readonly tunables: Tunables;
  /** The stack's settings for which the files were written. */
  wanted: PostgresSettings = {};
  /**
   * Counts the changes of the settings in the files. A change of the source or of the synchronous names does not count.
   */
  version = 0;
  /** The texts that this keeper wrote, by file. */
  private readonly texts = new Map<string, string>();
  /** The stack's settings in the files, as text. */
  private written = '';
  /** The last request and the configuration that was written for it, as text. */
  private key = '';
  private readonly certificates: CertificateFiles;
  /** The certificate in the files; null: TLS is off. */
  tls: TlsFiles | null = null;
  /** The server was started with `wal_level = logical`. */
  private logical = false;
  /** The last start failed, perhaps because of the certificate: the next one is made without TLS. */
  private suspectsTls = false;

  constructor(
    private readonly place: Place,
    private readonly memoryLimitBytes: number | null,
  ) {
    this.tunables = new Tunables(settingValues(place.node, memoryLimitBytes));
    this.certificates = new CertificateFiles(place);
  }

  /** Why the newest certificate for clients is not used; null: it is, or there is none. */
  get certificateProblem(): string | null {
    return this.certificates.problem;
  }

  /** PostgreSQL ended before it had accepted its configuration. */
  startFailed(): void {
    this.suspectsTls = true;
  }

  /** True when the files contain what would be written now. */
  get isWritten(): boolean {
    return JSON.stringify(this.tunables.inFile(this.wanted)) === this.written;
  }

  /** Arguments of `postgres` that select this configuration. */
  serverArguments(): string[] {
    const { data, conf } = this.place;
    const files = { config_file: 'postgresql.conf', hba_file: 'pg_hba.conf', ident_file: 'pg_ident.conf' };
    const settings = Object.entries(files).flatMap(([name, file]) => ['-c', `${name}=${join(conf, file)}`]);
    return ['-D', data, ...settings];
  }

  /** Writes the replication role's password in a passfile for libpq. */
  async writePassfile(): Promise<void> {
    await mkdir(this.place.conf, { recursive: true, mode: 0o700 });
    const password = derivedPassword(this.place.clusterKey, 'replication');
    await this.put('pgpass', `*:*:*:${REPLICATION_ROLE}:${password}\n`);
  }

  /** Writes the files of a running server. Returns false if they are right already. */
  async write(config: ServerConfig, blind: boolean): Promise<boolean> {
    const asked = config.settings.postgresSettings;
    const adapted = withSettings(config, this.tunables.inFile(asked));
    const key = JSON.stringify([asked, adapted]);
    if (key === this.key) return false;
    const written = JSON.stringify(adapted.settings.postgresSettings);
    if (written !== this.written || JSON.stringify(asked) !== JSON.stringify(this.wanted)) this.version += 1;
    this.wanted = asked;
    this.written = written;
    await this.writeChanged(adapted, blind);
    // Set after the write, so that a failed write is repeated.
    this.key = key;
    return true;
  }

  /**
   * Writes all files before a start, with settings that PostgreSQL accepts; see tunables.ts. `refused` is called with
   * PostgreSQL's message if it refuses the requested settings. Resolves with true if the server accepts no sessions
   * until it is promoted.
   */
  async writeForStart(
    config: ServerConfig,
    floors: Floors,
    leads: boolean,
    refused: (words: string) => void,
  ): Promise<boolean> {
    const asked = config.settings.postgresSettings;
    this.wanted = asked;
    this.version += 1;
    for (let attempt = 1; ; attempt++) {
      const { settings, blind } = this.tunables.begin(asked, floors, leads);
      const adapted = withSettings(config, settings);
      this.logical = settings.wal_level === 'logical';
      this.texts.clear();
      await this.writePassfile();
      await this.writeChanged(adapted, blind);
      const isPlain = Object.keys(settings).length === 0;
      const words = isPlain ? null : await refusal(this.serverArguments(), CHECK_LIMIT_MS);
      this.written = JSON.stringify(settings);
      this.key = JSON.stringify([asked, adapted]);
      if (words === null || attempt === 2) {
        // The first change of the running server turns TLS on again: a reload that fails leaves PostgreSQL as it is.
        if (this.suspectsTls) this.key = '';
        this.suspectsTls = false;
        return blind;
      }
      this.tunables.refuses(asked, words);
      refused(words);
    }
  }

  /** Writes the configuration for the server that pg_rewind runs: without a source and without standbys. */
  async writeForRewind(): Promise<void> {
    await this.writePassfile();
    await this.put('failover.conf', '# No source and no standbys while this data is rewound.\n');
  }

  /** Writes the files whose text changed. */
  private async writeChanged(config: ServerConfig, blind: boolean): Promise<void> {
    const { settings } = config;
    const tls = this.suspectsTls ? null : await this.certificates.use(settings.tls);
    this.tls = tls;
    await this.put('postgresql.conf', renderPostgresqlConf(this.place.node, settings, this.memoryLimitBytes, tls));
    await this.put('pg_hba.conf', renderPgHba(settings));
    await this.put('pg_ident.conf', PG_IDENT);
    const { logical } = this;
    await this.put('failover.conf', renderFailoverConf(this.place, config, this.version, { blind, logical }));
  }

  /** Writes one file if its text changed. It is not synced, because all files are written again before a start. */
  private async put(name: string, text: string): Promise<void> {
    if (this.texts.get(name) === text) return;
    this.texts.delete(name);
    await writeWhole(this.place.conf, name, text, 0o600, false);
    this.texts.set(name, text);
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
