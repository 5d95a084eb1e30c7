/**
 * Every key of the stack's config: its check, its default, its meaning, and what a change of it does to a running stack.
 * All else is made from this table: the types, the checks, and (`npm run docs`) the block in `Pulumi.yaml` and the
 * two tables in docs/config.md.
 */
import { isIP, isIPv4 } from 'node:net';
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { IDENTIFIER_BYTES_MAX, REPLICAS_MAX } from '../failover/contract/limits';
import { BACKUP_S3_ALLOWED, BackupS3Key } from './backup-s3';
import { BYTES, DURATIONS_MS, inPrivateSubnet, LONG_DURATIONS_MS, parseQuantity, parseSubnet } from './config-values';
import { API_SLOTS } from './haproxy-config';
import { POOL_ROLES_ALLOWED, PoolRoles } from './pool-roles';
import { POSTGRES_SETTINGS_ALLOWED, PostgresSettings } from './postgres-settings';
import { RESTORE_FROM_ALLOWED, RestoreFromKey } from './restore-from';

/** What a change of a key does to a running stack. docs/config.md explains each. */
export type Effect =
  | 'all replaced'
  | 'backends come or go'
  | 'backends replaced'
  | 'backup check comes or goes'
  | 'backup check replaced'
  | 'HAProxy replaced'
  | 'images built'
  | 'monitor replaced'
  | 'nodes come or go'
  | 'nodes replaced'
  | 'pgAdmin comes or goes'
  | 'pgAdmin replaced'
  | 'pooler comes or goes'
  | 'pooler replaced'
  | 'Prometheus comes or goes'
  | 'Prometheus replaced'
  | 'refused'
  | 'reload'
  | 'settings rolled out';

/** What a key means, what a change of it does, and what a person should know before a change. */
type About = readonly [says: string, effects?: readonly Effect[], note?: string];

/** Added to the key's name where the checked value has a unit: milliseconds or bytes. */
type Unit = '' | 'Ms' | 'Bytes';

/** One key: its type and default as in `Pulumi.yaml`, and the schema of the text that Pulumi passes. */
export interface Key<T, U extends Unit = Unit> {
  readonly type: 'integer' | 'string' | 'boolean' | 'object';
  readonly default: number | string | boolean | Readonly<Record<string, never>>;
  /** Completes the sentence "must be …". */
  readonly allowed: string;
  readonly schema: z.ZodType<T>;
  readonly unit: U;
  /** The value never appears in a message. */
  readonly hidden?: boolean;
  /** What the key means. */
  readonly says: string;
  readonly effects: readonly Effect[];
  /** What a person should know before a change. */
  readonly note?: string;
}

const PORT_MAX = 65535;
/** Most words of a list. */
const LIST_MAX = 64;
/**
 * A package as `apt-get install` takes it, with `=version` where one is wanted (Debian policy 5.6.1 and 5.6.12). A `-` at
 * its end would remove the package.
 */
const PACKAGE = /^[a-z0-9][a-z0-9+.-]{0,98}[a-z0-9+](=[A-Za-z0-9][A-Za-z0-9.+~:-]{0,99})?$/;
/** A locale as `locale -a` lists it, for example `vi_VN.UTF-8` or `ca_ES.UTF-8@valencia`. */
const LOCALE = /^[a-z]{2,3}_[A-Z]{2}\.UTF-8(@[a-z]{1,20})?$/;
const RESERVED_ROLES = ['postgres', 'public', 'none'];
const RESERVED_DATABASES = ['postgres', 'template0', 'template1'];

