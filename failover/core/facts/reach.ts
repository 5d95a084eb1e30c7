/**
 * What HAProxy's own connects say: it may be cut off from a node that everybody else reaches. They are made
 * beside the clients' connections, so no client can make a node look unreached.
 */
import type { Situation } from './situation';

/** HAProxy's newest connect to this node failed. */
export function isUnreached(s: Situation, node: string): boolean {
  return unreachedSince(s, node) !== null;
}

function unreachedSince(s: Situation, node: string): number | null {
  const address = s.address(node);
  return address === null ? null : (s.observation.haproxy.unreached?.[address] ?? null);
}

/** True when HAProxy has not reached this node for `hangTimeoutMs`, but reaches another one: the fault is not its own. */
export function isBeyondHaproxy(s: Situation, node: string): boolean {
  const sinceMs = unreachedSince(s, node);
  if (sinceMs === null || !s.observation.haproxy.reachable) return false;
  if (s.nowMs - Math.max(sinceMs, s.observation.sinceMs) < s.policy.hangTimeoutMs) return false;
  const names = s.names;
  return names.some((n) => n !== node && s.isDeclared(n) && !isUnreached(s, n));
}

/** Of nodes that are equally good those that HAProxy reaches; all of them when it reaches none. */
export function preferReached(s: Situation, nodes: readonly string[]): string[] {
  const reached = nodes.filter((n) => !isUnreached(s, n));
  return reached.length > 0 ? reached : [...nodes];
}
