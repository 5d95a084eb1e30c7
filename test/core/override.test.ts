import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import { overrideRefusal } from '../../failover/core/facts/loss';
import type { ClusterState } from '../../failover/core/state/cluster';
import type { NodeView } from '../../failover/core/state/observation';
import { entry, gone, NOW_MS, observation, POLICY, replicaView, serving, situation, view } from './world';

/** `a` was recorded as the next leader in term 2 and is not opened yet; `p` is back as a standby. */
const state = serving(['a'], {
  term: 2,
  leader: 'a',
  activity: { kind: 'promote', cause: 'LEADER_DEAD' },
  ledger: [entry(), entry({ term: 2, node: 'a', dataId: '1:a', timeline: null, opened: false })],
});
const refusal = (candidate: NodeView) =>
  overrideRefusal(situation(state, observation([view('p'), candidate])), {
    kind: 'promote',
    to: 'p',
    acceptDataLoss: true,
  });

describe('promoting another node by a person’s command while a candidate is recorded', () => {
  it('is refused while the candidate takes over', () => {
    expect(refusal(replicaView(state, 'a', { postgres: { state: 'promoting' } }))).toBe(
      'a is in the middle of a change',
    );
  });

  it('is allowed when the candidate is disconnected, has lost its data or reports that it cannot lead', () => {
    const failure = { code: 'NO_DATA' as const, message: 'there is no data' };
    expect(refusal(gone('a'))).toBeNull();
    expect(refusal(replicaView(state, 'a', { dataId: null }))).toBeNull();
    expect(refusal(replicaView(state, 'a', { failure }))).toBeNull();
  });

  it('rebuilds the nodes that followed the candidate, whatever they were ordered since (S3)', () => {
    const follows: ClusterState = {
      ...state,
      members: { ...state.members, b: '1:b', c: '1:c' },
      ledger: [
        entry(),
        { ...entry({ term: 2, node: 'a', dataId: '1:a', opened: false }), followed: { b: '1:b', c: '1:c' } },
      ],
    };
    const p = replicaView(follows, 'p', { postgres: { state: 'standby', timeline: 1, streamingFrom: null } });
    const request = { kind: 'promote' as const, to: 'p', acceptDataLoss: true };
    const decision = decide(follows, { ...observation([p, gone('a'), gone('b'), gone('c')]), request }, NOW_MS, POLICY);
    expect(decision.code).toBe('DATA_LOSS_ACCEPTED');
    expect(decision.state).toMatchObject({ leader: 'p', rebuild: { b: '1:b', c: '1:c' } });
  });
});
