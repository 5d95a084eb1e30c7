/**
 * `postgresSettings`: names and values as in PostgreSQL's own configuration file. Settings that the failover owns are
 * refused here, with the reason. PostgreSQL itself refuses invalid values in settings-check.ts, before anything is
 * changed.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { IDENTIFIER_BYTES_MAX } from '../failover/contract/limits';
import { SERVER_CONNECTIONS_MAX } from './haproxy-config';

const VALUE_LENGTH_MAX = 1_000;
/** The two ports' connections through HAProxy, and those that PostgreSQL keeps free for monitor and keeper (S24). */
const CONNECTIONS_MIN = 2 * SERVER_CONNECTIONS_MAX + 15;

/** Settings that the failover sets itself, as patterns, with their purposes. */
const OWNED: readonly (readonly [RegExp, string])[] = [
  [/^(data_directory|.*_file|include.*|external_pid_file|krb_server_keyfile)$/, 'the failover decides where files are'],
  [
    /^(primary_.*|synchronous_.*|wal_recycle|wal_init_zero|restore_command|archive_cleanup_command)$/,
    'the failover sets it on each node',
  ],
  [/^(recovery_.*|promote_.*|standby_mode|hot_standby.*)$/, 'the failover decides how a node recovers'],
  [/^(unix_socket_.*|failover\..*)$/, 'the keeper of each node needs it'],
  [/^default_transaction_read_only$/, 'the failover proves a new leader by a write'],
  [/^track_activities$/, 'the failover reads in pg_stat_activity what each process waits for'],
  [/^application_name$/, 'a leader knows its standbys by this name'],
  [/^dynamic_library_path$/, 'each standby has to find the library that receives the write-ahead log'],
  [/^(pre|post)_auth_delay$/, 'each connection of the failover would wait for so long'],
  [/^data_sync_retry$/, 'after a failed flush the node has to stop, so that another one takes over'],
  [
    /^(zero_damaged_pages|ignore_(checksum_failure|invalid_pages|system_indexes))$/,
    'damaged data has to be noticed, and must not be passed over',
  ],
];
/** Settings that are compared with the values of the running servers (S23). */
const WHOLE_NUMBERS = [
  'max_connections',
  'max_worker_processes',
  'max_prepared_transactions',
  'max_locks_per_transaction',
];

/**
 * Names below this heading of the template come after the stack's own settings, so setting them would have no effect.
 */
const OWNED_HEADING = '# What the failover depends on.';

let fixed: ReadonlySet<string> | null = null;

/** Names that the template fixes after the stack's own settings. */
function fixedNames(): ReadonlySet<string> {
  if (fixed !== null) return fixed;
  const text = readFileSync(join(__dirname, '../templates/postgresql.conf'), 'utf8');
  const part = text.slice(text.indexOf(OWNED_HEADING));
  fixed = new Set([...part.matchAll(/^([a-z_]+)\s*=/gm)].map((match) => match[1] ?? ''));
  return fixed;
}

/** Why a name cannot be set; null when it can. */
function whyOwned(name: string): string | null {
  if (fixedNames().has(name)) return 'the failover depends on its value';
  return OWNED.find(([pattern]) => pattern.test(name))?.[1] ?? null;
}

export const POSTGRES_SETTINGS_ALLOWED = 'an object of PostgreSQL settings, for example {"work_mem": "8MB"}';

/** Reads the object's JSON: the settings by name, sorted. Each problem names the setting, its value and what is allowed. */
export const PostgresSettings = z.string().transform((raw, context): Readonly<Record<string, string>> => {
  const refuse = (message: string) => context.addIssue({ code: 'custom', message });
  const entries = entriesOf(raw);
  if (entries === null)
    refuse(`postgresSettings: ${JSON.stringify(raw)} is refused; must be ${POSTGRES_SETTINGS_ALLOWED}`);
  const settings: [string, string][] = [];
  for (const [name, value] of entries ?? []) {
    const text = textOf(value);
    const problem = problemOf(name, text);
    if (problem !== null) refuse(`postgresSettings.${name}: ${JSON.stringify(value)} is refused; ${problem}`);
    else if (text !== null) settings.push([name, text]);
  }
  return Object.fromEntries(settings.sort(([a], [b]) => (a < b ? -1 : 1)));
});

function entriesOf(raw: string): [string, unknown][] | null {
  try {
    const value: unknown = JSON.parse(raw);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : null;
  } catch {
    return null;
  }
}

/** Pulumi keeps `8` as a number and `on` as text; PostgreSQL takes text. */
function textOf(value: unknown): string | null {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value === 'number') return String(value);
  return typeof value === 'string' ? value : null;
}

function problemOf(name: string, value: string | null): string | null {
  if (!/^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$/.test(name) || name.length > IDENTIFIER_BYTES_MAX) {
    return 'the name must be that of a PostgreSQL setting, in lower case, for example work_mem';
  }
  const owned = whyOwned(name);
  if (owned !== null) return `it cannot be set, because ${owned}`;
  // Control characters would end a line of the file, or are not allowed in it.
  if (value === null || value.length > VALUE_LENGTH_MAX || /\p{Cc}/u.test(value)) {
    return `must be a text, a number or a boolean of at most ${VALUE_LENGTH_MAX} characters without control characters`;
  }
  if (WHOLE_NUMBERS.includes(name) && !/^\d{1,9}$/.test(value)) return 'must be a whole number';
  if (name === 'max_connections' && Number(value) < CONNECTIONS_MIN) {
    return `must be at least ${CONNECTIONS_MIN}: HAProxy opens up to ${2 * SERVER_CONNECTIONS_MAX} connections to one node, and 15 are kept for the failover`;
  }
  return null;
}
