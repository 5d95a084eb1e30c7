/** One fault on a running stack, as clients see it through the published port. */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { ClusterStatus } from '../../failover/contract/api';
import { columnOf } from '../rig/client';
import { docker } from '../rig/docker';
import type { Stack } from '../rig/stack';
import { healthy, untilView, view } from '../rig/view';
import { epochMs, waitFor } from '../rig/wait';
import { longestPauseMs, Writer } from '../rig/writer';

/** The table that the clients write to: one column, `id text`. */
export const TABLE = 'bench_writes';
/** The faults: the container, the command that breaks it, and the one that undoes it. `leads`: the leader changes. */
export const FAULTS = {
  kill: { to: 'leader', act: 'kill', undo: 'start', leads: true },
  stop: { to: 'leader', act: 'stop', undo: 'start', leads: true },
  pause: { to: 'leader', act: 'pause', undo: 'unpause', leads: true },
  switchover: { to: 'monitor', act: 'switchover', undo: null, leads: true },
  'replica-kill': { to: 'standby', act: 'kill', undo: 'start', leads: false },
  'replica-pause': { to: 'standby', act: 'pause', undo: 'unpause', leads: false },
  'haproxy-restart': { to: 'haproxy', act: 'restart', undo: null, leads: false },
  'haproxy-crash': { to: 'haproxy', act: 'crash', undo: null, leads: false },
} as const;
/** Commands that run inside the container by `docker exec`. All others are Docker's own commands. */
const INSIDE: Partial<Record<string, readonly string[]>> = {
  switchover: ['switchover'],
  crash: ['sh', '-c', 'kill -KILL $(pidof haproxy)'],
};
/** Writers run this long before the fault and after the first acknowledgement that follows it. */
export const SETTLE_MS = 1_000;
const OUTAGE_LIMIT_MS = 60_000;
const POLL_MS = 10;

export type Fault = keyof typeof FAULTS;

/** One run, in ms. `held` and `fresh`: outage of that client. `outage`: until either of them writes again. */
export const Run = z.object({
  outage: z.number(),
  held: z.number(),
  fresh: z.number(),
  /** How often each error occurred, by client and message. */
  errors: z.record(z.string(), z.number()),
  steps: z.record(z.string(), z.number()),
  /** Time that the leader's PostgreSQL took to shut down; null when it did not shut down cleanly. */
  shutdown: z.number().nullable(),
});
export type Run = z.infer<typeof Run> & { acknowledged: string[] };

/** Waits until both clients have an acknowledged write that began after `sinceMs`. */
async function wrote(writer: Writer, sinceMs: number): Promise<void> {
  await waitFor('a write of each client', OUTAGE_LIMIT_MS, () => writer.wroteSince(sinceMs), POLL_MS);
}

/** Makes the fault under two clients, waits until the cluster is healthy again, and returns what the clients met. */
export async function oneRun(stack: Stack, fault: Fault): Promise<Run> {
  const before = await healthy(stack);
  const { to, act, undo, leads } = FAULTS[fault];
  const standby = before.nodes.find((n) => n.name !== before.leader)?.name ?? '';
  const { prefix } = stack;
  const monitor = `${prefix}failover-monitor`;
  const victim = { leader: before.leader ?? '', standby, haproxy: `${prefix}haproxy`, monitor }[to];
  const inside = INSIDE[act];
  const command = inside === undefined ? [act, victim] : ['exec', victim, ...inside];
  const writer = new Writer(stack, { table: TABLE });
  await wrote(writer, 0);
  await sleep(SETTLE_MS);
  const faultMs = epochMs();
  await docker(...command);
  // While the command runs, clients may still get answers from the old leader. So the run waits for the new leadership.
  const term = before.lastFailover?.term ?? 0;
  const later = (now: ClusterStatus) => (now.lastFailover?.term ?? 0) > term;
  if (leads) await untilView(stack, 'a later leadership', OUTAGE_LIMIT_MS, later);
  await wrote(writer, epochMs());
  await sleep(SETTLE_MS);
  await writer.stop();
  const { lastFailover, events } = await view(stack);
  if (undo !== null) await docker(undo, victim);
  await healthy(stack);
  return {
    outage: longestPauseMs(writer.writes, faultMs),
    held: longestPauseMs(writer.writes, faultMs, 'held'),
    fresh: longestPauseMs(writer.writes, faultMs, 'fresh'),
    errors: counted(writer.failures.map(({ client, message }) => `${client}: ${message}`)),
    acknowledged: writer.acknowledged,
    steps: leads ? Object.fromEntries((lastFailover?.steps ?? []).map((s) => [s.name, s.ms])) : {},
    shutdown: shutdownMs(events, faultMs),
  };
}

/** Counts equal messages: a restart of HAProxy refuses hundreds of connects with the same message. */
function counted(messages: readonly string[]): Record<string, number> {
  return Object.fromEntries([...Map.groupBy(messages, (message) => message)].map(([key, all]) => [key, all.length]));
}

/** Duration in the keeper's report of the shutdown after `sinceMs`, ms; null without such a report. */
function shutdownMs(events: ClusterStatus['events'], sinceMs: number): number | null {
  const stopped = events.findLast((e) => e.code === 'POSTGRES_STOPPED' && Date.parse(e.at) >= sinceMs);
  const ms = /in (\d+) ms/.exec(stopped?.message ?? '')?.[1];
  return ms === undefined ? null : Number(ms);
}

/** Number of acknowledged rows that are not in the table exactly once. */
export async function lostOf(stack: Stack, runs: readonly Run[]): Promise<number> {
  const ids = Map.groupBy(await columnOf(stack, `SELECT id FROM ${TABLE}`), (id) => id);
  return runs.flatMap((run) => run.acknowledged).filter((id) => ids.get(id)?.length !== 1).length;
}
