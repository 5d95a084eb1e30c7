/**
 * The stack's config: every key, its allowed values, and the check of all of them before anything is created.
 * `Pulumi.yaml` has the same keys, types and defaults (a test compares them); only this file has the ranges and
 * patterns.
 */
import { isIPv4 } from 'node:net';
import * as pulumi from '@pulumi/pulumi';
import { IDENTIFIER_BYTES_MAX, REPLICAS_MAX } from '../failover/contract/limits';
import { BYTES, DURATIONS_MS, inPrivateSubnet, nearest, parseQuantity } from './config-values';
import { API_SLOTS } from './haproxy-config';
import { POSTGRES_SETTINGS_ALLOWED, type PostgresSettings, readPostgresSettings } from './postgres-settings';

/**
 * One key: its type and default as in `Pulumi.yaml`, its allowed values in words, and its parser, which returns
 * undefined for a refused value.
 */
export interface Key<T> {
  readonly type: 'integer' | 'string' | 'boolean' | 'object';
  readonly default: number | string | boolean | Readonly<Record<string, never>>;
  /** Completes the sentence "must be …". */
  readonly allowed: string;
  readonly parse: (raw: string) => T | undefined;
  /** The value never appears in a message. */
  readonly hidden?: boolean;
  /** Explains what is wrong in a refused value, when one sentence is not enough. */
  readonly explain?: (raw: string) => readonly string[];
}

const PORT_MAX = 65535;
const RESERVED_ROLES = ['postgres', 'public', 'none'];
const RESERVED_DATABASES = ['postgres', 'template0', 'template1'];

export const KEYS = {
  replicas: integer(1, 0, REPLICAS_MAX),
  writePort: integer(5434, 1, PORT_MAX),
  readPort: integer(5435, 1, PORT_MAX),
  statsPort: integer(5000, 1, PORT_MAX),
  backendPort: integer(8000, 1, PORT_MAX),
  monitorPort: integer(8008, 1, PORT_MAX),
  prometheusPort: integer(9090, 1, PORT_MAX),
  bindAddress: text('127.0.0.1', 'an IPv4 address of this machine, for example 127.0.0.1 or 0.0.0.0', isIPv4),
  subnet: text(
    '10.201.43.0/24',
    'a private IPv4 network of size /16 to /24, written with its network address, for example 10.201.43.0/24',
    inPrivateSubnet,
  ),
  namePrefix: text(
    '',
    'empty, or at most 30 of a-z, 0-9, "-" and "_", beginning with a letter or a digit',
    (raw) => raw === '' || /^[a-z0-9][a-z0-9_-]{0,29}$/.test(raw),
  ),
  databaseName: text(
    'app',
    `1 to ${IDENTIFIER_BYTES_MAX} bytes without control characters, and none of ${RESERVED_DATABASES.join(', ')}`,
    (raw) => isIdentifier(raw) && !RESERVED_DATABASES.includes(raw),
  ),
  databaseUser: text(
    'app',
    `1 to ${IDENTIFIER_BYTES_MAX} bytes without control characters, not beginning with pg_ or failover_, ` +
      `and none of ${RESERVED_ROLES.join(', ')}`,
    (raw) => isIdentifier(raw) && !/^(pg|failover)_/.test(raw) && !RESERVED_ROLES.includes(raw),
  ),
  databasePassword: {
    ...text('', 'without line breaks and NUL, or empty to have one generated', (raw) => !hasLineBreakOrNul(raw)),
    hidden: true,
  },
  baseImage: text(
    'debian:trixie-slim',
    'a Docker image reference such as debian:trixie-slim',
    (raw) => /^[a-zA-Z0-9][\w.:/@-]*$/.test(raw) && raw.length <= 255,
  ),
  backend: bool(true),
  backendReplicas: integer(1, 1, API_SLOTS),
  monitoring: bool(false),
  pgadmin: bool(false),
  pgadminPort: integer(5050, 1, PORT_MAX),
  hangTimeout: duration('2s', 500, 60_000, 'a duration from 500ms to 60s, for example 2s'),
  syncMode: oneOf('synchronous', ['synchronous', 'asynchronous']),
  onNoReplica: oneOf('continue', ['continue', 'block']),
  maxLag: {
    type: 'string',
    default: '16MB',
    allowed: 'a size from 0B to 1TB, for example 16MB (units B, kB, MB, GB, TB)',
    parse: (raw) => parseQuantity(raw, BYTES, 0, 1024 ** 4),
  },
  readFallback: bool(true),
  holdTimeout: duration('30s', 1_000, 600_000, 'a duration from 1s to 10m, for example 30s'),
  startGrace: duration('10s', 0, 600_000, 'a duration from 0s to 10m, for example 10s'),
  switchback: bool(true),
  switchbackAfter: duration('30s', 1_000, 3_600_000, 'a duration from 1s to 60m, for example 30s'),
  rebuildInPlace: bool(false),
  failoverMode: oneOf('automatic', ['automatic', 'observe']),
  logFormat: oneOf('text', ['text', 'json']),
  logSize: {
    type: 'string',
    default: '10MB',
    allowed: 'a size from 100kB to 1GB, for example 10MB (units B, kB, MB, GB)',
    parse: (raw) => parseQuantity(raw, BYTES, 100 * 1024, 1024 ** 3),
  },
  notifyWebhook: {
    ...text('', 'empty, or an http:// or https:// address', (raw) => raw === '' || isHttpUrl(raw)),
    hidden: true,
  },
  postgresSettings: {
    type: 'object',
    default: {},
    allowed: POSTGRES_SETTINGS_ALLOWED,
    parse: parsedPostgresSettings,
    explain: postgresSettingsProblems,
  },
} as const satisfies Record<string, Key<unknown>>;

