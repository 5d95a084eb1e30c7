/**
 * What HAProxy's own connects say: it may be cut off from a node that everybody else reaches (DESIGN §9). They are made
 * beside the clients' connections, so no client can make a node look unreached.
 */
import type { Observation, Policy } from '../state/cluster';
import { addressOf, isDeclared } from './view';

/** HAProxy's newest connect to this node failed. */
export function isUnreached(observation: Observation, node: string): boolean {
  return unreachedSince(observation, node) !== null;
}

function unreachedSince(observation: Observation, node: string): number | null {
  const address = addressOf(observation, node);
  return address === null ? null : (observation.haproxy.unreached?.[address] ?? null);
}

/** True when HAProxy has not reached this node for `hangTimeoutMs`, but reaches another one: the fault is not its own. */
export function isBeyondHaproxy(observation: Observation, node: string, nowMs: number, policy: Policy): boolean {
  const sinceMs = unreachedSince(observation, node);
  if (sinceMs === null || !observation.haproxy.reachable) return false;
  if (nowMs - Math.max(sinceMs, observation.sinceMs) < policy.hangTimeoutMs) return false;
  const names = observation.declared.map((d) => d.name);
  return names.some((n) => n !== node && isDeclared(observation, n) && !isUnreached(observation, n));
}

/** Of nodes that are equally good those that HAProxy reaches; all of them when it reaches none. */
export function preferReached(observation: Observation, nodes: readonly string[]): string[] {
  const reached = nodes.filter((n) => !isUnreached(observation, n));
  return reached.length > 0 ? reached : [...nodes];
}
