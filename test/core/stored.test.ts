import { describe, expect, it } from 'vitest';
import { emptyState } from '../../failover/core/state/cluster';
import { parseState, printState } from '../../failover/core/state/stored';
import { entry, serving } from './world';

describe('the stored state', () => {
  const state = serving(['a'], { joint: [{ leader: 'p', k: 1, members: ['a'], term: 1 }] });

  it('comes back as it was stored', () => {
    expect(parseState(printState(state))).toEqual(state);
    expect(parseState(printState(emptyState()))).toEqual(emptyState());
  });

  it('is read as version 1 wrote it', () => {
    const { term: _term, ...config } = state.joint[0] ?? { leader: '', k: 0, members: [] };
    const first = { ...state, version: 1, joint: [config] };
    expect(parseState(JSON.stringify(first))).toEqual({ ...state, joint: [config] });
  });

  it('tolerates fields that a later release adds', () => {
    const later = {
      ...state,
      generation: 3,
      ledger: [{ ...entry(), backup: 'x' }],
      joint: state.joint.map((config) => ({ ...config, region: 'x' })),
    };
    expect(parseState(JSON.stringify(later))).toEqual(state);
  });

  it('is refused in a version that this release cannot know', () => {
    expect(parseState(JSON.stringify({ ...state, version: 3 }))).toBeNull();
    expect(parseState('{"version":2}')).toBeNull();
    expect(parseState('not even JSON')).toBeNull();
  });
});
