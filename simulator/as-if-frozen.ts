/** Removes rule S1, for the mutation tests of the simulator and of the exhaustive search. */
import { Situation } from '../failover/core/facts/situation';
import type { Status } from '../failover/core/state/cluster';

/** Returns the same situation, in which every standby counts as one that has promised. */
export function asIfFrozen(s: Situation): Situation {
  const frozen = (status: Status | null): Status | null =>
    status === null || status.postgres.state !== 'standby' || status.accepted === null
      ? status
      : { ...status, done: true, accepted: { ...status.accepted, term: s.state.term, kind: 'freeze' } };
  const nodes = Object.fromEntries(
    Object.entries(s.observation.nodes).map(([name, view]) => [name, { ...view, status: frozen(view.status) }]),
  );
  return new Situation(s.state, { ...s.observation, nodes }, s.nowMs, s.policy);
}
