import { afterEach, describe, expect, it } from 'vitest';
import { planOf } from '../../failover/core/state/cluster';
import { parseState } from '../../failover/core/state/stored';
import { restartMonitor, World } from './fakes';

let world = new World([]);

afterEach(async () => {
  await world.end();
  expect(world.broken).toEqual([]);
});

async function cluster(names: string[], policy = {}): Promise<void> {
  world = new World(names);
  await world.start(policy);
  await world.until('a healthy cluster', () => world.healthy() && world.monitor?.decision?.code === 'STEADY');
  for (let i = 0; i < 5; i++) expect(world.write()).toBe(true);
}

/** Calls `then` just before a state that is in this step is stored. */
function atStep(step: string, then: () => void): void {
  const store = world.monitor?.store;
  if (store === undefined) throw new Error('no store');
  let reached = false;
  store.onSave = (text) => {
    const state = parseState(text);
    if (reached || state === null || (planOf(state)?.stage ?? state.activity.kind) !== step) return;
    reached = true;
    then();
  };
}

describe('a planned switchover', () => {
  it('gives the lead to the named node, and the old leader follows without rewind or copy', async () => {
    await cluster(['p', 'a']);
    expect(await world.switchover('a')).toMatchObject({ done: true, leader: 'a', term: 2 });
    expect(world.serving('a')).toBe(true);
    expect(world.write()).toBe(true);
    await world.until('p streams and is counted', () => world.healthy());
    expect(world.node('p')).toMatchObject({ copies: 0, rewinds: 0, postgres: 'standby' });
    expect(world.lost()).toBe(0);
    expect(await world.switchover(null)).toMatchObject({ done: true, leader: 'p', term: 3 });
    await world.until('a is back', () => world.healthy());
    expect(world.lost()).toBe(0);
  });

  it('gives the lead to the requested one of several replicas', async () => {
    await cluster(['p', 'a', 'b', 'c']);
    expect(await world.switchover('c')).toMatchObject({ done: true, leader: 'c' });
    await world.until('the other nodes follow', () => world.healthy());
    expect(['p', 'a', 'b'].map((n) => world.node(n).rewinds + world.node(n).copies)).toEqual([0, 1, 1]);
    expect(world.write()).toBe(true);
    expect(world.lost()).toBe(0);
  });

  it('is refused with the reason when it is not possible', async () => {
    await cluster(['p', 'a']);
    expect(await world.switchover('p')).toMatchObject({ done: false, message: 'p leads already' });
    expect(await world.switchover('x')).toMatchObject({ done: false, message: 'x is no node of this stack' });
    world.node('a').kill();
    await world.until('p is alone', () => world.write());
    expect(await world.switchover('a')).toMatchObject({ done: false, leader: 'p' });
    expect(world.serving('p')).toBe(true);
  });

  it.each([
    ['prepare', 'the leader still writes its checkpoint'],
    ['hold', 'new connections are held'],
    ['handover', 'the leader was told to stop'],
  ])('is called off when the candidate dies at %s (%s)', async (step) => {
    await cluster(['p', 'a']);
    atStep(step, () => world.node('a').kill());
    expect(await world.switchover('a')).toMatchObject({ done: false, leader: 'p' });
    await world.until('p serves', () => world.serving('p') && world.write());
    world.node('a').start();
    await world.until('a is back', () => world.healthy());
    expect(world.node('a').copies).toBe(1);
    expect(world.lost()).toBe(0);
  });

  it.each(['prepare', 'hold', 'handover', 'promote'])('heals when the leader dies at %s', async (step) => {
    await cluster(['p', 'a']);
    atStep(step, () => world.node('p').kill());
    await world.switchover('a');
    await world.until('a serves', () => world.serving('a') && world.write());
    world.node('p').start();
    await world.until('p is back', () => world.healthy());
    expect(world.lost()).toBe(0);
  });

  it.each(['prepare', 'hold', 'handover', 'promote'])('goes on when the monitor is killed at %s', async (step) => {
    await cluster(['p', 'a', 'b']);
    let killed = false;
    atStep(step, () => {
      killed = true;
      throw new Error('killed');
    });
    world.switchover('b').catch(() => undefined);
    await world.until('the step is reached', () => killed);
    await restartMonitor(world);
    await world.until('a leader serves and the other nodes follow', () => world.healthy() && world.write(), 12_000);
    expect(world.lost()).toBe(0);
  });

  it('of a leader that does not stop is called off', async () => {
    await cluster(['p', 'a']);
    world.node('p').refusesToStop = true;
    atStep('handover', () => setTimeout(() => world.node('a').kill(), 50));
    expect(await world.switchover('a')).toMatchObject({ done: false, leader: 'p', term: 1 });
    expect(world.serving('p')).toBe(true);
  });
});

