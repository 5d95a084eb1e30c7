/** `wait-serving [seconds]`: returns when the cluster serves, and prints meanwhile what it waits for. */
import type { ClusterStatus, NodeStatus } from '../failover/contract/api';
import { messageOf } from '../failover/contract/errors';
import { oneLine } from '../failover/contract/log-line';
import { type Common, clientOf } from './commands';
import { EXIT, type ExitCode, Failed } from './exit';
import type { Io } from './io';
import { logIn } from './login';

const DEFAULT_LIMIT_S = 180;
const POLL_MS = 200;

type Seen = Omit<ClusterStatus, 'events'>;

/**
 * What is still missing before the cluster serves. Null when the leader is open, every declared node has carried out
 * its order, PostgreSQL's settings are in force on all of them, and no undeclared node is counted, so that it may be
 * removed.
 */
export function missing(status: Seen): string | null {
  const late = status.nodes.filter((n) => !n.connected || !n.done);
  const unsettled = status.nodes.filter((n) => !late.includes(n) && !hasSettings(n));
  const undeclared = status.sync.members.filter((member) => status.nodes.every((n) => n.name !== member));
  const settled = !status.sync.changing && [...late, ...unsettled, ...undeclared].length === 0;
  if (status.serving && status.leaving === null && settled) return null;
  const orders = late.map((n) => `${n.name} is ${n.connected ? (n.failure ?? `${n.state} (${n.order})`) : 'off'}`);
  const settings = unsettled.map(({ name, settings: s }) => {
    const pending = s?.pending.join(', ') ?? '';
    return `${name} ${pending === '' ? 'reads its settings' : `still has to restart for ${pending}`}`;
  });
  return [status.sentence, ...orders, ...settings, ...undeclared.map((name) => `${name} is still counted`)].join('; ');
}

function hasSettings({ settings }: NodeStatus): boolean {
  return settings?.restart === 'none' && settings.pending.length === 0;
}

/**
 * A problem that waiting does not solve: a node that does not start with PostgreSQL's settings. Null when there is
 * none.
 */
export function refused(status: Seen): string | null {
  const node = status.nodes.find((n) => (n.settings?.refused ?? null) !== null);
  return node === undefined ? null : `${node.name} does not start with ${node.settings?.refused ?? ''}`;
}

/**
 * Waits until the status is complete and the database's owner can log in through HAProxy, as every client does.
 * @param seconds the limit as the person gave it.
 * @param login tries the login; tests pass their own function.
 */
export async function waitServing(
  io: Io,
  seconds: string | undefined,
  options: Common,
  login: typeof logIn = logIn,
): Promise<ExitCode> {
  const limitS = seconds === undefined ? DEFAULT_LIMIT_S : Number(seconds);
  if (!Number.isFinite(limitS) || limitS <= 0)
    throw new Failed(EXIT.usage, `The limit must be a positive number of seconds, not "${seconds}".`);
  const target = io.target(options.stack);
  const deadline = performance.now() + limitS * 1_000;
  const look = async (): Promise<string | null> => {
    const status = await clientOf(target).cluster();
    const hopeless = refused(status);
    if (hopeless !== null)
      throw new Failed(
        EXIT.failed,
        `${hopeless}; it runs with the former settings, and no other node is touched. Change postgresSettings and run up again`,
      );
    const reason = missing(status);
    if (reason !== null) return reason;
    const result = await login(target);
    return result.kind === 'in'
      ? null
      : `${target.info.value('databaseUser', 'app')} cannot log in: ${oneLine(result.message)}`;
  };
  for (let before = ''; ; ) {
    const reason = await look().catch((error: unknown) => {
      if (error instanceof Failed && error.code !== EXIT.unreachable) throw error;
      return messageOf(error);
    });
    if (reason === null) {
      io.out('the cluster serves');
      return EXIT.ok;
    }
    if (reason !== before) io.out(`waiting: ${reason}`);
    before = reason;
    if (performance.now() >= deadline)
      throw new Failed(EXIT.failed, `the cluster does not serve after ${limitS} s: ${reason}`);
    await io.sleep(POLL_MS);
  }
}
