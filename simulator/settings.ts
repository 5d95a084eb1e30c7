/**
 * The settings of a simulated PostgreSQL: the output of the shipped renderers, parsed, and PostgreSQL's own defaults
 * for the rest. A line that is removed from `templates/postgresql.conf` is missing in the simulated world, too.
 */

import type { ServerConfig } from '../failover/keeper/ports';
import { renderFailoverConf, renderPostgresqlConf } from '../failover/keeper/postgres/config-files';

/** Defaults of PostgreSQL 17 (manual, chapter 19). */
const DEFAULTS: Readonly<Record<string, string>> = {
  cluster_name: '',
  hot_standby: 'on',
  hot_standby_feedback: 'off',
  max_connections: '100',
  max_locks_per_transaction: '64',
  max_standby_streaming_delay: '30s',
  primary_conninfo: '',
  primary_slot_name: '',
  reserved_connections: '0',
  restart_after_crash: 'on',
  restore_command: '',
  superuser_reserved_connections: '3',
  synchronized_standby_slots: '',
  synchronous_standby_names: '',
  wal_receiver_status_interval: '10s',
  wal_retrieve_retry_interval: '5s',
  wal_sender_timeout: '60s',
};

/** Settings that only a restart changes (`context` postmaster), among those that a stack may set. */
const AT_START = [
  'max_connections',
  'max_locks_per_transaction',
  'max_prepared_transactions',
  'max_worker_processes',
  'shared_buffers',
] as const;
/** More memory than the simulated machine has. */
export const TOO_MUCH_MEMORY = '64GB';

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, min: 60_000, h: 3_600_000 };

export class Settings {
  constructor(private readonly values: ReadonlyMap<string, string>) {}

  text(name: string): string {
    const value = this.values.get(name) ?? DEFAULTS[name];
    if (value === undefined) throw new Error(`the model knows no default of ${name}`);
    return value;
  }

  number(name: string): number {
    return Number(this.text(name));
  }

  flag(name: string): boolean {
    return this.text(name) === 'on';
  }

  /** A duration, ms; -1 means no limit. */
  ms(name: string): number {
    const text = this.text(name);
    const match = /^(-?\d+)(ms|s|min|h)?$/.exec(text);
    if (match === null) throw new Error(`${name} = ${text} is no duration`);
    if (match[1] === '-1') return Number.POSITIVE_INFINITY;
    return Number(match[1]) * (UNIT_MS[match[2] ?? 'ms'] ?? 1);
  }

  /** Settings that wait for a restart of a server that started with these settings, with their current values. */
  pending(now: Settings): { name: string; setting: string }[] {
    return AT_START.filter((name) => this.text(name) !== now.text(name)).map((name) => ({
      name,
      setting: this.text(name),
    }));
  }

  /** Address of the server to stream from; null: none. */
  get upstreamAddress(): string | null {
    return /host='([^']*)'/.exec(this.text('primary_conninfo'))?.[1] ?? null;
  }
}

/** Parses postgresql.conf: removes quotes and comments; the last line of a name counts. */
function readConf(text: string, into: Map<string, string>): void {
  for (const line of text.split('\n')) {
    const match = /^\s*([a-z_.]+)\s*=\s*(?:'((?:[^']|'')*)'|([^\s#]*))/i.exec(line);
    if (match?.[1] === undefined) continue;
    into.set(match[1].toLowerCase(), match[2]?.replaceAll("''", "'").replaceAll('\\\\', '\\') ?? match[3] ?? '');
  }
}

/**
 * Cache of the keeper's main file, by node and the stack's settings, because the same file is needed again and again.
 */
const mainFiles = new Map<string, ReadonlyMap<string, string>>();

/** The settings of a node after the keeper wrote this configuration. */
export function settingsOf(node: string, config: ServerConfig, blind = false): Settings {
  const key = `${node} ${JSON.stringify(config.settings.postgresSettings)}`;
  let main = mainFiles.get(key);
  if (main === undefined) {
    const values = new Map<string, string>();
    readConf(renderPostgresqlConf(node, config.settings, null), values);
    mainFiles.set(key, values);
    main = values;
  }
  const logical = config.settings.postgresSettings.wal_level === 'logical';
  const values = new Map(main);
  readConf(renderFailoverConf({ node, port: 5432, passfile: '/pgpass' }, config, 0, { blind, logical }), values);
  return new Settings(values);
}
