/**
 * Decides which of the stack's settings a server gets, and whether it has them. Pure bookkeeping, the same for the real
 * PostgreSQL and the simulated one.
 *
 * - A standby runs with at least the values that its control file has from the leader (S23), whatever the stack asks
 *   for, because it would not start with less. The lower value is written once the leader has it.
 * - A leader that shut down cleanly may take a lower value: see `blind` of {@link Tunables.begin}.
 * - A server that does not start with the new settings starts with those that it ran with before. The refused settings
 *   are remembered until they change.
 */
import type { SettingsStatus } from '../contract/messages';
import type { ServerConfig } from './ports';

export type PostgresSettings = Readonly<Record<string, string>>;

/**
 * Settings that must not be lower on a standby than on the leader whose WAL it replays (manual, "Administrator's
 * Overview" of hot standby).
 */
export const FLOORED = [
  'max_connections',
  'max_worker_processes',
  'max_wal_senders',
  'max_prepared_transactions',
  'max_locks_per_transaction',
] as const;
/** Values of these settings in the control file: those of the leader whose WAL was replayed last. */
export type Floors = Readonly<Record<(typeof FLOORED)[number], number>>;

/**
 * Exit code of a postmaster that ends because of its own error. One that was killed or shut down has another exit code
 * or none.
 */
const FAILED = 1;

/** How a server ended without having been told to. */
export interface End {
  /** The postmaster's exit code; null: a signal ended it. */
  code: number | null;
  /**
   * Recovery had begun: the control file was written since the start, so PostgreSQL had accepted its settings by then.
   * If the WAL that it replays asks for a higher value, the next start finds that value in the control file (S23).
   */
  recovered: boolean;
  /** PostgreSQL's last message, for people; null: none. */
  message: string | null;
}

/** A setting that waits for a restart, with its current value. */
export interface Pending {
  name: string;
  setting: string;
  /** PostgreSQL does not start with less: the number of prepared transactions; null or absent: not limited. */
  least?: number | null;
}

/** The same configuration with other stack settings. */
export function withSettings(config: ServerConfig, postgresSettings: PostgresSettings): ServerConfig {
  return { ...config, settings: { ...config.settings, postgresSettings: { ...postgresSettings } } };
}

export class Tunables {
  /** Settings with which the server answered last. */
  private proven: PostgresSettings = {};
  private refused: { wanted: string; message: string } | null = null;
  private floors: Floors | null = null;
  private begun: { wanted: PostgresSettings; used: PostgresSettings; answered: boolean; blind: boolean } | null = null;
  /** A blind start failed, so this data may need what the leader had, for example for its prepared transactions. */
  private mustKeep = false;

  constructor(
    /** Value that a name has under the given stack settings; the template's value when the stack does not set it. */
    private readonly numberOf: (name: string, settings: PostgresSettings) => number,
  ) {}

  /**
   * Call it before a start. `floors`: the control file's values. `leads`: the server was told to lead, and its data was
   * shut down cleanly as a leader's. Returns the settings with which the server starts. `blind`: the control file still
   * has a higher value, so the server cannot be a hot standby. It accepts no sessions until it is promoted
   * (`hot_standby = off`). The promotion then writes the lower value into its WAL.
   */
  begin(wanted: PostgresSettings, floors: Floors, leads: boolean): { settings: PostgresSettings; blind: boolean } {
    const blind = leads && !this.mustKeep && this.lower(wanted, floors).length > 0;
    this.floors = blind ? null : floors;
    this.begun = { wanted, used: this.usable(wanted), answered: false, blind };
    return { settings: this.inFile(wanted), blind };
  }

  /** The settings that the configuration file must have now. */
  inFile(wanted: PostgresSettings): PostgresSettings {
    return { ...this.usable(wanted), ...Object.fromEntries(this.lower(wanted)) };
  }