export const KEYS = {
  replicas: integer(1, 0, REPLICAS_MAX, [
    `Number of streaming replicas beside the primary, 0 to ${REPLICAS_MAX}.`,
    ['monitor replaced', 'nodes come or go'],
    'With fewer, the nodes with the highest numbers are removed. A leader among them hands over first.',
  ]),
  tls: oneOf(
    ['auto', 'off', 'on', 'require'],
    [
      'TLS between clients and PostgreSQL: on offers it, require refuses clients without it; auto is on, and require with a bindAddress beyond loopback.',
      ['monitor replaced', 'backends replaced', 'pooler replaced'],
      'Open sessions stay as they are; a new session follows the new value. The backends are replaced only for a change to or from `require`. The clients of a pooler connect again. With a bindAddress beyond loopback `off` also takes HTTPS from page, API and backend.',
    ],
  ),
  tlsNames: list(
    '',
    { test: isTlsName },
    'host names and IP addresses, separated by commas, for example db.example.com',
    [
      'Further host names and addresses under which clients know this stack, separated by commas: the certificate is valid for them.',
      ['monitor replaced'],
      'The nodes get a new certificate by a reload; open sessions stay.',
    ],
  ),
  tlsCertificate: text('', 'empty, or the absolute path of a PEM file on this machine', isFileOrNone, [
    'File with a certificate and its chain of your own, in place of the one that the stack makes; with tlsKey.',
    ['monitor replaced'],
    'A changed file is noticed within ten seconds, and reaches the nodes by a reload ([TLS](tls.md)).',
  ]),
  tlsKey: text('', 'empty, or the absolute path of a PEM file on this machine', isFileOrNone, [
    'File with the private key of tlsCertificate, readable to the user id 10002.',
    ['monitor replaced'],
    'As `tlsCertificate`.',
  ]),
  writePort: port(5434, ['Host port for reading and writing; leads to the current primary.', ['HAProxy replaced']]),
  readPort: port(5435, ['Host port for reading only; leads to replicas within maxLag.', ['HAProxy replaced']]),
  replicationPort: integer(0, 0, PORT_MAX, [
    'Host port for pg_basebackup, pg_receivewal, Barman and subscribers, for roles with REPLICATION; 0 is none: [replication](replication.md).',
    ['HAProxy replaced', 'monitor replaced', 'reload'],
  ]),
  statsPort: port(5000, ["Host port of HAProxy's statistics (/stats) and metrics (/metrics).", ['HAProxy replaced']]),
  backendPort: port(8000, ['Host port of the FastAPI backend; not used while backend is false.', ['HAProxy replaced']]),
  monitorPort: port(8008, ["Host port of the monitor's status page and JSON API."]),
  prometheusPort: port(9090, [
    'Host port of Prometheus; not used while monitoring is false.',
    ['Prometheus replaced'],
    'The collected data stays.',
  ]),
  bindAddress: text('127.0.0.1', 'an IPv4 address of this machine, for example 127.0.0.1 or 0.0.0.0', isIPv4, [
    'Host address on which all ports are published; 0.0.0.0 means every interface.',
    [
      ...(['HAProxy replaced', 'monitor replaced', 'backends replaced', 'Prometheus replaced'] as const),
      ...(['reload', 'pgAdmin replaced', 'pooler replaced'] as const),
    ],
    'From loopback to another address `tls: auto` becomes `require`: clients without TLS are refused. Page, API and backend speak HTTPS there.',
  ]),
  clientNetworks: list(
    '',
    { test: isNetwork },
    'empty for every client, or IPv4 networks separated by commas, for example 192.0.2.0/24,198.51.100.7/32',
    [
      'IPv4 networks whose clients may use writePort, readPort and replicationPort, separated by commas; empty: every client. Needs a bindAddress that is not loopback.',
      ['reload'],
      'A client on this machine that uses localhost comes from the gateway of a Docker network, which has to be listed, too. Sessions that are there stay.',
    ],
  ),
  subnet: text(
    '10.201.43.0/24',
    'a private IPv4 network of size /16 to /24, written with its network address, for example 10.201.43.0/24',
    inPrivateSubnet,
    [
      'Private subnet of the inner Docker network. Every address in it is fixed.',
      [
        'all replaced',
        'monitor replaced',
        'HAProxy replaced',
        'nodes replaced',
        'Prometheus replaced',
        'pooler replaced',
        'backup check replaced',
      ],
      'Every address changes; the data stays.',
    ],
  ),
  namePrefix: text(
    '',
    'empty, or at most 30 of a-z, 0-9, "-" and "_", beginning with a letter or a digit',
    (raw) => raw === '' || /^[a-z0-9][a-z0-9_-]{0,29}$/.test(raw),
    [
      'Prefix of the name of every container, volume and network, so that several stacks fit on one machine.',
      ['refused'],
      'Volumes are never renamed.',
    ],
  ),
  databaseName: text(
    'app',
    `1 to ${IDENTIFIER_BYTES_MAX} bytes without control characters, and none of ${RESERVED_DATABASES.join(', ')}`,
    (raw) => isIdentifier(raw) && !RESERVED_DATABASES.includes(raw),
    [
      'Name of the database that is created.',
      ['refused'],
      'The program renames nothing inside PostgreSQL. Data of release 0.1.0 does not contain the name, so there the change is not refused. The database is made only at bootstrap, so clients then get the error that it does not exist.',
    ],
  ),
  databaseUser: text(
    'app',
    `1 to ${IDENTIFIER_BYTES_MAX} bytes without control characters, not beginning with pg_ or failover_, ` +
      `and none of ${RESERVED_ROLES.join(', ')}`,
    (raw) => isIdentifier(raw) && !/^(pg|failover)_/.test(raw) && !RESERVED_ROLES.includes(raw),
    [
      'Role that owns the database.',
      ['refused'],
      'As `databaseName`. With data of release 0.1.0 clients then get the error that it does not exist.',
    ],
  ),
  databasePassword: hiddenOrNone(
    'without line breaks and NUL, or empty to have one generated',
    (raw) => !/[\n\r\0]/.test(raw),
    [
      'Password of databaseUser. If it is empty, one is generated once and kept as a secret.',
      ['monitor replaced', 'backends replaced', 'pgAdmin replaced', 'pooler replaced'],
      'The running backends get the new password first and then know both. Open sessions stay; a new session needs the new password.',
    ],
  ),
  baseImage: text(
    'debian:trixie-slim',
    'a Docker image reference such as debian:trixie-slim',
    (raw) => /^[a-zA-Z0-9][\w.:/@-]*$/.test(raw) && raw.length <= 255,
    ['Image on which all images are built.', ['images built'], "HAProxy's image is one of them."],
  ),
  extraPackages: list('', PACKAGE, 'Debian packages, separated by commas, for example postgresql-17-pgvector', [
    'Debian packages that every node has beside PostgreSQL, separated by commas: extensions such as postgresql-17-pgvector, postgresql-17-postgis-3 or postgresql-17-cron.',
    ['nodes replaced'],
    'One `up` may add a package and name its library in `postgresSettings` (`shared_preload_libraries`). Take a package away only when no database uses it any more.',
  ]),
  locales: list('en_US.UTF-8,vi_VN.UTF-8', LOCALE, 'locales of the operating system with UTF-8, separated by commas', [
    'Locales of the operating system that a database may name (LOCALE_PROVIDER libc), separated by commas. ICU and builtin ones are always there.',
    ['nodes replaced'],
    'Keep those that a database uses: without its locale nobody gets into it.',
  ]),
  sharedMemory: size('1GB', '64MB', '1TB', [
    'Size of /dev/shm in each node, the most that parallel queries may share at a time. It takes memory only as far as it is used.',
    ['nodes replaced'],
  ]),
  nodeMemory: sizeOrNone('1GB', '4TB', [
    'Memory limit of each node; 0B is none. PostgreSQL takes a quarter of it for shared_buffers (at most 8GB; without a limit 256MB), unless postgresSettings says otherwise.',
    ['nodes replaced'],
  ]),
  backend: bool(true, [
    'Run the FastAPI backend.',
    ['backends come or go', 'reload', 'HAProxy replaced', 'pooler replaced'],
    'HAProxy publishes its port, and a pooler has a pool for them.',
  ]),
  backendReplicas: integer(1, 1, API_SLOTS, [
    `Number of FastAPI backends behind the one port, 1 to ${API_SLOTS}. With 2 or more, one can stop without a pause.`,
    ['backends come or go'],
  ]),
  monitoring: bool(false, [
    'Run a Prometheus that collects the metrics of monitor and HAProxy and evaluates monitoring/alerts.yml.',
    ['Prometheus comes or goes'],
    'The collected data stays in its volume.',
  ]),
  pgadmin: bool(false, ['Run pgAdmin 4 with the cluster registered in it.', ['pgAdmin comes or goes']]),
  pgadminPort: port(5050, ['Host port of pgAdmin; not used while pgadmin is false.', ['pgAdmin replaced']]),
  pooler: bool(false, [
    'Run a connection pooler (PgBouncer, transaction mode) on poolPort: its idle clients do not notice a change of leader.',
    ['pooler comes or goes', 'backends replaced', 'monitor replaced'],
    'The backends connect through it. What it does and what it cannot do: [pooler](pooler.md).',
  ]),
  poolPort: port(6432, [
    'Host port of the pooler for databaseUser; the roles of poolRoles have the ports after it. Not used while pooler is false.',
    ['pooler replaced'],
  ]),
  poolSize: integer(20, 1, 1_000, [
    'Connections to PostgreSQL that the pooler opens at most for each role (and for the backends), 1 to 60.',
    ['pooler replaced'],
  ]),
  poolRoles: {
    type: 'object',
    default: {},
    allowed: POOL_ROLES_ALLOWED,
    schema: PoolRoles,
    unit: '',
    hidden: true,
    ...described([
      'Further roles that have a port of the pooler, each with its verifier as `pg_authid.rolpassword` shows it. Set it with --secret.',
      ['pooler replaced'],
      'The ports follow poolPort in the order of the names. After `ALTER ROLE … PASSWORD` the verifier is another one.',
    ]),
  },
  hangTimeout: duration('2s', '500ms', '60s', ['The monitor replaces a primary that does not answer for this long.']),
  syncMode: oneOf(
    ['synchronous', 'asynchronous'],
    [
      'A write is acknowledged when a replica has it too (synchronous), or when the primary has it (asynchronous; a failover may lose up to maxLag).',
      ['monitor replaced'],
      'After a change from `asynchronous` to `synchronous` a replica is counted once it has everything.',
    ],
  ),
  onNoReplica: oneOf(
    ['continue', 'block'],
    ['When no replica is left, the primary goes on alone (continue) or writes wait (block).'],
  ),
  maxLag: size('16MB', '0B', '1TB', [
    'A replica that is further behind gets no new readers, and with syncMode asynchronous it is not promoted.',
  ]),
  reportReplicas: integer(0, 0, REPLICAS_MAX - 1, [
    'How many of the replicas are kept for reports: new readers get there first, and a query may delay replay there for 30 s. No write waits for such a replica, and it does not take over.',
    ['monitor replaced'],
    'Must be less than replicas, so that a write still waits for another replica. The last replicas have the part; a leader never has it.',
  ]),
  readLagGrace: duration('60s', '0s', '60m', [
    'A replica that is further behind than maxLag gets no new reader, but the sessions that it has stay for at most this long. They end at once when it is promoted, rewound or stopped.',
    ['monitor replaced'],
    'Less than 30s ends reports that PostgreSQL itself would let go on.',
  ]),
  readFallback: bool(true, ['When no replica is left, the read port leads to the primary.']),
  holdTimeout: duration('30s', '1s', '10m', [
    'While there is no primary, HAProxy holds a new connection for at most this long and then closes it.',
    ['reload', 'pooler replaced'],
  ]),
  startGrace: duration('10s', '0s', '10m', [
    'After a start of everything at once, the monitor waits this long for the former primary before a replica takes over.',
  ]),
  switchback: bool(true, [
    'When the first node (postgres-primary) is back as a caught-up replica, it gets the lead back by a planned switchover.',
  ]),
  switchbackAfter: duration('30s', '1s', '60m', [
    'That node must have been ready for this long before the switchback; the time doubles after each failure.',
  ]),
  switchbackLimit: duration('10m', '1s', '60m', [
    'A switchback cuts no transaction: it waits for a moment in which none is older than a second. After this long it is put off, and the time of switchbackAfter doubles.',
  ]),
  rebuildInPlace: bool(false, [
    'When a node has to be copied again and its disk is too small for both the old data and the copy, the old data is removed first. Until the copy is complete, that node has no data.',
  ]),
  backup: bool(true, [
    'The leader archives its write-ahead log for backups, encrypted, in the volume postgres-backup, and makes backups on a schedule: [backups](backups.md).',
    ['monitor replaced', 'backup check comes or goes'],
    'No node restarts. The volume stays.',
  ]),
  backupQueue: size('2GB', '64MB', '1TB', [
    'Write-ahead log that may wait on the disk of the leader while the archive takes nothing. Beyond it, it is let go, and backups have a gap there.',
    ['monitor replaced'],
  ]),
  backupFullEvery: longDuration('7d', '1h', '60d', [
    'Interval of full backups. The first one is made a minute after the stack serves.',
    ['monitor replaced'],
  ]),
  backupEvery: longDuration('1d', '10m', '30d', [
    'Interval of backups. Those between two full ones are incremental: they hold what has changed since the one before.',
    ['monitor replaced'],
  ]),
  backupKeep: integer(2, 1, 100, [
    'How many full backups are kept, with all that a restore to any moment since the oldest one needs.',
    ['monitor replaced'],
    'With fewer, the next backup removes what is too old.',
  ]),
  replicaFrom: oneOf(
    ['leader', 'backup'],
    [
      'Of what a replica is made that has to be copied: of the leader’s data, or of the newest backup, which spares the leader’s disk and network. If no backup can be used, it is the leader.',
      ['monitor replaced'],
      'It acts with the next copy.',
    ],
  ),
  backupFolder: text('', 'empty, or the absolute path of a folder on this machine', isFileOrNone, [
    'Folder of this machine for the backups, in place of the volume postgres-backup; it belongs to the user id 10000.',
    ['nodes replaced', 'backup check replaced'],
    'It must be there, and belong to the user id 10000. What the volume holds is not moved.',
  ]),
  backupCheckEvery: longDurationOrOff('7d', '1h', '60d', [
    'Interval at which the newest backup of each place is restored beside the stack, to test it: [tested restores](backups.md#test-a-restore). `off`: never. A test reads the whole database and needs room for a copy of it.',
    ['monitor replaced', 'backup check comes or goes'],
    'Only a change to or from `off` makes or removes the container of the tests.',
  ]),
  backupS3: {
    type: 'object',
    default: {},
    allowed: BACKUP_S3_ALLOWED,
    schema: BackupS3Key,
    unit: '',
    hidden: true,
    ...described([
      'S3-compatible storage as a second place of the backups, with parts of its own: [S3](backups.md#a-second-place-s3). Set its secret with --secret --path.',
      ['monitor replaced'],
      'No node restarts. The archive begins there at once, and a full backup follows.',
    ]),
  },
  restoreFrom: {
    type: 'object',
    default: {},
    allowed: RESTORE_FROM_ALLOWED,
    schema: RestoreFromKey,
    unit: '',
    hidden: true,
    ...described([
      'Backups of another stack, which the first node of a new stack restores instead of making an empty database: `npm run failover -- restore` sets it. It holds that stack’s passphrase, and its keys of S3.',
      ['nodes replaced'],
      'It acts once, on a first node without data, and never again; it may stay. A change replaces the first node alone, and restores nothing.',
    ]),
  },
  failoverMode: oneOf(
    ['automatic', 'observe'],
    ['With observe, the monitor decides and logs changes of leader, but does not make them.'],
  ),
  logFormat: oneOf(
    ['text', 'json'],
    [
      "Format of failover.log and of the monitor's console, text or json (one object a line).",
      ['monitor replaced'],
      'Existing lines stay as they are.',
    ],
  ),
  logSize: size('10MB', '100kB', '1GB', [
    'failover.log is rotated when it is larger than this; five old files are kept.',
  ]),
  notifyWebhook: hiddenOrNone('empty, or an http:// or https:// address', isHttpUrl, [
    'Address to which the monitor posts each change of leader as JSON. Set it with --secret if it contains a token.',
  ]),
  postgresSettings: {
    type: 'object',
    default: {},
    allowed: POSTGRES_SETTINGS_ALLOWED,
    schema: PostgresSettings,
    unit: '',
    ...described([
      'Settings of PostgreSQL itself, by name, for example work_mem. PostgreSQL checks them first. Then they are reloaded, or the nodes restart one by one.',
      ['monitor replaced', 'settings rolled out'],
      'PostgreSQL checks them first, in a container of its own. If it refuses one, `up` ends before anything is changed. Refused with the reason are also the settings that the failover owns, and values that it cannot live with: [settings of PostgreSQL](postgres-settings.md). In two cases the leader restarts in place and new connections wait: there is only one node, or a setting is lowered of which standbys must not have less than the leader (for example `max_connections`).',
    ]),
  },
} as const satisfies Record<string, Key<unknown>>;

