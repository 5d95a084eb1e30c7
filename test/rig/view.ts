/** Reads the monitor's status of a cluster, and waits until it is as a test wants it. */
import { ClusterStatus } from '../../failover/contract/api';
import type { Stack } from './stack';
import { waitFor } from './wait';

const VIEW_LIMIT_MS = 5_000;
const HEALTHY_LIMIT_MS = 120_000;
const POLL_MS = 50;

/** A stack whose monitor is asked. */
export type Monitored = Pick<Stack, 'monitor'>;

export async function view({ monitor }: Monitored): Promise<ClusterStatus> {
  const response = await fetch(`${monitor}/api/v1/cluster`, { signal: AbortSignal.timeout(VIEW_LIMIT_MS) });
  return ClusterStatus.parse(await response.json());
}

/** Sentences about everything that keeps the cluster from being healthy; empty when it is. */
export function problemsOf(now: ClusterStatus): string[] {
  const standbys = now.nodes.filter((n) => n.name !== now.leader);
  return [
    ...(now.serving && now.code === 'STEADY' ? [] : [now.sentence]),
    ...(standbys.length > 0 ? [] : ['there is no standby']),
    ...standbys.filter((n) => !n.done).map((n) => `${n.name}: ${n.state}, ${n.order}, ${n.failure ?? 'not done'}`),
    ...standbys.filter((n) => !now.sync.members.includes(n.name)).map((n) => `${n.name} is not counted`),
    ...standbys.filter((n) => !now.haproxy.read.includes(n.name)).map((n) => `${n.name} serves no reads`),
    ...now.haproxy.unreached.map((name) => `HAProxy does not reach ${name}`),
  ];
}

/**
 * Waits until the leader serves and every standby has carried out its order, is counted and serves reads, all that for
 * `forMs` without interruption.
 * @throws Error at the limit, with what is missing.
 */
export async function healthy(stack: Monitored, limitMs = HEALTHY_LIMIT_MS, forMs = 0): Promise<ClusterStatus> {
  let sinceMs: number | null = null;
  const look = async () => {
    const now = await view(stack).catch(() => null);
    const missing = now === null ? ['the monitor does not answer'] : problemsOf(now);
    sinceMs = missing.length > 0 ? null : (sinceMs ?? performance.now());
    if (sinceMs === null) throw new Error(missing.join('; '));
    return performance.now() - sinceMs >= forMs && now;
  };
  return waitFor(`a healthy cluster (${stack.monitor})`, limitMs, look, POLL_MS);
}

/** Waits until `wanted` is true of the status. @throws Error at the limit, with the monitor's sentence. */
export function untilView(
  stack: Monitored,
  what: string,
  limitMs: number,
  wanted: (now: ClusterStatus) => boolean,
): Promise<ClusterStatus> {
  const look = async () => {
    const now = await view(stack);
    if (!wanted(now)) throw new Error(`the monitor says: ${now.sentence}`);
    return now;
  };
  return waitFor(what, limitMs, look, POLL_MS);
}
