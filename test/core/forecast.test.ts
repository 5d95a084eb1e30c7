import { describe, expect, it } from 'vitest';
import { foresee, ifLeaderDied } from '../../failover/core/forecast';
import type { ClusterState, Policy } from '../../failover/core/state/cluster';
import type { Observation } from '../../failover/core/state/observation';
import { gone, leaderView, NOW_MS, observation, POLICY, replicaView, serving, situation } from './world';

const PAUSE = { reason: 'new disks', sinceWallMs: 0, untilWallMs: Date.parse('2026-12-01T10:00:00Z') };
const seen = (state: ClusterState, ...names: string[]) =>
  observation([leaderView(state), ...names.map((n) => replicaView(state, n))]);
const forecast = (state: ClusterState, seenNow: Observation, policy: Partial<Policy> = {}) =>
  ifLeaderDied(situation(state, seenNow, NOW_MS, { ...POLICY, ...policy }));

describe('if the leader died now', () => {
  it('names the counted standby, and nothing is lost', () => {
    const state = serving(['a']);
    expect(forecast(state, seen(state, 'a'))).toEqual({
      sentence: 'a takes over, and nothing that was acknowledged is lost',
      takesOver: 'a',
      loss: 'none',
    });
  });

  it('names the most advanced of several standbys, and says that only their promises will decide', () => {
    const state = serving(['a', 'b']);
    const both = seen(state, 'a', 'b');
    expect(forecast(state, both)).toMatchObject({ takesOver: 'a', loss: 'none' });
    expect(forecast(state, both).sentence).toContain('the most advanced of a and b takes over, now a');
  });

  it('names no node when the leader is alone, and says that the leader’s newest writes may be lost', () => {
    const state = serving([]);
    expect(forecast(state, seen(state))).toMatchObject({ takesOver: null, loss: 'possible' });
    expect(forecast(state, seen(state)).sentence).toContain('only p has the newest data; start p');
  });

  it('names no node and no loss while the counted standby is off', () => {
    const state = serving(['a']);
    const off = observation([leaderView(state), gone('a')]);
    expect(forecast(state, off)).toMatchObject({ takesOver: null, loss: 'none' });
  });

  it('reports a possible loss in asynchronous mode', () => {
    const state = { ...serving([]), members: { p: '1:p', a: '1:a' } };
    const known = { ...seen(state), watch: { ...seen(state).watch, newest: { node: 'p', term: 1, lsn: '0/5000' } } };
    const asynchronous = { ...known, ...seen({ ...state, orders: serving(['a']).orders }, 'a'), watch: known.watch };
    expect(forecast(state, asynchronous, { syncMode: 'asynchronous' })).toMatchObject({
      takesOver: 'a',
      loss: 'possible',
    });
  });

  it('names no node in a pause, with the pause’s reason and end, and none in observe mode', () => {
    const paused = { ...serving(['a']), pause: PAUSE };
    expect(forecast(paused, seen(paused, 'a'))).toMatchObject({ takesOver: null, loss: 'none' });
    expect(forecast(paused, seen(paused, 'a')).sentence).toBe(
      'no node takes over, because automatic changes of leader are paused until 2026-12-01T10:00:00Z (new disks): writes wait; without that a would',
    );
    const state = serving(['a']);
    const observing = forecast(state, seen(state, 'a'), { failoverMode: 'observe' });
    expect(observing).toMatchObject({ takesOver: null, loss: 'none' });
    expect(observing.sentence).toContain('failoverMode is observe');
  });

  it('is unknown during a change of leader and during an adoption', () => {
    const changing = { ...serving(['a']), activity: { kind: 'promote', cause: 'LEADER_DEAD' } as const };
    expect(forecast(changing, seen(changing, 'a'))).toMatchObject({ takesOver: null, loss: 'unknown' });
    expect(forecast({ ...serving(['a']), adopting: true }, seen(serving(['a']), 'a')).loss).toBe('unknown');
  });
});

describe('what a request would do', () => {
  const state = serving(['a']);
  const ask = (request: Parameters<typeof foresee>[1], from: ClusterState = state, policy: Partial<Policy> = {}) =>
    foresee(situation(from, seen(from, 'a'), NOW_MS, { ...POLICY, ...policy }), request);

  it('is said in one sentence, or the reason why the request is refused', () => {
    expect(ask({ kind: 'switchover', to: null })).toMatchObject({
      done: true,
      message: expect.stringContaining('p would hand over to a'),
    });
    const cuts = ask({ kind: 'switchover', to: null }).message;
    expect(cuts).toContain('(older than a second now: none)');
    expect(cuts).toContain('the read sessions on a end; unlogged tables are emptied');
    expect(ask({ kind: 'switchover', to: 'p' })).toEqual({ done: false, message: 'p leads already' });
    expect(ask({ kind: 'promote', to: 'a', acceptDataLoss: true })).toMatchObject({ done: false });
    expect(ask({ kind: 'pause', pause: PAUSE }).message).toContain('until 2026-12-01T10:00:00Z');
    expect(ask({ kind: 'resume', by: 'person' })).toEqual({ done: false, message: 'nothing is paused' });
    expect(ask({ kind: 'resume', by: 'person' }, { ...state, pause: PAUSE })).toMatchObject({ done: true });
    expect(ask({ kind: 'rebuild', node: 'a' }).message).toContain('p is alone, and no node could take over');
    expect(ask({ kind: 'rebuild', node: 'p' })).toMatchObject({
      done: false,
      message: expect.stringContaining('p leads'),
    });
    expect(ask({ kind: 'rebuild', node: 'a' }, state, { onNoReplica: 'block' })).toMatchObject({ done: false });
  });

  it.each([
    [1, '(older than a second now: 1, the oldest has run for 12 s)'],
    [7, '(older than a second now: 7, the oldest has run for 12 s)'],
  ])('says how many transactions it would roll back: %i', (oldTransactions, words) => {
    const lead = { ...leaderView(state).status?.lead, oldTransactionMs: 12_300, oldTransactions };
    const busy = observation([leaderView(state, { lead }), replicaView(state, 'a')]);
    const { message } = foresee(situation(state, busy, NOW_MS, POLICY), { kind: 'switchover', to: 'a' });
    expect(message).toContain(words);
  });
});