export type KeyName = keyof typeof KEYS;
export const KEY_NAMES = Object.keys(KEYS) as KeyName[];

/** A value as Pulumi passes it to a program. */
export function asText(value: unknown): string {
  if (Array.isArray(value)) return value.join(',');
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function described([says, effects = ['monitor replaced'], note]: About) {
  return { says, effects, note };
}

function integer(fallback: number, min: number, max: number, about: About): Key<number, ''> {
  const number = z.number().min(min).max(max);
  return {
    type: 'integer',
    default: fallback,
    allowed: `a whole number from ${min} to ${max}`,
    schema: z
      .string()
      .regex(/^-?\d{1,9}$/)
      .transform(Number)
      .pipe(number),
    unit: '',
    ...described(about),
  };
}

function port(fallback: number, about: About): Key<number, ''> {
  return integer(fallback, 1, PORT_MAX, about);
}

function bool(fallback: boolean, about: About): Key<boolean, ''> {
  const schema = z.enum(['true', 'false']).transform((raw) => raw === 'true');
  return { type: 'boolean', default: fallback, allowed: 'true or false', schema, unit: '', ...described(about) };
}

function text(fallback: string, allowed: string, accepts: (raw: string) => boolean, about: About): Key<string, ''> {
  return {
    type: 'string',
    default: fallback,
    allowed,
    schema: z.string().refine(accepts),
    unit: '',
    ...described(about),
  };
}

/** A text that may be a secret. The value of an empty one is undefined. */
function hiddenOrNone(allowed: string, accepts: (raw: string) => boolean, about: About): Key<string | undefined, ''> {
  const schema = z
    .string()
    .transform((raw) => (raw === '' ? undefined : raw))
    .refine((raw) => raw === undefined || accepts(raw));
  return { type: 'string', default: '', allowed, schema, unit: '', hidden: true, ...described(about) };
}

/** The first word is the default. */
function oneOf<const T extends string>(words: readonly [T, ...T[]], about: About): Key<T, ''> {
  const schema = z.enum(words);
  return { type: 'string', default: words[0], allowed: words.join(' or '), schema, unit: '', ...described(about) };
}

/** A pattern that a word may fit. */
type Pattern = { test(word: string): boolean };

/** Words that each fit a pattern, separated by commas or blanks, in the order of the alphabet, each once. */
function list(fallback: string, pattern: Pattern, allowed: string, about: About): Key<readonly string[], ''> {
  const schema = z
    .string()
    .transform((raw) => [...new Set(raw.split(/[\s,]+/).filter((word) => word !== ''))].sort())
    .refine((words) => words.length <= LIST_MAX && words.every((word) => pattern.test(word)));
  return { type: 'string', default: fallback, allowed, schema, unit: '', ...described(about) };
}

/** The value is in milliseconds. */
function duration(fallback: string, min: string, max: string, about: About): Key<number, 'Ms'> {
  const allowed = `a duration from ${min} to ${max}, for example ${fallback}`;
  const schema = quantity(DURATIONS_MS, min, max);
  return { type: 'string', default: fallback, allowed, schema, unit: 'Ms', ...described(about) };
}

/** The same with the units h and d. */
function longDuration(fallback: string, min: string, max: string, about: About): Key<number, 'Ms'> {
  const allowed = `a duration from ${min} to ${max}, for example ${fallback} (units m, h, d)`;
  const schema = quantity(LONG_DURATIONS_MS, min, max);
  return { type: 'string', default: fallback, allowed, schema, unit: 'Ms', ...described(about) };
}

/** The same with the word `off`, whose value is undefined. */
function longDurationOrOff(fallback: string, min: string, max: string, about: About): Key<number | undefined, 'Ms'> {
  const allowed = `off, or a duration from ${min} to ${max}, for example ${fallback} (units m, h, d)`;
  const off = z.literal('off').transform((): number | undefined => undefined);
  const schema = off.or(quantity(LONG_DURATIONS_MS, min, max));
  return { type: 'string', default: fallback, allowed, schema, unit: 'Ms', ...described(about) };
}

/** The value is in bytes. */
function size(fallback: string, min: string, max: string, about: About): Key<number, 'Bytes'> {
  const allowed = `a size from ${min} to ${max}, for example ${fallback} (units ${Object.keys(BYTES).join(', ')})`;
  const schema = quantity(BYTES, min, max);
  return { type: 'string', default: fallback, allowed, schema, unit: 'Bytes', ...described(about) };
}

/** The value is in bytes; 0 is none. */
function sizeOrNone(min: string, max: string, about: About): Key<number, 'Bytes'> {
  const allowed = `0B for none, or a size from ${min} to ${max} (units ${Object.keys(BYTES).join(', ')})`;
  const schema = z
    .literal('0B')
    .transform(() => 0)
    .or(quantity(BYTES, min, max));
  return { type: 'string', default: '0B', allowed, schema, unit: 'Bytes', ...described(about) };
}

function quantity(units: Readonly<Record<string, number>>, min: string, max: string): z.ZodType<number> {
  const [from = 0, to = 0] = [min, max].map((bound) => parseQuantity(bound, units, 0, Number.MAX_SAFE_INTEGER));
  return z.string().transform((raw, context) => {
    const value = parseQuantity(raw, units, from, to);
    if (value === undefined) context.addIssue({ code: 'custom' });
    return value ?? z.NEVER;
  });
}

function isNetwork(raw: string): boolean {
  return parseSubnet(raw) !== undefined;
}

/** An address, or a host name as a certificate may have it (RFC 6125): not only numbers, perhaps with `*` as its first part. */
function isTlsName(raw: string): boolean {
  if (isIP(raw) !== 0) return true;
  const part = '[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?';
  return raw.length <= 253 && /[a-zA-Z]/.test(raw) && new RegExp(`^(\\*\\.)?${part}(\\.${part})*$`).test(raw);
}

function isFileOrNone(raw: string): boolean {
  return raw === '' || (isAbsolute(raw) && !/[\0\n]|\/$/.test(raw) && !raw.split('/').includes('..'));
}

function isHttpUrl(raw: string): boolean {
  return URL.canParse(raw) && ['http:', 'https:'].includes(new URL(raw).protocol);
}

function isIdentifier(raw: string): boolean {
  const bytes = Buffer.byteLength(raw);
  return bytes > 0 && bytes <= IDENTIFIER_BYTES_MAX && !/\p{Cc}/u.test(raw);
}
