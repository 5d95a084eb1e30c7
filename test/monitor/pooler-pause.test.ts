import { describe, expect, it } from 'vitest';
import { HOLD_LIMIT_MS } from '../../failover/core/procedures/switchover';
import { type Activity, type ClusterState, emptyState } from '../../failover/core/state/cluster';
import type { HaproxyView } from '../../failover/core/state/observation';
import { AWAY_LIMIT_MS, PAUSE_LIMIT_MS, PoolerPause } from '../../failover/monitor/pooler-pause';

const SERVING: Activity = { kind: 'serving' };
const plan = (stage: 'prepare' | 'hold'): Activity => {
  return { kind: 'preparing', plan: { kind: 'switchover', to: 'b', by: 'person', stage } };
};
const HANDOVER: Activity = { kind: 'handover', candidate: 'b', planned: true };
const PROMOTE: Activity = { kind: 'promote', cause: 'HANDED_OVER' };

function rig() {
  const world = { nowMs: 0, isQuiet: false, wanted: false, leaves: false, let: 0 };
  const view: HaproxyView = {
    ...{ reachable: true, epoch: '1@1', slot: '10.0.0.20', closed: false, keeping: null, clean: true },
  };
  const codes: string[] = [];
  const pooler = {
    pause: (wanted: boolean) => {
      world.wanted = wanted;
    },
    isQuiet: () => world.isQuiet,
    haproxyLeaves: () => world.leaves,
    letHaproxyGo: () => {
      world.leaves = false;
      world.let += 1;
    },
  };
  const log = { write: (_level: string, _subject: string, code: string) => void codes.push(code) };
  const pause = new PoolerPause(pooler, { view: () => view }, { nowMs: () => world.nowMs }, log);
  const step = (activity: Activity): [wanted: boolean, holdsBack: boolean] => {
    const state: ClusterState = { ...emptyState(), leader: 'a', activity };
    const holdsBack = pause.holdsBack(state);
    return [world.wanted, holdsBack];
  };
  return { world, view, step, codes };
}

describe('the pause of the pooler', () => {
  it('begins when new connections would be held, and lasts until the next leader serves', () => {
    const { world, step, codes } = rig();
    expect(step(SERVING)).toEqual([false, false]);
    expect(step(plan('prepare'))).toEqual([false, false]);
    expect(step(plan('hold'))).toEqual([true, true]);
    world.isQuiet = true;
    expect(step(plan('hold'))).toEqual([true, false]);
    expect(step(HANDOVER)).toEqual([true, false]);
    expect(step(PROMOTE)).toEqual([true, false]);
    expect(step(SERVING)).toEqual([false, false]);
    expect(codes).toEqual([]);
  });

  it.each<[string, Activity]>([
    ['a leader whose container is stopped', { kind: 'handover', candidate: 'b' }],
    ['a restart in place', { kind: 'restart' }],
  ])('begins for %s', (_, activity) => {
    const { step } = rig();
    expect(step(activity)).toEqual([true, true]);
  });

  it('is waited for within a limit, below that of the change itself, and then goes on for the others', () => {
    const { world, step, codes } = rig();
    step(plan('hold'));
    world.nowMs = PAUSE_LIMIT_MS - 1;
    expect(step(plan('hold'))).toEqual([true, true]);
    world.nowMs = PAUSE_LIMIT_MS;
    expect(step(plan('hold'))).toEqual([true, false]);
    expect(step(HANDOVER)).toEqual([true, false]);
    expect(codes).toEqual(['POOLER_LATE']);
    expect(PAUSE_LIMIT_MS).toBeLessThan(HOLD_LIMIT_MS);
  });

  it('begins when HAProxy is told to stop, lets it go when nothing runs, and ends when the next one leads', () => {
    const { world, view, step } = rig();
    world.leaves = true;
    expect(step(SERVING)).toEqual([true, false]);
    expect(world.let).toBe(0);
    world.isQuiet = true;
    expect(step(SERVING)).toEqual([true, false]);
    expect(world.let).toBe(1);
    Object.assign(view, { reachable: false, slot: null });
    expect(step(SERVING)).toEqual([true, false]);
    Object.assign(view, { reachable: true, epoch: '7@9' });
    expect(step(SERVING)).toEqual([true, false]);
    Object.assign(view, { slot: '10.0.0.20' });
    expect(step(SERVING)).toEqual([false, false]);
  });

  it('does not wait for a HAProxy that stays away', () => {
    const { world, view, step } = rig();
    world.leaves = true;
    world.isQuiet = true;
    step(SERVING);
    Object.assign(view, { reachable: false, slot: null });
    world.nowMs = AWAY_LIMIT_MS;
    expect(step(SERVING)).toEqual([false, false]);
  });

  it('does not begin in an unplanned change', () => {
    const { step } = rig();
    expect(step({ kind: 'elect', cause: 'LEADER_DEAD' })).toEqual([false, false]);
    expect(step(PROMOTE)).toEqual([false, false]);
    expect(step({ ...HANDOVER, cutOff: true })).toEqual([false, false]);
  });
});
