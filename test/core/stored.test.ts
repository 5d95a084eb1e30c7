import { describe, expect, it } from 'vitest';
import { type ClusterState, emptyState } from '../../failover/core/state/cluster';
import { parseState, printState } from '../../failover/core/state/stored';
import { entry, serving } from './world';

/** The state without the fields that versions 1 and 2 did not have. */
function former({ generation: _generation, activity: _activity, ...rest }: ClusterState): object {
  return { ...rest, procedure: null };
}

describe('the stored state', () => {
  const state = serving(['a'], { joint: [{ leader: 'p', k: 1, members: ['a'], term: 1 }] });

  it('is the same after it was stored and read', () => {
    expect(parseState(printState(state))).toEqual(state);
    expect(parseState(printState(emptyState()))).toEqual(emptyState());
  });

  it('is read as version 1 wrote it', () => {
    const { term: _term, ...config } = state.joint[0] ?? { leader: '', k: 0, members: [] };
    const first = { ...former(state), version: 1, joint: [config] };
    expect(parseState(JSON.stringify(first))).toEqual({ ...state, joint: [config] });
  });

  const serves = { kind: 'serving' } as const;
  const plan = { kind: 'switchover', to: 'a', by: 'person', stage: 'hold' } as const;
  it.each<[string, object, ClusterState['activity']]>([
    ['a leader that serves', { procedure: null }, serves],
    [
      'a promotion',
      { procedure: { kind: 'promote', cause: 'LEADER_DEAD' } },
      { kind: 'promote', cause: 'LEADER_DEAD' },
    ],
    [
      'a switchover',
      { procedure: null, switchover: { to: 'a', by: 'person', stage: 'hold' } },
      { kind: 'preparing', plan },
    ],
    [
      'a restart of the leader',
      { procedure: null, restart: { node: 'p', stage: 'prepare' } },
      { kind: 'preparing', plan: { kind: 'restart', stage: 'prepare' } },
    ],
    [
      'a restart of a standby beside a switchover',
      {
        procedure: null,
        restart: { node: 'a', stage: 'leave' },
        switchover: { to: 'a', by: 'person', stage: 'hold' },
      },
      { kind: 'preparing', plan, standby: { kind: 'restart', node: 'a', stage: 'leave' } },
    ],
    [
      'a standby that is copied anew',
      { procedure: null, renewing: 'a' },
      { kind: 'serving', standby: { kind: 'rebuild', node: 'a' } },
    ],
  ])('is read as version 2 wrote %s', (_what, fields, activity) => {
    const second = { ...former(state), version: 2, ...fields };
    expect(parseState(JSON.stringify(second))).toEqual({ ...state, activity });
  });

  it('is read as version 2 wrote it before the first database', () => {
    const empty = emptyState();
    expect(parseState(JSON.stringify({ ...former(empty), version: 2 }))).toEqual(empty);
  });

  it('tolerates fields that a later release adds', () => {
    const later = {
      ...state,
      region: 'x',
      ledger: [{ ...entry(), backup: 'x' }],
      joint: state.joint.map((config) => ({ ...config, region: 'x' })),
    };
    expect(parseState(JSON.stringify(later))).toEqual(state);
  });

  it('is refused in a version that this release cannot know', () => {
    expect(parseState(JSON.stringify({ ...state, version: 4 }))).toBeNull();
    expect(parseState('{"version":2}')).toBeNull();
    expect(parseState('not even JSON')).toBeNull();
  });
});
