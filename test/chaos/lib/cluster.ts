/** The matrix's own cluster in the monitor's view. */
import type { ClusterStatus } from '../../../failover/contract/api';
import { docker } from '../../rig/docker';
import * as rig from '../../rig/view';
import { MONITOR, STACK } from './stack';

/** HAProxy may take so long to see that a node was away: a look a second, with a second for the answer. */
const REACH_MS = 2_100;

export const view = () => rig.view(STACK);
export const healthy = (limitMs: number, forMs?: number) => rig.healthy(STACK, limitMs, forMs);
export const untilView = (what: string, limitMs: number, wanted: (now: ClusterStatus) => boolean) =>
  rig.untilView(STACK, what, limitMs, wanted);

/** Waits until all is well, the node a counted standby, and gives it the lead by a planned switchover. */
export async function giveLead(node: string, limitMs: number): Promise<void> {
  await healthy(limitMs, REACH_MS);
  await docker('exec', MONITOR, 'switchover', node);
}
