/** `wait-serving [seconds]`: returns when the cluster serves, and prints meanwhile what it waits for. */
import type { ClusterStatus, LogEvent, NodeStatus } from '../failover/contract/api';
import { messageOf } from '../failover/contract/errors';
import { oneLine } from '../failover/contract/log-line';
import { LEFT_STOPPED } from '../failover/contract/naming';
import { type Common, clientOf } from './commands';
import type { LoginFact } from './doctor/facts';
import { EXIT, type ExitCode, Failed } from './exit';
import type { Io } from './io';
import { logIn } from './login';
import { BAD_PASSWORD, PASSWORD_BY_SQL_NEXT } from './password-texts';
import type { Target } from './target';

const DEFAULT_LIMIT_S = 180;
const POLL_MS = 200;
/** Code of the events that tell how far a node's copy, or its replay before it streams, is. */
const PROGRESS = 'COPY_PROGRESS';
/** Code of the events that tell why the opening check of a new leader is not passed. */
const CHECK_WAITS = 'CHECK_WAITS';

/**
 * How long PostgreSQL may refuse the same login, while nothing else is missing, before it is taken for its last word,
 * ms. A new password is in force some hundred milliseconds after the nodes have their settings.
 */
const REFUSALS_MS = 10_000;
/**
 * Classes of SQLSTATE of a refusal that does not end by itself (manual, appendix A): a password or a rule (28), a wrong
 * value (22), an unknown database (3D), a missing right or name (42), a database that takes no connections (55).
 */
const LASTING = /^(22|28|3D|42|55)/;

const BY_SQL = `it was changed by SQL, or is no longer valid. ${PASSWORD_BY_SQL_NEXT}`;

type Seen = Omit<ClusterStatus, 'events'>;

/**
 * What is still missing before the cluster serves. Null when the leader is open, every declared node has carried out
 * its order, PostgreSQL's settings are in force on all of them, and no undeclared node is counted, so that it may be
 * removed.
 * @param left nodes that a person stopped, and that stay stopped.
 */