type KeyName = keyof typeof KEYS;
const KEY_NAMES = Object.keys(KEYS) as KeyName[];
const isKeyName = (name: string): name is KeyName => Object.hasOwn(KEYS, name);

/** The checked config. Durations are ms, sizes are bytes. With an empty `databasePassword`, a password is generated. */
export type Settings = {
  readonly [K in KeyName]: Exclude<ReturnType<(typeof KEYS)[K]['parse']>, undefined>;
};

/** Either the settings, or every problem found, each naming key, value and what is allowed. */
export type CheckedConfig =
  | { readonly settings: Settings; readonly problems: readonly [] }
  | { readonly settings: undefined; readonly problems: readonly string[] };

/**
 * Checks a whole config and reports all problems together.
 *
 * @param raw values as Pulumi passes them to a program, keys without the project's namespace; absent keys get the
 * default.
 */
export function checkConfig(raw: Readonly<Record<string, string>>): CheckedConfig {
  const problems = Object.keys(raw)
    .filter((name) => !isKeyName(name))
    .map(unknownKey);
  const parsed: Partial<Record<KeyName, unknown>> = {};
  for (const name of KEY_NAMES) {
    const key: Key<unknown> = KEYS[name];
    const value = raw[name] ?? (typeof key.default === 'object' ? JSON.stringify(key.default) : String(key.default));
    parsed[name] = key.parse(value);
    if (parsed[name] !== undefined) continue;
    if (key.explain) problems.push(...key.explain(value));
    else {
      problems.push(`${name}: ${key.hidden ? '(hidden)' : JSON.stringify(value)} is refused; must be ${key.allowed}`);
    }
  }
  problems.push(...sharedPorts(parsed));
  if (problems.length > 0) return { settings: undefined, problems };
  return { settings: Object.freeze(parsed) as Settings, problems: [] };
}

/**
 * Reads and checks the running program's config.
 *
 * @throws pulumi.RunError with all problems, before anything was created.
 */
