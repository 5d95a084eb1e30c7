/** The way out for a person where the cluster cannot go on by itself: the end of a sentence, with a command that works then. */

import { overrideRefusal } from '../procedures/override';
import type { ClusterState, Observation, Policy } from '../state/cluster';
import { mostAdvanced } from './candidates';
import { statusOf, viewOf } from './view';

/**
 * The command that makes the best connected node the leader, although the writes that it lacks are lost. Empty while no
 * connected node can lead, and before writes have waited for `startGrace`: losing data needs no haste.
 */
export function acceptLossRemedy(state: ClusterState, observation: Observation, nowMs: number, policy: Policy): string {
  if (nowMs - (observation.watch.waitsSinceMs ?? nowMs) < policy.startGraceMs) return '';
  const able = observation.declared
    .map((d) => d.name)
    .filter((node) => viewOf(observation, node).silentMs < policy.hangTimeoutMs)
    .filter((to) => {
      const request = { kind: 'promote' as const, to, acceptDataLoss: true };
      return overrideRefusal(state, observation, nowMs, policy, request) === null;
    });
  const timelineOf = (node: string) => statusOf(observation, node)?.postgres.timeline ?? 0;
  const newest = Math.max(...able.map(timelineOf));
  const best = mostAdvanced(
    observation,
    able.filter((node) => timelineOf(node) === newest),
    state.leader ?? undefined,
  );
  return best === null ? '' : `; or accept that what ${best} lacks is lost: promote ${best} --accept-data-loss`;
}