  /** True when a standby runs with a higher value than the stack asks for, because its leader has that value. */
  isFloored(wanted: PostgresSettings): boolean {
    return this.lower(wanted).length > 0;
  }

  /** Names of the settings that are lower than the floors, and the floors. */
  private lower(wanted: PostgresSettings, floors = this.floors): [name: string, floor: string][] {
    const usable = this.usable(wanted);
    const all = floors === null ? [] : FLOORED.map((name) => [name, floors[name]] as const);
    return all
      .filter(([name, floor]) => this.numberOf(name, usable) < floor)
      .map(([name, floor]) => [name, `${floor}`]);
  }

  /** The control file of the running standby was read again. */
  floorsAre(floors: Floors): void {
    if (this.floors !== null) this.floors = floors;
  }

  /** The server leads, so no other node's values bind it. */
  promoted(): void {
    this.floors = null;
  }

  /** The server answers. */
  answered(): void {
    if (this.begun === null || this.begun.answered) return;
    this.begun.answered = true;
    this.proven = this.begun.used;
  }

  /** PostgreSQL itself refused these settings before a start. */
  refuses(wanted: PostgresSettings, message: string): void {
    this.refused = { wanted: JSON.stringify(wanted), message: this.blame(wanted, message) };
  }

  /** The server ended by itself. A start with the former settings shows whether the new ones are the cause. */
  failed(end: End): void {
    const { begun } = this;
    this.begun = null;
    this.mustKeep = begun?.blind === true && !begun.answered;
    if (begun === null || begun.answered || end.code !== FAILED || end.recovered) return;
    // The former settings fail, too, so the settings are not the cause.
    if (JSON.stringify(begun.used) !== JSON.stringify(begun.wanted)) this.refused = null;
    else if (JSON.stringify(this.proven) !== JSON.stringify(begun.wanted)) {
      this.refuses(begun.wanted, end.message ?? 'PostgreSQL does not start with it');
    }
  }

  /**
   * The status of the running server's settings. `pending`: the settings that wait for a restart, according to
   * PostgreSQL.
   */
  status(wanted: PostgresSettings, pending: readonly Pending[], leads: boolean): SettingsStatus {
    const names = pending.map((p) => p.name).sort();
    const lower = (p: Pending) =>
      FLOORED.some((name) => name === p.name) && this.numberOf(p.name, this.usable(wanted)) < Number(p.setting);
    const restart = names.length === 0 ? 'none' : leads && pending.some(lower) ? 'in-place' : 'needed';
    // A setting that is held at the leader's value waits for the leader first. A restart would not help yet, but the
    // setting is not in force either.
    const waiting = [...new Set([...names, ...this.lower(wanted).map(([name]) => name)])].sort();
    const short = pending.find((p) => leads && this.numberOf(p.name, this.usable(wanted)) < (p.least ?? 0));
    const why = `below ${short?.least}: transactions are prepared (pg_prepared_xacts): commit them or roll them back`;
    if (short !== undefined) return { restart: 'none', pending: waiting, refused: `${short.name} ${why}` };
    return { restart, pending: waiting, refused: this.isRefused(wanted) ? (this.refused?.message ?? null) : null };
  }

  private isRefused(wanted: PostgresSettings): boolean {
    return this.refused?.wanted === JSON.stringify(wanted);
  }

  private usable(wanted: PostgresSettings): PostgresSettings {
    return this.isRefused(wanted) ? this.proven : wanted;
  }

  /** Names the changed settings and PostgreSQL's message: `shared_buffers = 64GB: could not map …`. */
  private blame(wanted: PostgresSettings, message: string): string {
    const changed = Object.keys({ ...this.proven, ...wanted }).filter((name) => this.proven[name] !== wanted[name]);
    const parts = changed.map((name) => (wanted[name] === undefined ? `no ${name}` : `${name} = ${wanted[name]}`));
    return `${parts.join(', ')}: ${message}`;
  }
}
