/** Keeps track of the written configuration and of the stack's settings in it. */
import type { ServerConfig } from '../ports';
import { type Floors, type PostgresSettings, type Tunables, withSettings } from '../tunables';
import type { Configuration } from './configuration';

export class InForce {
  readonly tunables: Tunables;
  /** The stack's settings for which the files were written. */
  wanted: PostgresSettings = {};
  /**
   * Counts the changes of the settings in the files. A change of the source or of the synchronous names does not count.
   */
  version = 0;
  private readonly files: Configuration;
  /** The settings in the files, as text. */
  private written = '';
  /** The last request and the configuration that was written for it, as text. */
  private key = '';

  constructor(files: Configuration, tunables: Tunables) {
    this.files = files;
    this.tunables = tunables;
  }

  /** True when the files contain what would be written now. */
  get isWritten(): boolean {
    return JSON.stringify(this.tunables.inFile(this.wanted)) === this.written;
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
    await this.files.write(adapted, this.version, blind);
    // Set after the write, so that a failed write is repeated.
    this.key = key;
    return true;
  }

  /**
   * Writes the files for a start, with settings that PostgreSQL accepts; see tunables.ts. `refused` is called with
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
      const words = await this.files.writeForStart(adapted, this.version, blind);
      this.written = JSON.stringify(settings);
      this.key = JSON.stringify([asked, adapted]);
      if (words === null || attempt === 2) return blind;
      this.tunables.refuses(asked, words);
      refused(words);
    }
  }
}
