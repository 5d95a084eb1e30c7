/**
 * Questions about HAProxy: whether its write slot may be opened to a leader (S2, S9, S15), and which nodes its own
 * health checks reach. HAProxy may be cut off from a node that the monitor and the other nodes reach. The health checks
 * use connections of their own, so no client can make a node look unreached.
 */

import type { Situation } from './situation';
import { isProven } from './sync-set';

/** True when this leader has passed the opening checks in this term, since HAProxy's last start. */
export function isCertified(s: Situation): boolean {
  const { certificate, haproxy } = s.observation;
  if (certificate === null || certificate.node !== s.state.leader) return false;
  return certificate.term === s.state.term && certificate.epoch === haproxy.epoch;
}

/**
 * True when the write slot is closed on every worker and no node but the next leader has a client session left (S2).
 */
export function isCutOff(s: Situation): boolean {
  const { reachable, closed, clean, keeping } = s.observation.haproxy;
  return reachable && closed && clean && keeping !== null && keeping === s.address(s.leader);
}

/**
 * True when the opening checks may be made: the node leads in this term and, unless it leads alone, its sync
 * configuration is in force (S9).
 */
export function mayCertify(s: Situation): boolean {
  // Before the node leads, the checks would fail and only take processor time from its promotion.
  if (s.status(s.leader)?.lead?.term !== s.state.term) return false;
  return s.ordered?.k === 0 || isProven(s);
}

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
