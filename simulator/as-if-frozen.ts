/** What rule S1 taken out looks like, for the mutations of simulator and exhaustive search. */
import type { ClusterState, Observation, Status } from '../failover/core/state/cluster';

/** Every standby counts as one that has promised. */
export function asIfFrozen(state: ClusterState, observation: Observation): Observation {
  const frozen = (status: Status | null): Status | null =>
    status === null || status.postgres.state !== 'standby' || status.accepted === null
      ? status
      : { ...status, done: true, accepted: { ...status.accepted, term: state.term, kind: 'freeze' } };
  const nodes = Object.fromEntries(
    Object.entries(observation.nodes).map(([name, view]) => [name, { ...view, status: frozen(view.status) }]),
  );
  return { ...observation, nodes };
}
