/** One change under load: what is seen before, during and after it. */

import { randomUUID } from 'node:crypto';
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { epochMs, healthy, POLL_MS, rowsOf, type Stack, stackOf } from '../rig/cluster';
import { HttpLoad, judge, ROWS_OF_RUN, type Row, type Verdict } from '../rig/http-load';
import { runOk } from '../../scripts/lib/exec';
import { TIMEOUTS } from '../timeouts';
import { BASE, type Change } from './changes';
import { longestPause, type Sample, Session, TABLE, Watch, Writer } from './clients';
import { type DockerEvent, Events } from '../rig/events';
import type { ChangeStack } from './stack';

/** Longer than any change; the load is stopped when the change is done. */
const LOAD_LIMIT_SECONDS = 1_200;
/** The load alone, before and after the change, ms. */
const CALM_MS = 5_000;
const LEADER_LIMIT_MS = 120_000;

/** For the checks of a change. */
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
  /** What `pulumi preview` said. */
  preview: z.array(z.string()),
  requests: z.number(),
  failed: z.number(),
  lost: z.number(),
  duplicated: z.number(),
  /** Acknowledged by the SQL writers, and of these not in the table. */
  writes: z.number(),
  lostWrites: z.number(),
  /** Longest pause of the writer's held and of its fresh connection, and of both in the calm before, ms. */
  heldMs: z.number(),
  freshMs: z.number(),
  calmMs: z.number(),
  /** Statements that failed because their session ended. */
  broken: z.number(),
  upMs: z.number(),
  /** From the beginning of `up` until every node carried out its order and was counted. */
  healthyMs: z.number(),
  /** Load average of the machine (1 minute) at the end. */
  load: z.number(),
  problems: z.array(z.string()),
  notes: z.array(z.string()),
});
export type Result = z.infer<typeof Result>;

/** Waits until all is well and the first node leads, so that every change begins alike. */
export async function settled(stack: Stack): Promise<void> {
  const endMs = performance.now() + LEADER_LIMIT_MS;
  const primary = `${stack.prefix}postgres-primary`;
  while ((await healthy(stack)).leader !== primary) {
    if (performance.now() > endMs) throw new Error(`${primary} did not get the lead back`);
    await sleep(POLL_MS);
  }
}

async function docker(...args: string[]): Promise<string> {
  return (await runOk('docker', args, { deadlineMs: TIMEOUTS.docker })).stdout.trim();
}

/** The passwords that clients use: both, where the change is one of the password. */
function passwordsOf(change: Change): string[] {
  const before = { ...BASE, ...change.before }.databasePassword;
  const after = change.after.databasePassword ?? before;
  return [...new Set([before, after])].map(String);
}

