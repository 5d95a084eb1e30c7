/** A leader restarts and leads again in a new term, and dies before it was opened. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import { entry, gone, leaderView, NOW_MS, observation, POLICY, replicaView, serving } from './world';

const counted = { leader: 'p', k: 1, members: ['a'], term: 1 };
const alone = { leader: 'p', k: 0, members: [], term: 2 };

/** `p` stopped cleanly for its settings and is promoted again, alone at first; nothing was acknowledged in term 2. */
const again = serving(['a'], {
  term: 2,
  joint: [counted, alone],
  ledger: [entry(), entry({ term: 2, timeline: null, opened: false })],
  activity: { kind: 'promote', cause: 'SETTINGS_RESTART' },
});

describe('a leader that dies while it leads again', () => {
  it('is replaced by the standby that has every write acknowledged before', () => {
    const decision = decide(again, observation([gone('p'), replicaView(again, 'a')]), NOW_MS, POLICY);
    expect(decision.code).toBe('CANDIDATE_LOST');
    expect(decision.state).toMatchObject({ leader: 'p', joint: [counted], activity: { kind: 'elect' } });
    const elected = decide(decision.state, observation([gone('p'), replicaView(decision.state, 'a')]), NOW_MS, POLICY);
    expect(elected).toMatchObject({ code: 'ELECTED', state: { leader: 'a', term: 3 } });
  });

  it('is waited for when "alone" was also recorded in an earlier, opened term', () => {
    const state = { ...again, joint: [counted, { ...alone, term: 1 }, alone] };
    const decision = decide(state, observation([gone('p'), replicaView(state, 'a')]), NOW_MS, POLICY);
    expect(decision.code).toBe('PROMOTING');
    expect(decision.reason).toContain('start p');
  });

  it('keeps the sync configuration of its earlier term beside the one of the new term', () => {
    const leader = leaderView(again, { done: false, lead: { syncInForce: null } });
    const decision = decide(again, observation([leader, replicaView(again, 'a')]), NOW_MS, POLICY);
    expect(decision.state.joint).toContainEqual(counted);
  });
});
