/** The commands that ask the monitor: their output and exit codes. */

import type { Answer, ClusterStatus, Command } from '../failover/contract/api';
import { messageOf } from '../failover/contract/errors';
import { DURATIONS_MS, nearest, parseQuantity } from '../stack/config-values';
import { Client, EVENTS_MAX } from './client';
import { EXIT, type ExitCode, Failed } from './exit';
import type { Io } from './io';
import { eventLine, notices, statusLines } from './render';
import type { Target } from './target';

const WATCH_MS = 1_000;
const FOLLOW_MS = 500;
const PAUSE_MS_MIN = 1_000;
const PAUSE_MS_MAX = 30 * 24 * 3_600_000;
/** The units of the stack's config, and longer ones for people. */
const UNITS_MS = { ...DURATIONS_MS, h: 3_600_000, d: 24 * 3_600_000 };

export interface Common {
  /** Absent where there is only one: in the monitor's image. */
  stack?: string;
}
export interface Changing extends Common {
  yes?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

export function clientOf(target: Target): Client {
  return new Client({ url: target.monitorUrl, token: target.token, trust: target.trust });
}

/** Reports a pause or observe mode on stderr, so that it is not forgotten. */
export function tellNotices(io: Io, cluster: Pick<ClusterStatus, 'pause' | 'failoverMode'>): void {
  for (const line of notices(cluster)) io.err(io.paint('yellow', line));
}

/**
 * Like {@link tellNotices}, for a command that works without the monitor. It does not fail when the monitor does not
 * answer.
 */
export async function tellNoticesIfHeard(io: Io, target: Target): Promise<ClusterStatus | null> {
  try {
    const cluster = await clientOf(target).cluster();
    tellNotices(io, cluster);
    return cluster;
  } catch {
    return null;
  }
}

export async function status(io: Io, options: Common & { json?: boolean; watch?: boolean }): Promise<ExitCode> {
  const client = clientOf(io.target(options.stack));
  const show = (cluster: ClusterStatus) => {
    if (options.watch) io.clear?.();
    tellNotices(io, cluster);
    if (options.json) io.out(JSON.stringify(cluster, null, options.watch ? 0 : 2));
    else for (const line of statusLines(cluster, io.paint)) io.out(line);
    return cluster.serving ? EXIT.ok : EXIT.failed;
  };
  if (!options.watch) return show(await client.cluster());
  while (!io.stopped.aborted) {
    await client.cluster().then(show, (error: unknown) => {
      // The watch continues while the monitor is away, because people look just then.
      io.clear?.();
      io.err(io.paint('red', `${new Date().toISOString()} ${messageOf(error)}`));
    });
    await io.sleep(WATCH_MS);
  }
  return EXIT.ok;
}

export async function events(
  io: Io,
  options: Common & { json?: boolean; follow?: boolean; limit: number },
): Promise<ExitCode> {
  const target = io.target(options.stack);
  const client = clientOf(target);
  await tellNoticesIfHeard(io, target);
  // The newest events are wanted, but the API counts from the oldest.
  const known = await allEvents(client);
  const all = options.limit === 0 ? [] : known.slice(-options.limit);
  if (options.json && !options.follow) io.out(JSON.stringify({ events: all }, null, 2));
  else for (const event of all) io.out(options.json ? JSON.stringify(event) : eventLine(event));
  let last = known.at(-1)?.id ?? 0;
  while (options.follow && !io.stopped.aborted) {
    await io.sleep(FOLLOW_MS);
    last = await follow(io, client, last, options.json === true);
  }
  return EXIT.ok;
}

type Events = Awaited<ReturnType<Client['events']>>;

async function allEvents(client: Client): Promise<Events> {
  const found: Events = [];
  for (;;) {
    const more = await client.events(found.at(-1)?.id ?? 0, EVENTS_MAX);
    found.push(...more);
    if (more.length < EVENTS_MAX) return found;
  }
}

/**
 * Prints new events. Returns the id after which to continue. A restarted monitor counts its ids from the beginning
 * again.
 */
async function follow(io: Io, client: Client, last: number, json: boolean): Promise<number> {
  try {
    const more = await client.events(last, EVENTS_MAX);
    for (const event of more) io.out(json ? JSON.stringify(event) : eventLine(event));
    if (more.length > 0) return more.at(-1)?.id ?? last;
    const newest = (await client.cluster()).events.at(-1)?.id ?? 0;
    return newest < last ? 0 : last;
  } catch (error) {
    if (error instanceof Failed && error.code === EXIT.unreachable) return last;
    throw error;
  }
}

export function switchover(io: Io, options: Changing & { to?: string }): Promise<ExitCode> {
  const { to } = options;
  return change(io, options, 'switchover', (target) => (to === undefined ? {} : { to: fullName(target, to) }));
}

export function pause(io: Io, options: Changing & { reason: string; for?: string }): Promise<ExitCode> {
  const forMs = options.for === undefined ? undefined : durationOf(options.for);
  return change(io, options, 'pause', () => ({ reason: options.reason, ...(forMs === undefined ? {} : { forMs }) }));
}

function durationOf(text: string): number {
  const ms = parseQuantity(text, UNITS_MS, PAUSE_MS_MIN, PAUSE_MS_MAX);
  if (ms !== undefined) return ms;
  throw new Failed(
    EXIT.usage,
    `--for ${text}: must be a duration from 1s to 30d, for example 30m (units ms, s, m, h, d)`,
  );
}

export function resume(io: Io, options: Changing): Promise<ExitCode> {
  return change(io, options, 'resume', () => ({}));
}

export function rebuild(io: Io, node: string, options: Changing): Promise<ExitCode> {
  return change(io, options, 'rebuild', (target) => ({ node: fullName(target, node) }));
}

export function promote(io: Io, node: string, options: Changing & { acceptDataLoss?: boolean }): Promise<ExitCode> {
  const acceptDataLoss = options.acceptDataLoss === true;
  return change(io, options, 'promote', (target) => ({ node: fullName(target, node), acceptDataLoss }));
}

/**
 * Completes a node's short name: `replica-1` stands for a container called `team-postgres-replica-1`. An unknown name
 * stays as it is.
 */
export function fullName(target: Target, node: string): string {
  if (target.nodes.includes(node)) return node;
  const ending = target.nodes.filter((name) => name.endsWith(`-${node}`));
  return ending.length === 1 && ending[0] !== undefined ? ending[0] : node;
}

/** @throws Failed (usage) with the nearest name when the cluster has no such node. */
function checkNode(name: unknown, { nodes }: Pick<ClusterStatus, 'nodes'>): void {
  const names = nodes.map((node) => node.name);
  if (typeof name !== 'string' || names.length === 0 || names.includes(name)) return;
  // Most often a shell variable that is not set. Without this a switchover would take any node.
  if (name.trim() === '') throw new Failed(EXIT.usage, `The name of the node is empty. Nodes: ${names.join(', ')}.`);
  const sentence = `There is no node "${name}"; did you mean ${nearest(name, names)}? Nodes: ${names.join(', ')}.`;
  throw new Failed(EXIT.usage, sentence);
}

/** Asks the person to confirm what was shown. @throws Failed when the person does not, or there is no terminal */
export async function confirmed(io: Pick<Io, 'confirm'>): Promise<void> {
  if (io.confirm === null)
    throw new Failed(EXIT.failed, 'There is no terminal to ask for a confirmation, so nothing was done. Use --yes.');
  if (!(await io.confirm('Go on?'))) throw new Failed(EXIT.failed, 'Nothing was done.');
}

/** Shows what would happen, asks for confirmation, and does it. With `--yes` it does it at once. */
async function change(
  io: Io,
  options: Changing,
  name: Command,
  bodyOf: (target: Target) => Record<string, unknown>,
): Promise<ExitCode> {
  const target = io.target(options.stack);
  const client = clientOf(target);
  const cluster = await client.cluster();
  tellNotices(io, cluster);
  const body = bodyOf(target);
  checkNode(body.to ?? body.node, cluster);
  if (options.dryRun || !options.yes) {
    const plan = await client.command(name, body, { dryRun: true });
    if (options.dryRun || !plan.done) return tell(io, options, name, plan);
    io.err(plan.message);
    await confirmed(io);
  }
  return tell(io, options, name, await client.command(name, body, { dryRun: false }));
}

function tell(io: Io, options: Changing, name: Command, answer: Answer): ExitCode {
  if (options.json) io.out(JSON.stringify(answer, null, 2));
  else if (!answer.done) io.err(io.paint('red', `${name} refused: ${answer.message}`));
  else if (options.dryRun) io.out(answer.message);
  else io.out(`${answer.message} (term ${answer.term}, ${Math.round(answer.tookMs)} ms)`);
  return answer.done ? EXIT.ok : EXIT.failed;
}
