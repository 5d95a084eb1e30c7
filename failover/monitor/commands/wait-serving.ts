/** The command `wait-serving [seconds]`: returns when the cluster serves, and prints meanwhile what it waits for. */
import pg from 'pg';
import type { ClusterStatus, NodeStatus } from '../../contract/api';
import { inBackground, messageOf } from '../../contract/errors';
import type { MonitorConfig } from '../../contract/inputs';
import { PORTS } from '../../contract/layout';
import { askMonitor } from './ask';

const DEFAULT_LIMIT_S = 180;
const POLL_MS = 200;
const ANSWER_LIMIT_MS = 2_000;
const LOGIN_LIMIT_MS = 5_000;

type Words = Omit<ClusterStatus, 'events'>;

/**
 * What is still missing before the cluster serves. Null when the leader is open, every declared node has carried out
 * its order, PostgreSQL's settings are in force on all of them, and no undeclared node is counted, so that it may be
 * removed.
 */
export function missing(status: Words): string | null {
  const late = status.nodes.filter((n) => !n.connected || !n.done);
  const unsettled = status.nodes.filter((n) => !late.includes(n) && !hasSettings(n));
  const undeclared = status.sync.members.filter((member) => status.nodes.every((n) => n.name !== member));
  const settled = !status.sync.changing && [...late, ...unsettled, ...undeclared].length === 0;
  if (status.serving && status.leaving === null && settled) return null;
  const words = late.map((n) => `${n.name} is ${n.connected ? (n.failure ?? `${n.state} (${n.order})`) : 'off'}`);
  const settings = unsettled.map(({ name, settings: s }) => {
    const pending = s?.pending.join(', ') ?? '';
    return `${name} ${pending === '' ? 'reads its settings' : `has yet to restart for ${pending}`}`;
  });
  return [status.sentence, ...words, ...settings, ...undeclared.map((name) => `${name} still counts`)].join('; ');
}

function hasSettings({ settings }: NodeStatus): boolean {
  return settings?.restart === 'none' && settings.pending.length === 0;
}

/**
 * A problem that waiting does not solve: a node that does not start with PostgreSQL's settings. Null when there is
 * none.
 */
export function refused(status: Words): string | null {
  const node = status.nodes.find((n) => (n.settings?.refused ?? null) !== null);
  return node === undefined ? null : `${node.name} does not start with ${node.settings?.refused ?? ''}`;
}

/** Returns the exit code: 0 when the cluster serves, 1 at the time limit, 2 for a wrong argument. */
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
    const { hopeless, ...seen } = await look();
    if (hopeless !== null) {
      print(
        `${hopeless}; it runs with the former settings, and no other node is touched. Change postgresSettings and run up again`,
      );
      return 1;
    }
    const reason = seen.reason ?? (await loginProblem(config));
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

async function look(): Promise<{ reason: string | null; hopeless: string | null }> {
  try {
    const answer = await askMonitor('cluster', ANSWER_LIMIT_MS);
    if (!answer.ok) return { reason: 'the monitor is starting', hopeless: null };
    const status = (await answer.json()) as ClusterStatus;
    return { reason: missing(status), hopeless: refused(status) };
  } catch {
    return { reason: 'the monitor does not answer yet', hopeless: null };
  }
}

/** Why the database's owner cannot log in with its password through HAProxy, as every client does; null when it can. */
async function loginProblem({ settings, databasePassword }: MonitorConfig): Promise<string | null> {
  const client = new pg.Client({
    host: settings.haproxyAddress,
    port: PORTS.haproxyWrite,
    user: settings.databaseUser,
    password: databasePassword,
    database: settings.databaseName,
    connectionTimeoutMillis: LOGIN_LIMIT_MS,
    query_timeout: LOGIN_LIMIT_MS,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('SELECT');
    return null;
  } catch (error) {
    return `${settings.databaseUser} cannot log in: ${messageOf(error)}`;
  } finally {
    inBackground(() => client.end());
  }
}