describe('switchback', () => {
  const policy = { switchback: true, switchbackAfterMs: 300 };

  it('returns the lead to the first declared node once that node has been ready for a while', async () => {
    await cluster(['p', 'a'], policy);
    world.node('p').kill();
    await world.until('a serves', () => world.serving('a') && world.write());
    world.node('p').start();
    await world.until('p leads again', () => world.serving('p') && world.write());
    await world.until('a follows', () => world.healthy());
    expect(world.node('a')).toMatchObject({ copies: 1, rewinds: 0 });
    expect(world.lost()).toBe(0);
  });

  it('does nothing when it is off', async () => {
    await cluster(['p', 'a'], { ...policy, switchback: false });
    await world.switchover('a');
    await world.until('p follows', () => world.healthy());
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(world.serving('a')).toBe(true);
  });
});

describe('a leader that was removed from the config', () => {
  it('hands over by a planned switchover and is forgotten; no write is lost', async () => {
    await cluster(['p', 'a', 'b']);
    expect(await world.switchover('b')).toMatchObject({ done: true, leader: 'b' });
    await world.until('the other nodes follow b', () => world.follow('b'));
    world.declared = ['p', 'a'];
    await restartMonitor(world);
    await world.until('b has handed over', () => world.serving('p') || world.serving('a'));
    await world.until('b is forgotten', () => world.monitor?.observation?.declared.length === 2);
    expect(world.monitor?.decision?.state.members).toHaveProperty('p');
    expect(world.monitor?.decision?.state.members).not.toHaveProperty('b');
    expect(world.log.some((line) => line.includes('LEADER_REMOVED') && line.includes('hands over'))).toBe(true);
    expect(world.log.some((line) => line.includes('LEADER_DEAD'))).toBe(false);
    expect(world.node('b').postgres).toBe('stopped');
    expect(world.write()).toBe(true);
    expect(world.lost()).toBe(0);
  });
});

describe('a pause', () => {
  const pause = (forMs: number | null) => ({
    kind: 'pause' as const,
    pause: { reason: 'new disks', sinceWallMs: Date.now(), untilWallMs: forMs === null ? null : Date.now() + forMs },
  });
  const code = () => world.monitor?.decision?.code;

  it('keeps the dead leader recorded, also after a restart of the monitor, until a person resumes', async () => {
    await cluster(['p', 'a']);
    expect(await world.ask(pause(null))).toMatchObject({ done: true });
    await restartMonitor(world);
    world.node('p').kill();
    await world.until('it is said', () => code() === 'PAUSED');
    expect(world.node('a').postgres).toBe('standby');
    expect(await world.ask({ kind: 'resume', by: 'person' })).toMatchObject({ done: true });
    await world.until('a serves', () => world.serving('a') && world.write());
    expect(await world.ask({ kind: 'resume', by: 'person' })).toMatchObject({
      done: false,
      message: 'nothing is paused',
    });
    expect(world.lost()).toBe(0);
  });

  it('ends at its time limit', async () => {
    await cluster(['p', 'a']);
    await world.ask(pause(300));
    world.node('p').kill();
    await world.until('it is paused', () => code() === 'PAUSED');
    await world.until('a serves', () => world.serving('a') && world.write());
    expect(world.log.some((line) => line.includes('PAUSE_ENDED') && line.includes('come to its end'))).toBe(true);
    expect(world.lost()).toBe(0);
  });

  it('allows a person’s promote without `acceptDataLoss` when nothing would be lost', async () => {
    await cluster(['p', 'a']);
    await world.ask(pause(null));
    world.node('p').kill();
    await world.until('it is paused', () => code() === 'PAUSED');
    const answer = await world.ask({ kind: 'promote', to: 'a', acceptDataLoss: false });
    expect(answer).toMatchObject({ done: true, leader: 'a' });
    expect(world.lost()).toBe(0);
    world.node('p').start();
    await world.until('p follows', () => world.healthy());
  });

  it('lets a leader that restarts lead again', async () => {
    await cluster(['p', 'a']);
    await world.ask(pause(null));
    world.node('p').kill();
    world.node('p').start();
    await world.until('p leads again', () => world.serving('p') && world.write());
    await world.until('a follows', () => world.healthy());
    expect(world.lost()).toBe(0);
  });
});

describe('rebuild', () => {
  it('copies a standby again, twice in one term, and counts it when it streams', async () => {
    await cluster(['p', 'a', 'b']);
    for (const copies of [2, 3]) {
      const before = world.node('a').dataId;
      expect(await world.ask({ kind: 'rebuild', node: 'a' })).toMatchObject({ done: true });
      await world.until('a has new data', () => world.node('a').dataId !== before && world.node('a').copies === copies);
      await world.until('a is counted', () => world.follow('p') && world.healthy());
    }
    expect(world.node('b').copies).toBe(1);
    expect(world.monitor?.decision?.state.term).toBe(1);
    expect(world.write()).toBe(true);
    expect(world.lost()).toBe(0);
  });

  it('is refused for the leader', async () => {
    await cluster(['p', 'a']);
    expect(await world.ask({ kind: 'rebuild', node: 'p' })).toMatchObject({ done: false });
    expect(world.serving('p')).toBe(true);
  });
});
