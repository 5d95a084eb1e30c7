import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import { mayReturn, newWatch, nextWatch } from '../../failover/core/facts/watch';
import type { ClusterState } from '../../failover/core/state/cluster';
import type { Observation, Watch } from '../../failover/core/state/observation';
import { parseState, printState } from '../../failover/core/state/stored';
import { leaderView, NOW_MS, observation, POLICY, replicaView, serving, situation } from './world';

const policy = { ...POLICY, switchback: true, switchbackAfterMs: 1_000 };

/** `a` leads; `p`, declared first, is its standby. */
const away = serving(['a'], {
  leader: 'a',
  term: 2,
  joint: [{ leader: 'a', k: 1, members: ['p'] }],
  ledger: [{ term: 2, node: 'a', dataId: '1:a', timeline: 1, forkLsn: null, opened: true }],
  orders: {
    a: { term: 2, seq: 9, target: { kind: 'lead', sync: { leader: 'a', k: 1, members: ['p'] } } },
    p: { term: 2, seq: 9, target: { kind: 'follow', leader: 'a', method: 'stream' } },
  },
});

const HAPROXY = { reachable: true, epoch: '1@1', slot: '10.0.0.21', closed: false, keeping: '10.0.0.21', clean: true };

/** The decision when `p` leads and the watch has this value. */
const run = (state: ClusterState, watch: Watch, nowMs: number) =>
  decide(state, observation([leaderView(state), replicaView(state, 'a')], { watch }), nowMs, policy);

function seen(state: ClusterState, crashes = 0): Observation {
  const standby = replicaView(state, 'p', { postgres: { streamingFrom: 'a', crashes } });
  return observation([standby, leaderView(state)], {
    certificate: { node: 'a', term: 2, epoch: '1@1' },
  });
}

/**
 * The next watch. A test looks at moments that are seconds apart, the loop every few milliseconds. So the times of
 * acknowledgements are left out: here they would look too old.
 */
const next = (before: Watch, state: ClusterState, nowMs: number, crashes = 0) =>
  nextWatch(situation(state, { ...seen(state, crashes), watch: { ...before, acknowledged: {} } }, nowMs, policy));

const returns = (watch: Watch, nowMs: number) => mayReturn(situation(away, { ...seen(away), watch }, nowMs, policy));

const decideIn = (state: ClusterState, watch: Watch, nowMs: number) =>
  decide(state, { ...seen(state), watch, haproxy: HAPROXY }, nowMs, policy);

