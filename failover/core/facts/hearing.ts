/**
 * Silence of one node is told by another one that is heard meanwhile. When nobody is heard it may well be the monitor that
 * is cut off, and then nothing that it has not seen counts (S21): its time stands still, as after a stall (S11).
 */
import type { NodeView } from '../state/observation';

/** Every node sends at least ten frames a second, ms. */
export const DEAF_MS = 250;

/** Two nodes or more are connected, and none of them was heard lately. Of a single one nobody can tell. */
export function hearsNobody(nodes: Readonly<Record<string, NodeView>>, nowMs: number): boolean {
  const connected = Object.values(nodes).filter((v) => v.connected);
  const heardAtMs = Math.max(...connected.map((v) => v.heardAtMs));
  return connected.length > 1 && nowMs - heardAtMs >= DEAF_MS;
}

/** The nodes with the silence that counts: what of it fell into a time in which somebody was heard. */
export function withoutDeafness(
  nodes: Readonly<Record<string, NodeView>>,
  sinceMs: number,
  nowMs: number,
): Record<string, NodeView> {
  const limitMs = nowMs - sinceMs + DEAF_MS;
  const entries = Object.entries(nodes).map(([name, v]) => [name, { ...v, silentMs: Math.min(v.silentMs, limitMs) }]);
  return Object.fromEntries(entries);
}
