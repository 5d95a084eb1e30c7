import { afterEach, describe, expect, it } from 'vitest';
import { cluster, type Tale } from '../scenarios/story';

let t: Tale;

afterEach(async () => {
  expect(await t.end()).toEqual([]);
});

const switchover = (to: string | null) => t.answer({ kind: 'switchover', to });

describe('a planned switchover', () => {
  it('gives the lead to the named node, and the old leader follows without rewind or copy', async () => {
    t = await cluster(1);
    expect(await switchover('replica-1')).toMatchObject({ done: true, leader: 'replica-1', term: 2 });
    expect(t.open()).toBe('replica-1');
    await t.plays('writes are acknowledged; primary follows replica-1');
    expect(await switchover(null)).toMatchObject({ done: true, leader: 'primary', term: 3 });
    await t.plays('all is well');
    expect(t.replaced()).toEqual([]);
  });

  it('gives the lead to the requested one of several replicas', async () => {
    t = await cluster(3);
    expect(await switchover('replica-3')).toMatchObject({ done: true, leader: 'replica-3' });
    await t.plays('all nodes are together again; writes are acknowledged');
    expect(t.replaced()).toEqual([]);
  });

  it('is refused with the reason when it is not possible', async () => {
    t = await cluster(1);
    expect(await switchover('primary')).toMatchObject({ done: false, message: 'primary leads already' });
    expect(await switchover('x')).toMatchObject({ done: false, message: 'x is no node of this stack' });
    await t.plays('docker kill replica-1; writes are acknowledged');
    expect(await switchover('replica-1')).toMatchObject({ done: false, leader: 'primary' });
    await t.plays('writes go to primary');
  });

  it.each([
    ['prepare', 'the leader still writes its checkpoint'],
    ['hold', 'new connections are held'],
    ['handover', 'the leader was told to stop'],
  ])('is called off when the candidate dies at %s (%s)', async (step) => {
    t = await cluster(1);
    t.atStep(step, () => t.node('replica-1').kill());
    expect(await switchover('replica-1')).toMatchObject({ done: false, leader: 'primary' });
    await t.plays('writes go to primary; writes are acknowledged; docker start replica-1; all is well');
    expect(t.copied()).toEqual([]);
  });

  it.each(['prepare', 'hold', 'handover', 'promote'])('heals when the leader dies at %s', async (step) => {
    t = await cluster(1);
    t.atStep(step, () => t.node('primary').kill());
    await switchover('replica-1');
    await t.plays('writes go to replica-1; writes are acknowledged; docker start primary; all is well');
  });

  it.each(['prepare', 'hold', 'handover', 'promote'])('goes on when the monitor is killed at %s', async (step) => {
    t = await cluster(2);
    let killed = false;
    t.atStep(step, () => {
      killed = true;
      t.restartMonitor();
    });
    t.asks({ kind: 'switchover', to: 'replica-2' });
    await t.until('the monitor is killed', () => killed);
    await t.plays('all nodes are together again; writes are acknowledged');
  });

  it('is called off when the candidate dies while the leader lets a client finish, and the leader goes on', async () => {
    t = await cluster(1);
    const session = await t.connect('write');
    session?.ask({ kind: 'hold', ms: 60_000 }, () => undefined);
    t.atStep('handover', () => t.world.engine.after(50, null, () => t.node('replica-1').kill()));
    expect(await switchover('replica-1')).toMatchObject({ done: false, leader: 'primary', term: 1 });
    expect(t.open()).toBe('primary');
    await t.plays('writes are acknowledged; docker start replica-1; all is well');
    expect(t.world.state?.term).toBe(1);
  });
});

describe('switchback', () => {
  it('returns the lead to the first declared node once that node has been ready for a while', async () => {
    t = await cluster(1, { switchback: true });
    await t.plays('docker kill primary; writes go to replica-1; writes are acknowledged; docker start primary');
    await t.plays('primary leads again; writes are acknowledged');
    expect(t.replaced()).not.toContain('replica-1');
  });

  it('does nothing when it is off', async () => {
    t = await cluster(1, { switchback: false });
    await switchover('replica-1');
    await t.plays('primary follows replica-1');
    await t.passes(2 * t.world.policy.switchbackAfterMs);
    expect(t.open()).toBe('replica-1');
  });
});

describe('a leader that was removed from the config', () => {
  it('hands over by a planned switchover and is forgotten; no write is lost', async () => {
    t = await cluster(2);
    const { world } = t;
    expect(await switchover('replica-2')).toMatchObject({ done: true, leader: 'replica-2' });
    await t.plays('all nodes are together again');
    world.declared = world.declared.filter(({ name }) => name !== 'replica-2');
    t.restartMonitor();
    await t.until('replica-2 has handed over', () => t.open() !== null && t.open() !== 'replica-2');
    await t.until('it is forgotten', () => world.monitor?.seen?.observation.declared.length === 2);
    expect(Object.keys(world.state?.members ?? {}).sort()).toEqual(['primary', 'replica-1']);
    expect(t.log).toContainEqual(expect.stringMatching(/ LEADER_REMOVED .*hands over/));
    expect(t.log.filter((line) => line.includes(' LEADER_DEAD '))).toEqual([]);
    expect(t.node('replica-2').postgres).toBeNull();
    await t.plays('writes are acknowledged');
  });
});

describe('rebuild', () => {
  it('copies a standby again, twice in one term, and counts it when it streams', async () => {
    t = await cluster(2);
    for (const copies of [['replica-1'], ['replica-1', 'replica-1']]) {
      expect(await t.answer({ kind: 'rebuild', node: 'replica-1' })).toMatchObject({ done: true });
      await t.until('its data is copied', () => t.copied().length === copies.length);
      await t.plays('both replicas are counted');
      expect(t.copied()).toEqual(copies);
    }
    expect(t.world.state?.term).toBe(1);
    await t.plays('writes are acknowledged');
  });

  it('is refused for the leader', async () => {
    t = await cluster(1);
    expect(await t.answer({ kind: 'rebuild', node: 'primary' })).toMatchObject({ done: false });
    await t.plays('writes go to primary');
  });
});
