/** A running stack as the benches see it: its published ports, the monitor's view, one query. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { ClusterStatus } from '../../failover/contract/api';
import { readStack } from '../../scripts/lib/stack';

const HEALTHY_LIMIT_MS = 120_000;
const VIEW_LIMIT_MS = 5_000;
const QUERY_LIMIT_MS = 60_000;
export const POLL_MS = 100;

export interface Stack {
  host: string;
  writePort: number;
  user: string;
  database: string;
  /** Base URL of the monitor. */
  monitor: string;
  /** Base URL of the register/login API. */
  api: string;
  /** What the names of the stack's containers begin with. */
  prefix: string;
}

/** @throws Error when no password is known: PGPASSWORD, or a plain value in the stack's file. */
export function stackOf(name: string): Stack {
  const info = readStack(name);
  const password = process.env.PGPASSWORD ?? info.value('databasePassword', '');
  if (password === '') {
    throw new Error(`set PGPASSWORD to the password (npm run pulumi -- stack output --show-secrets --stack ${name})`);
  }
  process.env.PGPASSWORD = password;
  const host = info.value('bindAddress', '127.0.0.1');
  return {
    host,
    writePort: Number(info.value('writePort', '5434')),
    user: info.value('databaseUser', 'app'),
    database: info.value('databaseName', 'app'),
    monitor: `http://${host}:${info.value('monitorPort', '8008')}`,
    api: `http://${host}:${info.value('backendPort', '8000')}`,
    prefix: info.value('namePrefix', ''),
  };
}

export async function view(stack: Stack): Promise<ClusterStatus> {
  const response = await fetch(`${stack.monitor}/api/v1/cluster`, { signal: AbortSignal.timeout(VIEW_LIMIT_MS) });
  return ClusterStatus.parse(await response.json());
}

/** Waits until every node carries out its order and all standbys are counted. */
export async function healthy(stack: Stack): Promise<ClusterStatus> {
  const endMs = performance.now() + HEALTHY_LIMIT_MS;
  while (performance.now() < endMs) {
    const now = await view(stack).catch(() => null);
    const standbys = now?.nodes.filter((n) => n.name !== now.leader) ?? [];
    const counted = standbys.every((n) => n.done && now?.sync.members.includes(n.name));
    if (now?.serving && now.code === 'STEADY' && standbys.length > 0 && counted) return now;
    await sleep(POLL_MS);
  }
  throw new Error(`the cluster was not healthy within ${HEALTHY_LIMIT_MS / 1000} s; see ${stack.monitor}`);
}

/** One query on a connection of its own, through the write port. */
export async function rowsOf<T extends object>(stack: Stack, sql: string, values: unknown[] = []): Promise<T[]> {
  const { host, writePort: port, user, database } = stack;
  const client = new Client({ host, port, user, database, query_timeout: QUERY_LIMIT_MS });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<T>(sql, values)).rows;
  } finally {
    await client.end();
  }
}

/** ms since the epoch, finer than `Date.now()`, comparable between processes. */
export function epochMs(): number {
  return performance.timeOrigin + performance.now();
}
