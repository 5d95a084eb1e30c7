/** The configuration that the server has: which one is written, and with which of the stack's settings. */
import type { ServerConfig } from '../ports';
import { type Floors, type PostgresSettings, type Tunables, withSettings } from '../tunables';
import type { Configuration } from './configuration';

export class InForce {
  readonly tunables: Tunables;
  /** The stack's settings that the files were written for. */
  wanted: PostgresSettings = {};
  /** Counts the changes of the settings in the files; whom to follow and whom to wait for are none. */
  version = 0;
  private readonly files: Configuration;
  /** The settings that the files have, as text. */
  private written = '';
  /** What was asked for and written last, as text. */
  private key = '';

  constructor(files: Configuration, tunables: Tunables) {
    this.files = files;
    this.tunables = tunables;
  }

  /** The files have what they would be written with now. */
  get isWritten(): boolean {
    return JSON.stringify(this.tunables.inFile(this.wanted)) === this.written;
  }

  /** Writes the files of a running server; false: they are as they have to be. */
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
    // Only now: a write that failed is done again.
    this.key = key;
    return true;
  }

  /**
   * Writes the files for a start, with settings that PostgreSQL takes; see tunables.ts. `refused` hears its words when it
   * refuses those that are asked for. Resolves with whether the server answers nobody until it is promoted.
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
