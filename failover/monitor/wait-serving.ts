/** `wait-serving [seconds]`: returns when the cluster serves, telling meanwhile what it waits for. */
import pg from 'pg';
import { type MonitorConfig, PORTS } from '../config';
import type { ClusterStatus } from './status-view';

const DEFAULT_LIMIT_S = 180;
const POLL_MS = 200;
const ANSWER_LIMIT_MS = 2_000;
const LOGIN_LIMIT_MS = 5_000;

/**
 * What is still missing, or null when the leader is open, every declared node has carried out its order, and no other
 * node counts: what is not declared may be removed then.
 */
export function missing(status: ClusterStatus): string | null {
  const late = status.nodes.filter((n) => !n.connected || !n.done);
  const undeclared = status.sync.members.filter((member) => status.nodes.every((n) => n.name !== member));
  const settled = !status.sync.changing && undeclared.length === 0;
  if (status.serving && status.leaving === null && late.length === 0 && settled) return null;
  const words = late.map((n) => `${n.name} is ${n.connected ? (n.failure ?? `${n.state} (${n.order})`) : 'off'}`);
  return [status.sentence, ...words, ...undeclared.map((name) => `${name} still counts`)].join('; ');
}

/** Exit code of the command: 0 when it serves, 1 at the limit, 2 for a wrong argument. */
export async function waitServing(
  config: MonitorConfig,
  argument: string | undefined,
  print: (line: string) => void,
): Promise<number> {
  const limitS = argument === undefined ? DEFAULT_LIMIT_S : Number(argument);
  if (!Number.isFinite(limitS) || limitS <= 0) {
    print(`wait-serving: the limit must be a positive number of seconds, not "${argument ?? ''}"`);
    return 2;
  }
  const deadline = performance.now() + limitS * 1_000;
  let told = '';
  for (;;) {
    const reason = (await look()) ?? (await loginProblem(config));
    if (reason === null) {
      print('the cluster serves');
      return 0;
    }
    if (reason !== told) print(`waiting: ${reason}`);
    told = reason;
    if (performance.now() >= deadline) {
      print(`the cluster does not serve after ${limitS} s: ${reason}`);
      return 1;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function look(): Promise<string | null> {
  try {
    const answer = await fetch(`http://127.0.0.1:${PORTS.monitorHttp}/api/v1/cluster`, {
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    });
    if (!answer.ok) return 'the monitor is starting';
    return missing((await answer.json()) as ClusterStatus);
  } catch {
    return 'the monitor does not answer yet';
  }
}

/** Why the database's owner does not get in with its password, through HAProxy as everybody else; null when it does. */
async function loginProblem(config: MonitorConfig): Promise<string | null> {
  const client = new pg.Client({
    host: config.haproxyAddress,
    port: PORTS.haproxyWrite,
    user: config.databaseUser,
    password: config.databasePassword,
    database: config.databaseName,
    connectionTimeoutMillis: LOGIN_LIMIT_MS,
    query_timeout: LOGIN_LIMIT_MS,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('SELECT');
    return null;
  } catch (error) {
    return `${config.databaseUser} cannot log in: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    client.end().catch(() => undefined);
  }
}