export function missing(status: Seen, left: readonly string[] = []): string | null {
  const awaited = status.nodes.filter((n) => n.connected || !left.includes(n.name));
  const late = awaited.filter((n) => !n.connected || !n.done);
  const unsettled = awaited.filter((n) => !late.includes(n) && !hasSettings(n));
  const undeclared = status.sync.members.filter((member) => status.nodes.every((n) => n.name !== member));
  const settled = !status.sync.changing && [...late, ...unsettled, ...undeclared].length === 0;
  if (status.serving && status.leaving === null && settled) return null;
  const orders = late.map(stateOf);
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
 * Waits until the status is complete and the database's owner can log in through HAProxy, as every client does. As long
 * as a node's copy goes on, the limit begins anew.
 * @param seconds the limit as the person gave it.
 * @param login tries the login; tests pass their own function.
 * @param refusalsMs how long the same refusal is waited for that does not end by itself.
 * @throws Failed at the limit, and earlier where waiting does not help.
 */
export async function waitServing(
  io: Io,
  seconds: string | undefined,
  options: Common,
  login: typeof logIn = logIn,
  refusalsMs = REFUSALS_MS,
): Promise<ExitCode> {
  const limitS = limitOf(seconds);
  const target = io.target(options.stack);
  const left = (process.env[LEFT_STOPPED] ?? '').split(',').filter((name) => name !== '');
  const refusals = new Refusals(refusalsMs);
  const look = async (status: ClusterStatus): Promise<string | null> => {
    const hopeless = refused(status);
    if (hopeless !== null)
      throw new Failed(
        EXIT.failed,
        `${hopeless}; it runs with the former settings, and no other node is touched. Change postgresSettings and run up again`,
      );
    const reason = missing(status, left);
    if (reason !== null) {
      refusals.forget();
      return withCheck(reason, status);
    }
    const result = await login(target);
    if (result.kind === 'in') return null;
    const words = refusalOf(target, result);
    if (refusals.isLast(result)) throw new Failed(EXIT.failed, `${words} Waiting does not help.`);
    return words;
  };
  await waitUntil(io, target, limitS, 'the cluster does not serve', look);
  io.out('the cluster serves');
  return EXIT.ok;
}

type NotIn = Exclude<LoginFact, { kind: 'in' }>;

function refusalOf(target: Target, result: NotIn): string {
  const user = target.info.value('databaseUser', 'app');
  const words = `${user} cannot log in: ${oneLine(result.message)}`;
  if (result.kind === 'failed' && BAD_PASSWORD.includes(result.code)) return `${words}: ${BY_SQL}`;
  return `${words}.`;
}

/** Tells a refusal that lasts from one that comes once, for example while a new password is put in force. */
class Refusals {
  private code = '';
  private sinceMs = 0;

  constructor(private readonly limitMs: number) {}

  forget(): void {
    this.code = '';
  }

  /** True when this refusal does not end by itself, and was the same for the whole limit. */
  isLast(result: NotIn): boolean {
    const code = result.kind === 'failed' ? result.code : '';
    if (code !== this.code) this.sinceMs = performance.now();
    this.code = code;
    return LASTING.test(code) && performance.now() - this.sinceMs >= this.limitMs;
  }
}

/** Adds why the new leader is not opened, in PostgreSQL's own words: the newest line of its opening check. */
function withCheck(reason: string, { serving, events }: ClusterStatus): string {
  const check = serving ? undefined : events.findLast(({ code }) => code === CHECK_WAITS);
  return check === undefined ? reason : `${reason}; the opening check of ${check.subject}: ${check.message}`;
}

/**
 * Waits until one node has carried out its order, for the step of `up` between one node and the next. As long as its
 * copy goes on, the limit begins anew.
 * @param seconds the limit as it was given.
 */
export async function waitForNode(
  io: Io,
  name: string,
  seconds: string | undefined,
  options: Common,
): Promise<ExitCode> {
  const look = async (status: ClusterStatus): Promise<string | null> => {
    const node = status.nodes.find((one) => one.name === name);
    if (node === undefined) return `${name} is not among the nodes of the monitor`;
    return node.connected && node.done ? null : stateOf(node);
  };
  const limitS = limitOf(seconds);
  await waitUntil(io, io.target(options.stack), limitS, `${name} has not carried out its order`, look);
  io.out(`${name} has carried out its order`);
  return EXIT.ok;
}

function limitOf(seconds: string | undefined): number {
  const limitS = seconds === undefined ? DEFAULT_LIMIT_S : Number(seconds);
  if (Number.isFinite(limitS) && limitS > 0) return limitS;
  throw new Failed(EXIT.usage, `The limit must be a positive number of seconds, not "${seconds}".`);
}

function stateOf({ name, connected, failure, state, order }: NodeStatus): string {
  return `${name} is ${connected ? (failure ?? `${state} (${order})`) : 'off'}`;
}

/**
 * Looks until there is no reason to wait, and prints each new reason.
 * @param problem what is wrong at the limit.
 * @param look returns the reason to wait; null: there is none.
 */
async function waitUntil(
  io: Io,
  target: Target,
  limitS: number,
  problem: string,
  look: (status: ClusterStatus) => Promise<string | null>,
): Promise<void> {
  let deadline = performance.now() + limitS * 1_000;
  let copyId: number | undefined;
  let before = '';
  for (;;) {
    const { reason, copy } = await clientOf(target)
      .cluster()
      .then(async (status) => ({ reason: await look(status), copy: copyUnderWay(status) }))
      .catch((error: unknown) => {
        if (error instanceof Failed && error.code !== EXIT.unreachable) throw error;
        return { reason: messageOf(error), copy: undefined };
      });
    if (reason === null) return;
    if (copy !== undefined && copy.id !== copyId) deadline = performance.now() + limitS * 1_000;
    copyId = copy?.id;
    const line = copy === undefined ? reason : `${reason}; ${copy.subject}: ${copy.message}`;
    if (line !== before) io.out(`waiting: ${line}`);
    before = line;
    if (performance.now() >= deadline) throw new Failed(EXIT.failed, `${problem} after ${limitS} s: ${reason}`);
    await io.sleep(POLL_MS);
  }
}

/** The newest event about a copy, while a node still carries out its order: how far the copy is. */
function copyUnderWay({ nodes, events }: ClusterStatus): LogEvent | undefined {
  const isUnderWay = nodes.some(({ connected, done }) => connected && !done);
  return isUnderWay ? events.findLast(({ code }) => code === PROGRESS) : undefined;
}
