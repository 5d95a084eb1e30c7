/**
 * When one node is silent, another node that answers shows that the monitor's network works. When no node answers, the
 * monitor itself may be cut off. Then nothing that it has not seen counts (S21), and its time stands
 * still, as after a stall (S11).
 */
import type { NodeView } from '../state/observation';

/** After this time without a frame the monitor is deaf, ms: every node sends at least ten frames a second. */
export const DEAF_MS = 250;

/**
 * True when at least two nodes are connected and the monitor has heard none of them lately. With one node it cannot be
 * told whether that node or the monitor is cut off.
 */
export function hearsNobody(nodes: Readonly<Record<string, NodeView>>, nowMs: number): boolean {
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
