/**
 * Which of the stack's own settings a server gets, and whether it has them. Pure bookkeeping, the same for the real
 * PostgreSQL and the simulated one.
 *
 * - A standby has at least what its control file says of its leader (S23), whatever the stack asks for: with less it would
 *   not start. The lower value is written once the leader has it.
 * - A leader that shut down cleanly may take a lower value: see {@link Begin} `blind`.
 * - A server that does not start with the settings starts with those that it ran with before. Which it refused is kept
 *   until they change.
 */
import type { SettingsStatus } from '../contract/messages';
import type { ServerConfig } from './ports';

export type PostgresSettings = Readonly<Record<string, string>>;

/** What a standby must not have less of than the leader whose log it replays (manual, "Administrator's Overview" of hot standby). */
export const FLOORED = [
  'max_connections',
  'max_worker_processes',
  'max_wal_senders',
  'max_prepared_transactions',
  'max_locks_per_transaction',
] as const;
/** Their values by the control file: the leader's whose log was replayed last. */
export type Floors = Readonly<Record<(typeof FLOORED)[number], number>>;

/** Exit code of a postmaster that ends by an error of its own; one that was killed or shut down has another or none. */
const FAILED = 1;

/** How a server ended that was not told to. */
export interface End {
  /** The postmaster's exit code; null: a signal ended it. */
  code: number | null;
  /**
   * It had begun to recover: the control file was written since its start. PostgreSQL has taken its settings by then. If
   * the log that it replays asks for a higher value, the next start finds that in the control file (S23).
   */
  recovered: boolean;
  /** PostgreSQL's last message, for people; null: none. */
  message: string | null;
}

/** How a server starts. */
export interface Begin {
  settings: PostgresSettings;
  /**
   * Its control file still has a higher value, so it cannot be a hot standby: it answers nobody until it is promoted
   * (`hot_standby = off`), and writes the lower value into its log then.
   */
  blind: boolean;
}

/** A setting that waits for a restart, with its present value. */
export interface Pending {
  name: string;
  setting: string;
}

/** The same configuration with other settings of the stack. */
export function withSettings(config: ServerConfig, postgresSettings: PostgresSettings): ServerConfig {
  return { ...config, settings: { ...config.settings, postgresSettings: { ...postgresSettings } } };
}

export class Tunables {
  /** The value of a name that the given settings result in, the stack's or the template's. */
  private readonly numberOf: (name: string, settings: PostgresSettings) => number;
  /** With these it answered. */
  private proven: PostgresSettings | null = null;
  private refused: { wanted: string; message: string } | null = null;
  private floors: Floors | null = null;
  private begun: { wanted: PostgresSettings; used: PostgresSettings; answered: boolean } | null = null;

  constructor(numberOf: (name: string, settings: PostgresSettings) => number) {
    this.numberOf = numberOf;
  }

  /**
   * Before a start. `floors`: what the control file says. `leads`: it was told to lead, and its data was shut down cleanly
   * as a leader's.
   */
  begin(wanted: PostgresSettings, floors: Floors, leads: boolean): Begin {
    const usable = this.usable(wanted);
    const blind = leads && FLOORED.some((name) => this.numberOf(name, usable) < floors[name]);
    this.floors = blind ? null : floors;
    this.begun = { wanted, used: usable, answered: false };
    return { settings: this.inFile(wanted), blind };
  }

  /** What the configuration file has to say now. */
  inFile(wanted: PostgresSettings): PostgresSettings {
    const usable = this.usable(wanted);
    const { floors } = this;
    if (floors === null) return usable;
    return { ...usable, ...Object.fromEntries(this.floored(wanted).map((name) => [name, String(floors[name])])) };
  }

  /** A standby runs with more than the stack asks for, because its leader has more. */
  isFloored(wanted: PostgresSettings): boolean {
    return this.floored(wanted).length > 0;
  }

  private floored(wanted: PostgresSettings): (typeof FLOORED)[number][] {
    const { floors } = this;
    const usable = this.usable(wanted);
    return floors === null ? [] : FLOORED.filter((name) => this.numberOf(name, usable) < floors[name]);
  }

  /** The control file of the running standby was read again. */
  floorsAre(floors: Floors): void {
    if (this.floors !== null) this.floors = floors;
  }

  /** It leads: nobody's value binds it. */
  promoted(): void {
    this.floors = null;
  }

  /** The server answers. */
  answered(): void {
    if (this.begun === null || this.begun.answered) return;
    this.begun.answered = true;
    this.proven = this.begun.used;
  }

  /** PostgreSQL itself refuses what the file would say, before a start. */
  refuses(wanted: PostgresSettings, message: string): void {
    this.refused = { wanted: JSON.stringify(wanted), message: this.blame(wanted, message) };
  }

  /** The server ended by itself. Whether the settings are the cause is found by a start with the former ones. */
  failed(end: End): void {
    const { begun } = this;
    this.begun = null;
    if (begun === null || begun.answered || end.code !== FAILED || end.recovered) return;
    // Where the former ones fail, too, it is not for the settings.
    if (JSON.stringify(begun.used) !== JSON.stringify(begun.wanted)) this.refused = null;
    else if (JSON.stringify(this.former()) !== JSON.stringify(begun.wanted)) {
      this.refuses(begun.wanted, end.message ?? 'PostgreSQL does not start with it');
    }
  }

  /** How the running server stands. `pending`: what PostgreSQL says waits for a restart. */
  status(wanted: PostgresSettings, pending: readonly Pending[], leads: boolean): SettingsStatus {
    const names = pending.map((p) => p.name).sort();
    const lower = (p: Pending) =>
      FLOORED.some((name) => name === p.name) && this.numberOf(p.name, this.usable(wanted)) < Number(p.setting);
    const restart = names.length === 0 ? 'none' : leads && pending.some(lower) ? 'in-place' : 'needed';
    // Floored ones wait for the leader first: nothing to restart for yet, and not in force either.
    const waiting = [...new Set([...names, ...this.floored(wanted)])].sort();
    return { restart, pending: waiting, refused: this.isRefused(wanted) ? (this.refused?.message ?? null) : null };
  }

  private isRefused(wanted: PostgresSettings): boolean {
    return this.refused?.wanted === JSON.stringify(wanted);
  }

  private former(): PostgresSettings {
    return this.proven ?? {};
  }

  private usable(wanted: PostgresSettings): PostgresSettings {
    return this.isRefused(wanted) ? this.former() : wanted;
  }

  /** Which settings are new, and PostgreSQL's message: `shared_buffers = 64GB: could not map …`. */
  private blame(wanted: PostgresSettings, message: string): string {
    const former = this.former();
    const changed = Object.keys({ ...former, ...wanted }).filter((name) => former[name] !== wanted[name]);
    const parts = changed.map((name) => (wanted[name] === undefined ? `no ${name}` : `${name} = ${wanted[name]}`));
    return `${parts.join(', ')}: ${message}`;
  }
}
