/**
 * When one node is silent, another node that answers shows that the monitor's network works. When no node answers, the
 * monitor itself may be cut off; it is called deaf then. Missing frames then prove nothing about the nodes (S21), and
 * the time does not count as silence of a node, as after a stall (S11).
 */
import type { NodeView } from '../state/observation';

/** The monitor is deaf when it got no frame of any node for this time, ms. Every node sends at least ten a second. */
export const DEAF_MS = 250;

/**
 * True when at least two nodes are connected and none of them has sent a frame for {@link DEAF_MS}. With one connected
 * node, either that node or the monitor may be cut off.
 */
export function hearsNoNode(nodes: Readonly<Record<string, NodeView>>, nowMs: number): boolean {
  const connected = Object.values(nodes).filter((v) => v.connected);
  const heardAtMs = Math.max(...connected.map((v) => v.heardAtMs));
  return connected.length > 1 && nowMs - heardAtMs >= DEAF_MS;
}

/** Caps each node's silence to the time since the monitor last heard any node. */
export function withoutDeafness(
  nodes: Readonly<Record<string, NodeView>>,
  sinceMs: number,
  nowMs: number,
): Record<string, NodeView> {
  const limitMs = nowMs - sinceMs + DEAF_MS;
  const entries = Object.entries(nodes).map(([name, v]) => [name, { ...v, silentMs: Math.min(v.silentMs, limitMs) }]);
  return Object.fromEntries(entries);
}
