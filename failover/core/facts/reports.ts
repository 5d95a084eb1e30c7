/**
 * Report replicas (`reportReplicas`): standbys on which readers may delay replay for half a minute. So no write waits
 * for them, and they take over last (docs/safety.md S16).
 *
 * The part belongs to no fixed node: the last declared standbys have it, whichever node leads. At least one standby
 * beside them is left, which writes wait for.
 */
import { seam } from '../../contract/seam';
import type { Situation } from './situation';

/** The report replicas while `leader` leads. */
function reportReplicas(s: Situation, leader: string): string[] {
  const standbys = s.names.filter((name) => name !== leader && s.isDeclared(name));
  const count = Math.min(s.policy.reportReplicas, standbys.length - 1);
  return count <= 0 ? [] : standbys.slice(-count);
}

/** True when the node is a report replica while `leader` leads. */
export const isReportReplica = seam((s: Situation, node: string, leader = s.leader): boolean => {
  return reportReplicas(s, leader).includes(node);
});

/** The given nodes without report replicas; all of them when they are all report replicas. */
export function preferCounted(s: Situation, nodes: readonly string[], leader = s.leader): string[] {
  const counted = nodes.filter((node) => !isReportReplica(s, node, leader));
  return counted.length > 0 ? counted : [...nodes];
}

/** The given nodes that are report replicas; all of them when none is one. */
export function preferReports(s: Situation, nodes: readonly string[]): string[] {
  const reports = nodes.filter((node) => isReportReplica(s, node));
  return reports.length > 0 ? reports : [...nodes];
}

/** True when readers may delay the node's replay: it is a report replica, and no write may wait for it. */
export const mayReplayLate = seam((s: Situation, node: string): boolean => {
  return isReportReplica(s, node) && s.state.joint.every((config) => !config.members.includes(node));
});
