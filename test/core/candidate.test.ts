import { describe, expect, it } from 'vitest';
import { canLeadAgain, choose, quorum } from '../../failover/core/facts/candidates';
import type { ClusterState } from '../../failover/core/state/cluster';
import { entry, gone, observation, replicaView, serving, situation, status, view } from './world';

/** The leader `p` is dead, and each named node has promised in the state's term and reported this position. */
function frozen(state: ClusterState, positions: Record<string, string | null>) {
  const views = Object.entries(positions).map(([name, lsn]) =>
    view(name, {
      status: status(name, {
        accepted: { incarnation: 1, term: state.term, seq: 11, kind: 'freeze' },
        postgres: { lsn, streamingFrom: null },
      }),
    }),
  );
  return observation([gone('p'), ...views]);
}

describe('the number of promises that an election needs', () => {
  it('is N-k+1; no number of promises is enough when the leader was alone', () => {
    expect(quorum({ leader: 'p', k: 1, members: ['a'] })).toBe(1);
    expect(quorum({ leader: 'p', k: 1, members: ['a', 'b', 'c'] })).toBe(3);
    expect(quorum({ leader: 'p', k: 2, members: ['a', 'b', 'c'] })).toBe(2);
    expect(quorum({ leader: 'p', k: 0, members: [] })).toBeNull();
  });
});

describe('the choice of a candidate', () => {
  it('takes the only counted replica without a freeze round', () => {
    const state = serving(['a']);
    expect(choose(situation(state, observation([gone('p'), replicaView(state, 'a')])), false)).toEqual({
      kind: 'candidate',
      node: 'a',
    });
  });

  it('takes no node when the leader was recorded as alone, and names the leader', () => {
    const state = serving([], { members: { p: '1:p', a: '1:a' } });
    const choice = choose(situation(state, observation([gone('p'), view('a')])), false);
    expect(choice).toEqual({ kind: 'none', missing: 'only p has the newest data; start p' });
  });

  it('takes no node when one of two joint configurations is not satisfied', () => {
    const state = serving(['a'], {
      joint: [
        { leader: 'p', k: 1, members: ['a'] },
        { leader: 'p', k: 0, members: [] },
      ],
    });
    expect(choose(situation(state, observation([gone('p'), replicaView(state, 'a')])), false).kind).toBe('none');
  });

  it('takes no node that has not reached the position where the newest timeline began (S3)', () => {
    const state = serving(['a'], { ledger: [entry({ forkLsn: '0/4000' })] });
    const at = (lsn: string) => observation([gone('p'), replicaView(state, 'a', { postgres: { lsn } })]);
    expect(choose(situation(state, at('0/4000')), false)).toEqual({ kind: 'candidate', node: 'a' });
    expect(choose(situation(state, at('0/3FFF')), false)).toMatchObject({
      kind: 'none',
      missing: expect.stringContaining('a has only reached 0/3FFF on timeline 1'),
    });
  });

  it('asks for promises where several replicas exist, and uses no position that was reported before the promise (S1)', () => {
    const state = serving(['a', 'b']);
    const seen = observation([gone('p'), replicaView(state, 'a'), replicaView(state, 'b')]);
    expect(choose(situation(state, seen), false)).toEqual({ kind: 'freeze', nodes: ['a', 'b'] });
  });

  it('takes the most advanced of the nodes that have promised', () => {
    const state = serving(['a', 'b'], { term: 2 });
    const choice = choose(situation(state, frozen(state, { a: '0/5000', b: '0/9000' })), true);
    expect(choice).toEqual({ kind: 'candidate', node: 'b' });
  });

  it('takes no node while one of two members of ANY 1 is missing', () => {
    const state = serving(['a', 'b'], { term: 2 });
    const choice = choose(situation(state, frozen(state, { a: '0/5000' })), true);
    expect(choice).toEqual({ kind: 'none', missing: 'the newest data is on p or on a and b; start p or b' });
  });

  it('counts no promise of an older term and no unknown position (S6)', () => {
    const state = serving(['a', 'b'], { term: 3 });
    const old = frozen({ ...state, term: 2 }, { a: '0/5000', b: '0/9000' });
    expect(choose(situation(state, old), true).kind).toBe('freeze');
    expect(choose(situation(state, frozen(state, { a: '0/5000', b: null })), true).kind).toBe('freeze');
  });

  it.each([
    ['it is on another timeline (S3)', { postgres: { timeline: 2 } }],
    ['its data directory is another one (S10)', { dataId: '1:new' }],
    ['it has an unfinished promotion (S3)', { promotingTerm: 2 }],
    ['it has an unfinished rewind (S12)', { rewinding: true }],
    ['its PostgreSQL crashed three times in a minute (S8)', { postgres: { crashes: 3 } }],
    ['it is being stopped itself (S18)', { stopping: true }],
  ])('leaves a replica out when %s', (_why, part) => {
    const state = serving(['a']);
    expect(choose(situation(state, observation([gone('p'), replicaView(state, 'a', part)])), false).kind).toBe('none');
  });

  it('leaves out a replica that was recorded as the leader and never opened (S3)', () => {
    const state = serving(['a'], { ledger: [entry(), entry({ term: 2, node: 'a', dataId: '1:a', opened: false })] });
    expect(choose(situation(state, observation([gone('p'), replicaView(state, 'a')])), false).kind).toBe('none');
  });
});

describe('the old leader', () => {
  const back = (part = {}) => observation([view('p', { status: status('p', part) }), view('a')]);

  it('may lead again with its recorded data, whichever other nodes are missing', () => {
    const state = serving(['a']);
    expect(canLeadAgain(situation(state, back({ postgres: { state: 'stopped' } })))).toBe(true);
  });

  it('may not with other data, an unfinished rewind, or a configuration of another leader', () => {
    const state = serving(['a']);
    expect(canLeadAgain(situation(state, back({ dataId: '1:new' })))).toBe(false);
    expect(canLeadAgain(situation(state, back({ rewinding: true })))).toBe(false);
    const joint = [...state.joint, { leader: 'a', k: 0, members: [] }];
    expect(canLeadAgain(situation({ ...state, joint }, back()))).toBe(false);
  });
});
