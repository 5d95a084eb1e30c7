/** Makes one change under load and measures what clients notice before, during and after it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { columnOf, rowsOf } from '../rig/client';
import { docker } from '../rig/docker';
import { type DockerEvent, DockerEvents } from '../rig/events';
import { HttpLoad, type Verdict } from '../rig/http-load';
import { loadAverage } from '../rig/progress';
import type { Say, Stack } from '../rig/stack';
import { healthy } from '../rig/view';
import { epochMs, waitFor } from '../rig/wait';
import { heldAndFresh, longestPauseMs, Writer } from '../rig/writer';
import { BASE, type Change } from './changes';
import { openSession, type Sample, watchViews } from './clients';
import type { ChangeStack } from './stack';

const TABLE = 'change_writes';
/** Clients wait ten times longer between two writes than usual, because two backends run on the same machine. */
const SLOWER = 10;
const REFUSED = 'password authentication failed';
/** Longer than any change takes; the load is stopped when the change is done. */
const LOAD_LIMIT_SECONDS = 1_200;
/** Time of load without a change, before it and after it, ms. */
const CALM_MS = 5_000;
const LEADER_LIMIT_MS = 120_000;

type Session = Awaited<ReturnType<typeof openSession>>;
type Watch = ReturnType<typeof watchViews>;

/** Everything that was observed; a change's own check gets it. */
export interface Facts {
  stack: Stack;
  events: readonly DockerEvent[];
  samples: readonly Sample[];
  views: Watch['views'];
}

export const Result = z.object({
  name: z.string(),
  point: z.number(),
  title: z.string(),
  date: z.string(),
  /** The steps that `pulumi preview` announced. */
  preview: z.array(z.string()),
  requests: z.number(),
  failed: z.number(),
  lost: z.number(),
  duplicated: z.number(),
  /** Writes of the SQL clients that were acknowledged. */
  writes: z.number(),
  /** Acknowledged writes that are not in the table. */
  lostWrites: z.number(),
  /** Longest wait of the held and of the fresh client during the change, and of both before it, ms. */
  heldMs: z.number(),
  freshMs: z.number(),
  calmMs: z.number(),
  /** SQL statements that failed, because their session ended. */
  broken: z.number(),
  upMs: z.number(),
  /** From the begin of `up` until the cluster was healthy, ms. */
  healthyMs: z.number(),
  /** Load average of the machine (1 minute) at the end. */
  load: z.number(),
  problems: z.array(z.string()),
  notes: z.array(z.string()),
});
export type Result = z.infer<typeof Result>;

/**
 * Waits until the cluster is healthy and the first declared node leads, so that every change begins in the same state.
 */
async function settled(stack: Stack): Promise<void> {
  const primary = `${stack.prefix}postgres-primary`;
  const look = async () => (await healthy(stack)).leader === primary;
  await waitFor(`${primary} to have the lead back`, LEADER_LIMIT_MS, look);
}

/** The passwords that clients use: the old and the new one when the change is one of the password. */
function passwordsOf(change: Change): string[] {
  const before = { ...BASE, ...change.before }.databasePassword;
  const after = change.after.databasePassword ?? before;
  return [...new Set([before, after])].map(String);
}

