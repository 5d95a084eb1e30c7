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
  const { settings, monitor, haproxy, pooler, backends } = topology;
  const verifiers: Readonly<Record<string, string>> = settings.poolRoles;
  return {
    monitor: { host: monitor.address, port: PORTS.poolers },
    key,
    haproxy: { host: haproxy.address, port: PORTS.haproxyWrite },
    database: settings.databaseName,
    holdTimeoutMs: settings.holdTimeoutMs,
    poolSize: settings.poolSize,
    pools: (pooler?.roles ?? []).map(({ role, port }, i) => {
      return { role, port, verifier: i === 0 ? databaseVerifier : (verifiers[role] ?? '') };
    }),
    ...(backends.length > 0 && { backends: { alias: backendsAlias(topology), connectQuery: backendsQuery() } }),
  };
}

/** What the backends run on each new connection, in one line without comments. */
function backendsQuery(): string {
  const sql = readFileSync(join(__dirname, '..', 'backend', 'app', 'database', 'begin_session.sql'), 'utf8');
  const lines = sql.split('\n').map((line) => line.replace(/\s*--.*$/, '').trim());
  return lines.filter((line) => line !== '').join(' ');
}