export function readSettings(): Settings {
  const namespace = `${pulumi.getProject()}:`;
  const own = Object.entries(pulumi.runtime.allConfig()).filter(([key]) => key.startsWith(namespace));
  const { settings, problems } = checkConfig(
    Object.fromEntries(own.map(([key, value]) => [key.slice(namespace.length), value])),
  );
  if (!settings) throw new pulumi.RunError(problemList(`The config of stack ${pulumi.getStack()}`, problems));
  return settings;
}

/** Combines several problems in one message for people. */
export function problemList(subject: string, problems: readonly string[]): string {
  const count = problems.length === 1 ? 'one problem' : `${problems.length} problems`;
  return [`${subject} has ${count}; nothing was created or changed:`, ...problems.map((p) => `  - ${p}`)].join('\n');
}

function unknownKey(name: string): string {
  return `${name}: unknown key; did you mean ${nearest(name, KEY_NAMES)}? Allowed: ${KEY_NAMES.join(', ')}`;
}

/** Two services cannot share a host port. Those of backend, Prometheus and pgAdmin count only when they run. */
function sharedPorts(parsed: Partial<Record<KeyName, unknown>>): string[] {
  const runs: Partial<Record<KeyName, boolean>> = {
    backendPort: parsed.backend !== false,
    prometheusPort: parsed.monitoring === true,
    pgadminPort: parsed.pgadmin === true,
  };
  const portKeys = KEY_NAMES.filter((name) => name.endsWith('Port')).filter((name) => runs[name] !== false);
  const byPort = new Map<unknown, KeyName[]>();
  for (const name of portKeys) {
    const port = parsed[name];
    if (port !== undefined) byPort.set(port, [...(byPort.get(port) ?? []), name]);
  }
  return [...byPort]
    .filter(([, names]) => names.length > 1)
    .map(([port, names]) => `${names.join(', ')}: ${String(port)} is refused; each must be a port of its own`);
}

function parsedPostgresSettings(raw: string): PostgresSettings | undefined {
  const read = readPostgresSettings(raw);
  return 'settings' in read ? read.settings : undefined;
}

function postgresSettingsProblems(raw: string): readonly string[] {
  const read = readPostgresSettings(raw);
  return 'problems' in read ? read.problems : [];
}

function integer(fallback: number, min: number, max: number): Key<number> {
  return {
    type: 'integer',
    default: fallback,
    allowed: `a whole number from ${min} to ${max}`,
    parse: (raw) => {
      const value = /^-?\d{1,9}$/.test(raw) ? Number(raw) : Number.NaN;
      return value >= min && value <= max ? value : undefined;
    },
  };
}

function bool(fallback: boolean): Key<boolean> {
  return {
    type: 'boolean',
    default: fallback,
    allowed: 'true or false',
    parse: (raw) => (raw === 'true' ? true : raw === 'false' ? false : undefined),
  };
}

function text(fallback: string, allowed: string, accepts: (raw: string) => boolean): Key<string> {
  return { type: 'string', default: fallback, allowed, parse: (raw) => (accepts(raw) ? raw : undefined) };
}

function oneOf<const T extends string>(fallback: T, values: readonly T[]): Key<T> {
  return {
    type: 'string',
    default: fallback,
    allowed: values.join(' or '),
    parse: (raw) => values.find((value) => value === raw),
  };
}

function duration(fallback: string, minMs: number, maxMs: number, allowed: string): Key<number> {
  return {
    type: 'string',
    default: fallback,
    allowed,
    parse: (raw) => parseQuantity(raw, DURATIONS_MS, minMs, maxMs),
  };
}

function isHttpUrl(raw: string): boolean {
  return URL.canParse(raw) && ['http:', 'https:'].includes(new URL(raw).protocol);
}

function isIdentifier(raw: string): boolean {
  const bytes = Buffer.byteLength(raw);
  return bytes > 0 && bytes <= IDENTIFIER_BYTES_MAX && !/\p{Cc}/u.test(raw);
}

function hasLineBreakOrNul(raw: string): boolean {
  return raw.includes('\n') || raw.includes('\r') || raw.includes('\0');
}
