/** The pooler's file, which its supervisor checks when it reads it. Pure except that it reads the backends' SQL. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PORTS } from '../failover/contract/layout';
import type { PoolerConfig } from '../failover/contract/pooler';
import type { Topology } from './topology';

/** Secrets that the pooler needs. */
export interface PoolerSecrets {
  /** See `derivedPassword` in failover/contract/proof.ts. */
  readonly key: string;
  /** Verifier of the stack's own role, the same that the monitor sends to the nodes. */
  readonly databaseVerifier: string;
}

/**
 * The database name by which the backends ask for a pool of their own. Its connections have the backends' session
 * settings, which other clients must not get.
 */
export function backendsAlias({ settings }: Topology): string {
  return settings.databaseName === 'backends' ? 'backends-pool' : 'backends';
}

export function poolerConfig(topology: Topology, { key, databaseVerifier }: PoolerSecrets): PoolerConfig {
  const { settings, monitor, haproxy, pooler, backends, tls } = topology;
  const verifiers: Readonly<Record<string, string>> = settings.poolRoles;
  return {
    monitor: { host: monitor.address, port: PORTS.poolers },
    key,
    haproxy: { host: haproxy.address, port: PORTS.haproxyPooled },
    database: settings.databaseName,
    tls: tls.mode,
    holdTimeoutMs: settings.holdTimeoutMs,
    poolSize: settings.poolSize,
    pools: (pooler?.roles ?? []).map(({ role, port }, i) => {
      return { role, port, verifier: i === 0 ? databaseVerifier : (verifiers[role] ?? '') };
    }),
    ...(backends.length > 0 && { backends: { alias: backendsAlias(topology), connectQuery: backendsQuery() } }),
  };
}

/** PgBouncer keeps these for each client by itself. */
const OF_THE_CLIENT = ['client_encoding', 'datestyle'];

/**
 * The backends' session settings for a new connection of their pool, made from the statement by which a backend sets
 * them. PgBouncer sends at most CONNECT_QUERY_MAX bytes, so it is as short as it can be.
 */
export function backendsQuery(): string {
  const sql = readFileSync(join(__dirname, '..', 'backend', 'app', 'database', 'begin_session.sql'), 'utf8');
  const pairs = [...sql.matchAll(/^ {2}\('(\w+)', '([^']*)'\)/gm)].map(([, name = '', value = '']) => ({
    name,
    value,
  }));
  const plain = pairs.filter(({ name }) => name !== 'synchronous_commit' && !OF_THE_CLIENT.includes(name));
  const sets = ['SET statement_timeout=0', ...plain.map(({ name, value }) => `SET ${name}='${value}'`)];
  const raised = `SELECT set_config(n,'on',false)FROM(SELECT 'synchronous_commit')t(n)WHERE current_setting(n)IN('off','local')`;
  return [...sets, raised].join(';');
}