describe('the wait before a switchback', () => {
  it('begins when the preferred node is a counted, caught-up standby, and again from zero when it is not', () => {
    const first = next(newWatch(NOW_MS), away, NOW_MS);
    expect(first.preferredSinceMs).toBe(NOW_MS);
    expect(returns(first, NOW_MS + 999)).toBe(false);
    expect(returns(next(first, away, NOW_MS + 1_000), NOW_MS + 1_000)).toBe(true);
    const crashed = next(first, away, NOW_MS + 500, 1);
    expect(crashed.preferredSinceMs).toBeNull();
    expect(next(crashed, away, NOW_MS + 600).preferredSinceMs).toBe(NOW_MS + 600);
  });

  it('does not run while switchback is off', () => {
    const watch = nextWatch(situation(away, seen(away)));
    expect(mayReturn(situation(away, { ...seen(away), watch }, NOW_MS + 1e9))).toBe(false);
  });

  it('doubles with each switchback that was begun, also after a restart of the monitor (S25)', () => {
    let state: ClusterState = away;
    let nowMs = NOW_MS;
    for (const waitMs of [1_000, 2_000, 4_000]) {
      // A restarted monitor knows only the stored state, so each round begins with a new watch.
      const watch = next(newWatch(nowMs), state, nowMs);
      expect(decideIn(state, next(watch, state, nowMs + waitMs - 1), nowMs + waitMs - 1).code).toBe('STEADY');
      nowMs += waitMs;
      const begun = decideIn(state, next(watch, state, nowMs), nowMs);
      expect(begun.code).toBe('SWITCHBACK');
      const stored = parseState(printState(begun.state)) ?? begun.state;
      state = { ...stored, activity: { kind: 'serving' }, orders: away.orders };
    }
    expect(state.switchbacks).toBe(3);
  });

  it('is back at its shortest once the preferred node has kept the lead for two stable periods', () => {
    const home = serving(['a'], { switchbacks: 2 });
    const led = next(newWatch(NOW_MS), home, NOW_MS);
    expect(led.preferredLedSinceMs).toBe(NOW_MS);
    expect(run(home, led, NOW_MS + 1_999).code).toBe('STEADY');
    const kept = run(home, next(led, home, NOW_MS + 2_000), NOW_MS + 2_000);
    expect(kept.code).toBe('SWITCHBACK_KEPT');
    expect(kept.state.switchbacks).toBeUndefined();
    expect(next(led, away, NOW_MS + 500).preferredLedSinceMs).toBeNull();
  });

  it('is measured from the end of the last attempt', () => {
    const plan = { kind: 'switchover', to: 'p', by: 'switchback', stage: 'hold' } as const;
    const returning: ClusterState = { ...away, activity: { kind: 'preparing', plan } };
    const tried = next(next(newWatch(NOW_MS), away, NOW_MS), returning, NOW_MS + 900);
    const after = next(tried, away, NOW_MS + 901);
    expect(returns({ ...after, preferredSinceMs: NOW_MS }, NOW_MS + 1_899)).toBe(false);
    expect(returns({ ...after, preferredSinceMs: NOW_MS }, NOW_MS + 1_900)).toBe(true);
  });
});

describe('a counted standby that acknowledges nothing more, although leader and standby report streaming', () => {
  const state = serving(['a']);
  const at = (flushLsn: string, leaderLsn: string, silentMs = 0) => {
    const standby = { name: 'a', state: 'streaming', syncState: 'quorum', flushLsn, replayLsn: flushLsn };
    const leader = leaderView(state, { lead: { flushLsn: leaderLsn, standbys: [standby] } }, { silentMs });
    return observation([leader, replicaView(state, 'a')]);
  };
  const play = (...looks: [number, Observation][]) =>
    looks.reduce((watch, [ms, o]) => nextWatch(situation(state, { ...o, watch }, NOW_MS + ms)), newWatch(NOW_MS));
  const codeOf = (watch: Watch, ms: number, o: Observation) =>
    decide(state, { ...o, watch: nextWatch(situation(state, { ...o, watch }, NOW_MS + ms)) }, NOW_MS + ms, POLICY).code;
  const limitMs = POLICY.hangTimeoutMs;

  it('is no longer counted after hangTimeout without an acknowledgement', () => {
    const behind = at('0/5000', '0/6000');
    const watch = play([0, behind]);
    expect(codeOf(watch, limitMs - 1, behind)).toBe('STEADY');
    expect(codeOf(watch, limitMs, behind)).toBe('SYNC_CHANGE');
    expect(codeOf(watch, limitMs, at('0/5800', '0/6000'))).toBe('STEADY');
  });

  it('stays counted while there is nothing to acknowledge, however long that takes', () => {
    const level = at('0/5000', '0/5000');
    expect(codeOf(play([0, level]), 10 * limitMs, level)).toBe('STEADY');
    expect(codeOf(play([0, level], [10 * limitMs, level]), 10 * limitMs + 1, at('0/5000', '0/6000'))).toBe('STEADY');
  });

  it('stays counted while the leader itself does not answer', () => {
    const behind = at('0/5000', '0/6000');
    const silent = at('0/5000', '0/6000', limitMs / 4);
    expect(codeOf(play([0, behind], [limitMs - 1, silent]), limitMs + 1, behind)).toBe('STEADY');
  });
});
