/** Which node may archive for backups. */
import { expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import { archiveActions } from '../../failover/core/effects/archive';
import { violations } from '../../failover/core/invariants';
import type { Action, ClusterState, Policy } from '../../failover/core/state/cluster';
import { entry, leaderView, NOW_MS, observation, POLICY, replicaView, serving, situation } from './world';

const BACKUP: Policy = { ...POLICY, backup: true };
const archivists = (actions: Action[]) =>
  actions.flatMap((a) => (a.kind === 'archive' ? [{ ...a, kind: undefined }] : []));

function decided(state: ClusterState, policy: Policy = BACKUP) {
  return decide(state, observation([leaderView(state), replicaView(state, 'a')]), NOW_MS, policy);
}

it('is the opened leader of the present term', () => {
  const state = serving(['a']);
  expect(archivists(decided(state).actions)).toEqual([{ node: 'p', term: state.term }]);
});

it('is none without backups', () => {
  expect(archivists(decided(serving(['a']), POLICY).actions)).toEqual([]);
});

it.each<[string, Partial<ClusterState>]>([
  [
    'a leader is being promoted',
    { activity: { kind: 'promote', cause: 'LEADER_DEAD' }, ledger: [entry({ opened: false })] },
  ],
  ['a leader is elected', { activity: { kind: 'elect', cause: 'LEADER_DEAD' } }],
  ['the leader hands over', { activity: { kind: 'handover', candidate: 'a' } }],
  ['the state may be an old one', { adopting: true }],
])('is none while %s', (_, part) => {
  const state = serving(['a'], part);
  const seen = observation([leaderView(state), replicaView(state, 'a')]);
  expect(archiveActions(situation(state, seen, NOW_MS, BACKUP))).toEqual([]);
});

it('is never another node or another term, whatever a rule says', () => {
  const state = serving(['a']);
  const wrong = (node: string, term: number) => {
    const decision = decided(state);
    return violations(state, { ...decision, state, actions: [{ kind: 'archive', node, term }] });
  };
  expect(wrong('p', state.term)).toEqual([]);
  expect(wrong('a', state.term)).toEqual([`a may archive in term 1, but is not the opened leader of term 1`]);
  expect(wrong('p', state.term + 1)).toHaveLength(1);
});