export async function measure(own: ChangeStack, change: Change, rate: number, say: (line: string) => void) {
  const passwords = passwordsOf(change);
  const usePassword = (password: string | undefined) => {
    process.env.PGPASSWORD = password;
  };
  usePassword(passwords[0]);
  const stack = stackOf(own.own.name);
  await settled(stack);
  await rowsOf(stack, `DROP TABLE IF EXISTS ${TABLE}`);
  await rowsOf(stack, `CREATE TABLE ${TABLE} (id uuid NOT NULL)`);
  const haproxy = () => docker('inspect', '--format', '{{.Id}}', `${stack.prefix}haproxy`);
  const haproxyBefore = await haproxy();
  const run = `c${randomUUID().slice(0, 8)}`;
  const load = new HttpLoad({ api: stack.api, rate, seconds: LOAD_LIMIT_SECONDS, run });
  const session = await Session.open(stack);
  const writers = passwords.map((password) => new Writer(stack, password));
  const watch = new Watch(stack);
  const events = new Events(`postgres-failover.stack=postgres-failover/${own.own.name}`);
  let stopped = false;
  const stop = async () => {
    if (stopped) return;
    stopped = true;
    const others = [load.stop(), session.close(), watch.stop(), events.stop()];
    await Promise.all([...others, ...writers.map((writer) => writer.stop())]);
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
    usePassword(passwords.at(-1));
    await healthy(stack);
    const healthyMs = epochMs() - beginMs;
    await sleep(CALM_MS);
    const endMs = epochMs();
    await stop();
    const [average = 0] = loadavg();
    const verdict = judge(load.answers, await rowsOf<Row>(stack, ROWS_OF_RUN, [run]));
    const there = new Set((await rowsOf<{ id: string }>(stack, `SELECT id FROM ${TABLE}`)).map(({ id }) => id));
    const writes = writers.flatMap(({ acks }) => acks);
    const lostWrites = writes.filter(({ id }) => !there.has(id)).length;
    const facts: Facts = { stack, events: events.all, samples: session.samples, views: watch.views };
    const pause = (kind: 'held' | 'fresh', fromMs: number, toMs: number) => longestPause(writers, kind, fromMs, toMs);
    const [heldMs, freshMs] = [pause('held', beginMs, endMs), pause('fresh', beginMs, endMs)];
    const same = haproxyBefore === (await haproxy());
    const left = await own.changesLeft();
    const problems = [
      ...problemsOf(change, verdict, session, writers),
      ...(lostWrites > 0 ? [`${lostWrites} acknowledged writes of the SQL writer are lost`] : []),
      ...(same === (change.replacesHaproxy === true) ? [`HAProxy is ${same ? 'the same' : 'another'} container`] : []),
      ...(left === null ? [] : [`preview --expect-no-changes: ${left}`]),
      ...((await change.check?.(facts)) ?? []),
    ];
    const result: Result = {
      ...{ name: change.name, point: change.point, title: change.title, date: new Date().toISOString(), preview },
      ...{ requests: verdict.requests, failed: verdict.failed.length },
      ...{ lost: verdict.lost.length, duplicated: verdict.duplicated.length },
      ...{ writes: writes.length, lostWrites, heldMs, freshMs },
      calmMs: Math.max(pause('held', calmFromMs, beginMs), pause('fresh', calmFromMs, beginMs)),
      broken: writers.reduce((sum, { broken }) => sum + broken.statements.length, 0),
      ...{ upMs: Math.round(upMs), healthyMs: Math.round(healthyMs), load: Number(average.toFixed(1)) },
      problems: problems.slice(0, 20),
      notes: [...notesOf(change, load, writers, watch, session), ...gapOf(change, facts)],
    };
    return result;
  } finally {
    await stop();
  }
}

function problemsOf(change: Change, verdict: Verdict, session: Session, writers: readonly Writer[]): string[] {
  const connects = writers.flatMap(({ broken }) => broken.connects);
  const statements = writers.flatMap(({ broken }) => broken.statements);
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

function notesOf(change: Change, load: HttpLoad, writers: readonly Writer[], watch: Watch, session: Session): string[] {
  const failed = load.answers
    .filter(({ problem }) => problem !== null)
    .map(({ dueMs, latencyMs }) => [dueMs, dueMs + latencyMs]);
  const refused = writers.reduce((sum, writer) => sum + writer.refused, 0);
  const leaders = watch.views.flatMap(({ view }) => view.leader ?? []);
  const moves = leaders.filter((leader, i) => i > 0 && leader !== leaders[i - 1]).length;
  const connects = writers.reduce((sum, { broken }) => sum + broken.connects.length, 0);
  return [
    ...(change.keepsSessions ? [`session open throughout, ${session.samples.length} statements`] : []),
    ...(moves > 0 ? [`the lead moved ${moves === 1 ? 'once' : `${moves} times`}`] : []),
    ...(refused > 0 ? [`${refused} connections with the password that was not valid were refused`] : []),
    ...(connects > 0 ? [`${connects} new connections failed`] : []),
    ...(failed.length > 0
      ? [
          `requests due within ${Math.round(Math.max(...failed.map(([due = 0]) => due)) - Math.min(...failed.map(([due = 0]) => due)))} ms failed`,
        ]
      : []),
  ];
}

/** How long HAProxy itself was away, by the engine's events: what Docker takes to stop and start a container. */
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
