/**
 * Which nodes HAProxy reaches, by its own health checks. HAProxy may be cut off from a node that every other part
 * reaches. The checks are separate from the clients' connections, so no client can make a node look
 * unreached.
 */
import type { Situation } from './situation';

/** True when HAProxy's newest health check of this node failed. */
export function isUnreached(s: Situation, node: string): boolean {
  return unreachedSince(s, node) !== null;
}

function unreachedSince(s: Situation, node: string): number | null {
  const address = s.address(node);
  return address === null ? null : (s.observation.haproxy.unreached?.[address] ?? null);
}

/**
 * True when HAProxy has not reached this node for `hangTimeoutMs` but reaches another node, so HAProxy's own network
 * works.
 */
export function isBeyondHaproxy(s: Situation, node: string): boolean {
  const sinceMs = unreachedSince(s, node);
  if (sinceMs === null || !s.observation.haproxy.reachable) return false;
  if (s.nowMs - Math.max(sinceMs, s.observation.sinceMs) < s.policy.hangTimeoutMs) return false;
  return s.names.some((n) => n !== node && s.isDeclared(n) && !isUnreached(s, n));
}

/** Keeps those of the given nodes that HAProxy reaches; all of them when it reaches none. */
export function preferReached(s: Situation, nodes: readonly string[]): string[] {
  const reached = nodes.filter((n) => !isUnreached(s, n));
  return reached.length > 0 ? reached : [...nodes];
}
