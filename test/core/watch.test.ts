import { describe, expect, it } from 'vitest';
import type { ClusterState, Observation, Watch } from '../../failover/core/types';
import { mayReturn, newWatch, nextWatch } from '../../failover/core/watch';
import { leaderView, NOW_MS, observation, POLICY, replicaView, serving } from './world';

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

function seen(state: ClusterState, crashes = 0): Observation {
  const standby = replicaView(state, 'p', { postgres: { streamingFrom: 'a', crashes } });
  return observation([standby, leaderView(state)], {
    certificate: { node: 'a', term: 2, epoch: '1@1' },
  });
}

const next = (before: Watch, state: ClusterState, nowMs: number, crashes = 0) =>
  nextWatch(before, state, seen(state, crashes), nowMs, policy);

describe('the wait before a switchback', () => {
  it('begins when the preferred node is a counted, caught-up standby, and anew when it is not', () => {
    const first = next(newWatch(NOW_MS), away, NOW_MS);
    expect(first.preferredSinceMs).toBe(NOW_MS);
    expect(mayReturn(first, NOW_MS + 999, policy)).toBe(false);
    expect(mayReturn(next(first, away, NOW_MS + 1_000), NOW_MS + 1_000, policy)).toBe(true);
    const crashed = next(first, away, NOW_MS + 500, 1);
    expect(crashed.preferredSinceMs).toBeNull();
    expect(next(crashed, away, NOW_MS + 600).preferredSinceMs).toBe(NOW_MS + 600);
  });

  it('does not run while switchback is off', () => {
    const watch = nextWatch(newWatch(NOW_MS), away, seen(away), NOW_MS, POLICY);
    expect(mayReturn(watch, NOW_MS + 1e9, POLICY)).toBe(false);
  });

  it('doubles after each failure (S25)', () => {
    let watch = next(newWatch(NOW_MS), away, NOW_MS);
    let nowMs = NOW_MS;
    for (const waitMs of [1_000, 2_000, 4_000]) {
      expect(mayReturn(watch, nowMs + waitMs - 1, policy)).toBe(false);
      nowMs += waitMs;
      expect(mayReturn(watch, nowMs, policy)).toBe(true);
      watch = next(watch, { ...away, switchover: { to: 'p', by: 'switchback', stage: 'prepare' } }, nowMs);
      watch = next(watch, away, nowMs);
    }
  });

  it('counts it as a failure when the lead is soon lost again, and forgets failures when it was kept', () => {
    const returning = { ...away, switchover: { to: 'p', by: 'switchback' as const, stage: 'hold' as const } };
    const home = serving(['a']);
    const led = next(next(newWatch(NOW_MS), returning, NOW_MS), home, NOW_MS + 10);
    expect(led.switchback).toMatchObject({ underWay: false, ledAtMs: NOW_MS + 10, failures: 0 });
    expect(next(led, away, NOW_MS + 500).switchback.failures).toBe(1);
    expect(next(led, away, NOW_MS + 5_000).switchback.failures).toBe(0);
  });
});
