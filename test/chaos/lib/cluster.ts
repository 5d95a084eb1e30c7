/** The monitor's view of the cluster, and waiting until everything is healthy. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ClusterStatus } from '../../../failover/contract/api';
import { docker } from './docker';
import { MONITOR, STACK } from './stack';

const ANSWER_LIMIT_MS = 3_000;
/** HAProxy may take so long to see that a node was away: a look a second, with a second for the answer. */
const REACH_MS = 2_100;
const POLL_MS = 50;

export async function view(): Promise<ClusterStatus> {
  const url = `http://${STACK.host}:${STACK.monitorPort}/api/v1/cluster`;
  const response = await fetch(url, { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
  return ClusterStatus.parse(await response.json());
}

/** What is not yet as it should be; empty when all is well. */
export function ailments(now: ClusterStatus): string[] {
  const standbys = now.nodes.filter((n) => n.name !== now.leader);
  return [
    ...(now.serving && now.code === 'STEADY' ? [] : [now.sentence]),
    ...standbys.filter((n) => !n.done).map((n) => `${n.name}: ${n.state}, ${n.order}, ${n.failure ?? 'not done'}`),
    ...standbys.filter((n) => !now.sync.members.includes(n.name)).map((n) => `${n.name} is not counted`),
    ...standbys.filter((n) => !now.haproxy.read.includes(n.name)).map((n) => `${n.name} serves no reads`),
    ...now.haproxy.unreached.map((name) => `HAProxy does not reach ${name}`),
  ];
}

/**
 * Waits until the leader serves, every standby is done with its order, counted and read from, and all that for `forMs`.
 * @throws Error with what is missing at the limit.
 */
export async function healthy(limitMs: number, forMs = 0): Promise<ClusterStatus> {
  const endMs = performance.now() + limitMs;
  let last = ['the monitor does not answer'];
  let sinceMs: number | null = null;
  while (performance.now() < endMs) {
    const now = await view().catch(() => null);
    last = now === null ? ['the monitor does not answer'] : ailments(now);
    sinceMs = last.length > 0 ? null : (sinceMs ?? performance.now());
    if (now !== null && sinceMs !== null && performance.now() - sinceMs >= forMs) return now;
    await sleep(POLL_MS);
  }
  throw new Error(`not healthy within ${limitMs / 1000} s: ${last.join('; ')}`);
}

/** Waits until the view is as wanted. */
export async function untilView(
  what: string,
  limitMs: number,
  wanted: (now: ClusterStatus) => boolean,
): Promise<ClusterStatus> {
  const endMs = performance.now() + limitMs;
  let last = 'the monitor does not answer';
  while (performance.now() < endMs) {
    const now = await view().catch(() => null);
    if (now !== null && wanted(now)) return now;
    if (now !== null) last = now.sentence;
    await sleep(POLL_MS);
  }
  throw new Error(`waited ${limitMs / 1000} s in vain for ${what}; the monitor says: ${last}`);
}

/** Waits until all is well, the node a counted standby, and gives it the lead by a planned switchover. */
export async function giveLead(node: string, limitMs: number): Promise<void> {
  await healthy(limitMs, REACH_MS);
  await docker(['exec', MONITOR, 'switchover', node], limitMs);
}