export async function measure(change: Change, rate: number, own: ChangeStack, say: Say): Promise<Result> {
  const passwords = passwordsOf(change);
  const withPassword = (password = '') => ({ ...own.own.seen, password });
  const before = withPassword(passwords[0]);
  const after = withPassword(passwords.at(-1));
  await settled(before);
  await rowsOf(before, `DROP TABLE IF EXISTS ${TABLE}`);
  await rowsOf(before, `CREATE TABLE ${TABLE} (id text NOT NULL)`);
  const haproxy = () => docker('inspect', '--format', '{{.Id}}', own.own.container('haproxy'));
  const haproxyBefore = await haproxy();
  const load = new HttpLoad(after, { rate, seconds: LOAD_LIMIT_SECONDS });
  const session = await openSession(before);
  const plan = { table: TABLE, clients: heldAndFresh(SLOWER) };
  const writers = passwords.map((password) => new Writer(withPassword(password), plan));
  const watch = watchViews(before);
  const events = new DockerEvents(own.own.label);
  let stopped: Promise<unknown> | null = null;
  const stop = () => {
    stopped ??= Promise.all([load, session, watch, events, ...writers].map((one) => one.stop()));
    return stopped;
  };
  try {
    await load.begun;
    await sleep(CALM_MS);
    own.own.configure(change.after);
    for (const image of change.images ?? []) own.renewImage(image);
    const calmFromMs = epochMs() - CALM_MS / 2;
    const preview = await own.preview();
    for (const line of preview) say(`  preview: ${line}`);
    const beginMs = epochMs();
    await own.up((line) => say(`  ${line}`));
    const upMs = epochMs() - beginMs;
    await healthy(after);
    const healthyMs = epochMs() - beginMs;
    await sleep(CALM_MS);
    const endMs = epochMs();
    await stop();
    const average = loadAverage();
    const verdict = await load.verdict();
    const there = new Set(await columnOf(after, `SELECT id FROM ${TABLE}`));
    const writes = writers.flatMap((writer) => writer.writes);
    const acknowledged = writers.flatMap((writer) => writer.acknowledged);
    const lostWrites = acknowledged.filter((id) => !there.has(id)).length;
    const failures = failuresOf(writers);
    const facts: Facts = { stack: after, events: events.all, samples: session.samples, views: watch.views };
    const pauses = (fromMs: number, toMs: number) =>
      ['held', 'fresh'].map((client) => longestPauseMs(writes, fromMs, client, toMs));
    const [heldMs = 0, freshMs = 0] = pauses(beginMs, endMs);
    const same = haproxyBefore === (await haproxy());
    const left = await own.changesLeft();
    const problems = [
      ...problemsOf(change, verdict, session, failures),
      ...(lostWrites > 0 ? [`${lostWrites} acknowledged writes of the SQL writer are lost`] : []),
      ...(same === (change.replacesHaproxy === true) ? [`HAProxy is ${same ? 'the same' : 'another'} container`] : []),
      ...(left === null ? [] : [`preview --expect-no-changes: ${left}`]),
      ...((await change.check?.(facts)) ?? []),
    ];
    return {
      ...{ name: change.name, point: change.point, title: change.title, date: new Date().toISOString(), preview },
      ...{ requests: verdict.requests, failed: verdict.failed.length },
      ...{ lost: verdict.lost.length, duplicated: verdict.duplicated.length },
      ...{ writes: acknowledged.length, lostWrites, heldMs, freshMs, broken: failures.statements.length },
      calmMs: Math.max(...pauses(calmFromMs, beginMs)),
      ...{ upMs: Math.round(upMs), healthyMs: Math.round(healthyMs), load: average },
      problems: problems.slice(0, 20),
      notes: [...notesOf(change, load, failures, watch, session), ...gapOf(change, facts)],
    };
  } finally {
    await stop();
  }
}

/** Failures of the SQL clients. */
interface Failures {
  connects: string[];
  statements: string[];
  /** Number of connects that were refused because of the password. */
  refused: number;
}

function failuresOf(writers: readonly Writer[]): Failures {
  const failures = writers.flatMap((writer) => writer.failures);
  const others = failures.filter(({ message }) => !message.includes(REFUSED));
  const of = (some: typeof failures) => some.map(({ client, message }) => `${client}: ${message}`);
  return {
    connects: of(others.filter(({ id }) => id === null)),
    statements: of(others.filter(({ id }) => id !== null)),
    refused: failures.length - others.length,
  };
}

function problemsOf(change: Change, verdict: Verdict, session: Session, { connects, statements }: Failures): string[] {
  const pids = new Set(session.samples.map(({ pid }) => pid));
  return [
    ...(change.replacesHaproxy === true ? [] : [...verdict.failed, ...connects]),
    ...verdict.lost.map((user) => `lost: ${user}`),
    ...verdict.duplicated,
    ...(change.keepsSessions ? statements : []),
    ...(change.keepsSessions && session.failure !== null ? [`the open session: ${session.failure}`] : []),
    ...(change.keepsSessions && pids.size > 1 ? ['the open session got another backend'] : []),
  ];
}

function notesOf(change: Change, load: HttpLoad, failures: Failures, watch: Watch, session: Session): string[] {
  const { refused, connects } = failures;
  const due = load.answers.filter(({ problem }) => problem !== null).map(({ dueMs }) => dueMs);
  const leaders = watch.views.flatMap(({ view }) => view.leader ?? []);
  const moves = leaders.filter((leader, i) => i > 0 && leader !== leaders[i - 1]).length;
  return [
    ...(change.keepsSessions ? [`session open throughout, ${session.samples.length} statements`] : []),
    ...(moves > 0 ? [`the lead moved ${moves === 1 ? 'once' : `${moves} times`}`] : []),
    ...(refused > 0 ? [`${refused} connections with the password that was not valid were refused`] : []),
    ...(connects.length > 0 ? [`${connects.length} new connections failed`] : []),
    ...(due.length > 0 ? [`requests due within ${Math.round(Math.max(...due) - Math.min(...due))} ms failed`] : []),
  ];
}

/** How long HAProxy's container was away, from the engine's events. */
function gapOf(change: Change, { stack, events }: Facts): string[] {
  if (change.replacesHaproxy !== true) return [];
  const at = (what: string) => events.find((e) => e.name === `${stack.prefix}haproxy` && e.what === what)?.atMs;
  const [died, destroyed, created, started] = ['die', 'destroy', 'create', 'start'].map(at);
  if (died === undefined || destroyed === undefined || created === undefined || started === undefined) return [];
  const ms = (from: number, to: number) => `${Math.round(to - from)} ms`;
  return [
    `HAProxy’s container was away for ${ms(died, started)}: removed after ${ms(died, destroyed)}, made ${ms(destroyed, created)} later, started in ${ms(created, started)}`,
  ];
}
