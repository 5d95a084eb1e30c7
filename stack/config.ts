/** Checks the whole config before anything is created; keys.ts says what each key may be. */
import * as pulumi from '@pulumi/pulumi';
import type { z } from 'zod';
import { budgetFor } from '../failover/contract/budget';
import { PORTS } from '../failover/contract/layout';
import { PooledDatabase } from '../failover/contract/pooler';
import { nearest } from './config-values';
import { asText, KEY_NAMES, KEYS, type Key, type KeyName } from './keys';
import { CONSOLE_NAME } from './pool-roles';

const isKeyName = (name: string): name is KeyName => Object.hasOwn(KEYS, name);

/**
 * The checked config. The names of durations (ms) and sizes (bytes) end with their unit. Without a `databasePassword` one
 * is generated.
 */
export type Settings = {
  readonly [K in KeyName as `${K}${(typeof KEYS)[K]['unit']}`]: z.output<(typeof KEYS)[K]['schema']>;
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
  const settings: Record<string, unknown> = {};
  for (const name of KEY_NAMES) {
    const key: Key<unknown> = KEYS[name];
    const value = raw[name] ?? asText(KEYS[name].default);
    const result = key.schema.safeParse(value);
    if (result.success) settings[`${name}${key.unit}`] = result.data;
    else problems.push(...result.error.issues.map((issue) => problemOf(name, value, issue)));
  }
  problems.push(...sharedPorts(settings), ...networksOnLoopback(settings), ...tooManyReports(settings));
  problems.push(...halfPair(settings), ...poolProblems(settings), ...placeProblems(settings));
  problems.push(...consumersAhead(settings));
  if (problems.length > 0) return { settings: undefined, problems };
  return { settings: Object.freeze(settings) as Settings, problems: [] };
}

/**
 * The settings of a program of your own, which names only those keys that differ from the default.
 *
 * @throws pulumi.RunError with all problems.
 */
export function settingsOf(values: ConfigValues): Settings {
  const raw = Object.entries(values).map(([name, value]) => [name, asText(value)]);
  return checked('The config', Object.fromEntries(raw));
}

/** Values as in a stack's file: durations and sizes are texts with a unit. */
export type ConfigValues = {
  readonly [K in KeyName]?: (typeof KEYS)[K]['unit'] extends '' ? z.output<(typeof KEYS)[K]['schema']> : string;
};

/**
 * Reads and checks the running program's config.
 *
 * @throws pulumi.RunError with all problems, before anything was created.
 */
export function readSettings(): Settings {
  const namespace = `${pulumi.getProject()}:`;
  const own = Object.entries(pulumi.runtime.allConfig()).filter(([key]) => key.startsWith(namespace));
  const raw = own.map(([key, value]) => [key.slice(namespace.length), value]);
  const settings = checked(`The config of stack ${pulumi.getStack()}`, Object.fromEntries(raw));
  // It is not in the types of the SDK. The empty default of Pulumi.yaml is no secret.
  const { isConfigSecret } = pulumi.runtime as { isConfigSecret?: (key: string) => boolean };
  const isReadable = (key: string) => isConfigSecret?.(`${namespace}${key}`) === false;
  if (settings.backupS3 !== undefined && isReadable('backupS3')) throw new pulumi.RunError(plain('backupS3', 'secret'));
  if (settings.restoreFrom?.source.s3 !== undefined && isReadable('restoreFrom'))
    throw new pulumi.RunError(plain('restoreFrom', 's3.secret'));
  return settings;
}

const plain = (key: string, part: string) =>
  `${key}: its secret is readable in the stack’s config; nothing was created or changed. ` +
  `Set it with: pulumi config set --secret --path ${key}.${part} …`;

function checked(subject: string, raw: Readonly<Record<string, string>>): Settings {
  const { settings, problems } = checkConfig(raw);
  if (!settings) throw new pulumi.RunError(problemList(subject, problems));
  return settings;
}

/** Combines several problems in one message for people. */
export function problemList(subject: string, problems: readonly string[]): string {
  const count = problems.length === 1 ? 'one problem' : `${problems.length} problems`;
  return [`${subject} has ${count}; nothing was created or changed:`, ...problems.map((p) => `  - ${p}`)].join('\n');
}

/** The schema of an object names the part of the value that it refuses. */
function problemOf(name: KeyName, value: string, { message }: z.core.$ZodIssue): string {
  const key: Key<unknown> = KEYS[name];
  if (key.type === 'object') return message;
  return `${name}: ${key.hidden ? '(hidden)' : JSON.stringify(value)} is refused; must be ${key.allowed}`;
}

function unknownKey(name: string): string {
  return `${name}: unknown key; did you mean ${nearest(name, KEY_NAMES)}? Allowed: ${KEY_NAMES.join(', ')}`;
}

/** A role with a port of the pooler: inside the container, and on the host. */
export interface PoolRole {
  readonly role: string;
  readonly port: number;
  readonly hostPort: number;
}

/** The roles that have a port of the pooler: the stack's own one first. */
export function poolRolesOf({ databaseUser, poolRoles, poolPort }: Settings): PoolRole[] {
  return [databaseUser, ...Object.keys(poolRoles)].map((role, i) => {
    return { role, port: PORTS.pooler + i, hostPort: poolPort + i };
  });
}

/** The host ports by key. That of a part that does not run is undefined. */
export function portsOf(settings: Settings) {
  const { writePort, readPort, statsPort, monitorPort, backendPort, prometheusPort, pgadminPort } = settings;
  return {
    ...{ writePort, readPort, statsPort, monitorPort },
    backendPort: settings.backend === false ? undefined : backendPort,
    prometheusPort: settings.monitoring === true ? prometheusPort : undefined,
    replicationPort: settings.replicationPort === 0 ? undefined : settings.replicationPort,
    pgadminPort: settings.pgadmin === true ? pgadminPort : undefined,
    poolPort: settings.pooler === true ? settings.poolPort : undefined,
  };
}

/**
 * Docker passes connections to a loopback address on by a process of its own, so HAProxy sees Docker's address for every
 * client.
 */
function networksOnLoopback({ clientNetworks, bindAddress }: Partial<Settings>): string[] {
  if (clientNetworks === undefined || clientNetworks.length === 0 || !bindAddress?.startsWith('127.')) return [];
  return [
    `clientNetworks: ${JSON.stringify(clientNetworks.join(','))} is refused; with bindAddress ${bindAddress} only this ` +
      'machine has access, and HAProxy does not see where a client comes from; set bindAddress, or leave it empty',
  ];
}

/** A write has to wait for at least one replica that is not kept for reports. Refused values are missing in the settings. */
function tooManyReports({ replicas, reportReplicas }: Partial<Settings>): string[] {
  if (replicas === undefined || reportReplicas === undefined || reportReplicas === 0) return [];
  if (reportReplicas < replicas) return [];
  return [`reportReplicas: ${reportReplicas} is refused; must be less than replicas, which is ${replicas}`];
}

/** In asynchronous mode no standby has to have a change before a consumer of a logical slot gets it. */
function consumersAhead({ postgresSettings, syncMode }: Partial<Settings>): string[] {
  if (postgresSettings?.wal_level !== 'logical' || syncMode !== 'asynchronous') return [];
  return [
    'postgresSettings.wal_level: "logical" is refused with syncMode asynchronous; after a failover, a consumer of a logical slot could have changes that the cluster has lost',
  ];
}

/** A certificate is of no use without its key, nor the other way round. Refused values are missing in the settings. */
function halfPair({ tlsCertificate, tlsKey }: Partial<Settings>): string[] {
  if (tlsCertificate === undefined || tlsKey === undefined || (tlsCertificate === '') === (tlsKey === '')) return [];
  const [given, missing] = tlsKey === '' ? ['tlsCertificate', 'tlsKey'] : ['tlsKey', 'tlsCertificate'];
  return [`${missing}: "" is refused; must name a file too, because ${given} does`];
}

/** Keys that name a place for backups which the other keys leave unused. Refused values are missing in the settings. */
function placeProblems({ backup, backupS3, backupFolder }: Partial<Settings>): string[] {
  const problems: string[] = [];
  if (backup === false && backupS3 !== undefined)
    problems.push('backupS3: (hidden) is refused; there are no backups without backup: true');
  if (backupS3?.only === true && backupFolder !== undefined && backupFolder !== '')
    problems.push(`backupFolder: ${JSON.stringify(backupFolder)} is refused; with backupS3.only nothing is kept there`);
  return problems;
}

/** Two services cannot share a host port. Refused values are missing in the settings. */
function sharedPorts(settings: Partial<Settings>): string[] {
  const byPort = new Map<number, string[]>();
  for (const [name, port] of [
    ...Object.entries<number | undefined>(portsOf(settings as Settings)),
    ...poolPorts(settings),
  ]) {
    if (port !== undefined) byPort.set(port, [...(byPort.get(port) ?? []), name]);
  }
  return [...byPort]
    .filter(([, names]) => names.length > 1)
    .map(([port, names]) => `${names.join(', ')}: ${port} is refused; each must be a port of its own`);
}

/** The pooler's ports after the first one, named by their roles. */
export function poolPorts({ pooler, poolPort, poolRoles }: Partial<Settings>): [string, number][] {
  if (pooler !== true || poolPort === undefined || poolRoles === undefined) return [];
  return Object.keys(poolRoles).map((role, i) => [`poolRoles (${role})`, poolPort + 1 + i]);
}

/** Share of a node's places that all pools together may take. The rest is for clients without the pooler. */
const POOLED_SHARE = 0.8;
const PORT_MAX = 65_535;

/** What the pooler cannot run with. Refused values are missing in the settings. */
function poolProblems({ pooler, poolSize, poolPort, poolRoles, ...other }: Partial<Settings>): string[] {
  if (pooler !== true || poolRoles === undefined) return [];
  const { databaseUser, databaseName, postgresSettings = {} } = other;
  const problems: string[] = [];
  const roles = Object.keys(poolRoles);
  if (databaseUser !== undefined && Object.hasOwn(poolRoles, databaseUser))
    problems.push(`poolRoles: ${JSON.stringify(databaseUser)} is refused; databaseUser has poolPort already`);
  for (const [key, value] of Object.entries({ databaseUser, databaseName }))
    if (value === CONSOLE_NAME)
      problems.push(`${key}: "${CONSOLE_NAME}" is refused while pooler is true; PgBouncer keeps it`);
  if (databaseName !== undefined && !PooledDatabase.safeParse(databaseName).success)
    problems.push(
      `databaseName: ${JSON.stringify(databaseName)} is refused while pooler is true; PgBouncer takes A-Z, a-z, 0-9, "_", "." and "-"`,
    );
  if (poolPort !== undefined && poolPort + roles.length > PORT_MAX)
    problems.push(
      `poolPort: "${poolPort}" is refused; with ${roles.length} poolRoles it must be at most ${PORT_MAX - roles.length}`,
    );
  const pools = 1 + roles.length + (other.backend === true ? 1 : 0);
  const pooled = Math.floor(budgetFor(postgresSettings).clients * POOLED_SHARE);
  const most = Math.floor(pooled / pools);
  if (poolSize !== undefined && poolSize > most)
    problems.push(
      `poolSize: "${poolSize}" is refused; must be at most ${most}, because ${pools} pools (roles, and one for the backends) share ${pooled} connections`,
    );
  return problems;
}
