/** What it costs to hold clients (S19), to retry streaming often (S20), and to limit logins at a time (S24). */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Settings } from '../../simulator/settings';
import { built, crowd, Tale } from '../scenarios/story';

afterEach(() => {
  vi.restoreAllMocks();
});

async function calm(seed: number, replicas: number): Promise<Tale> {
  const tale = new Tale(await built({ seed, replicas }, [0, 0]));
  await tale.passes(1_500);
  return tale;
}

describe('clients that are held (S19)', () => {
  /**
   * Holds so many clients. `steps`: what all simulated processes did, HAProxy and monitor included, in one second of
   * it.
   */
  async function held(count: number): Promise<{ steps: number; served: number; refused: number; term: unknown }> {
    const tale = await calm(1, 1);
    const { world } = tale;
    const state = () => world.state;
    const term = state()?.term;
    tale.node('primary').pause();
    await world.engine.run(world.engine.nowMs + 5_000, () => world.haproxy.current?.routes().length === 0);
    const seen = crowd(world, count);
    await world.engine.run(world.engine.nowMs + 300);
    const before = world.engine.tasks;
    await world.engine.run(world.engine.nowMs + 1_000);
    const steps = world.engine.tasks - before;
    expect(seen.served).toBe(0);
    tale.node('primary').unpause();
    await world.engine.run(world.engine.nowMs + 20_000, () => seen.served === count);
    const { served, refused } = seen;
    return { steps, served, refused, term: (state()?.term ?? 0) - (term ?? 0) };
  }

  it('cost hardly more when there are twenty times as many, and none of them is refused', async () => {
    const [few, many] = [await held(15), await held(300)];
    expect(few).toMatchObject({ served: 15, refused: 0, term: 0 });
    expect(many).toMatchObject({ served: 300, refused: 0, term: 0 });
    expect(few.steps).toBeGreaterThan(50);
    expect(many.steps / few.steps).toBeLessThan(1.2);
  });
});

describe('a standby that asks for a stream again and again (S20)', () => {
  /** Time from the leader's death until the other replica streams from the new leader, sum over all seeds, ms. */
  async function followsAfter(intervalMs: number | null): Promise<number> {
    const real = Settings.prototype.ms;
    if (intervalMs !== null) {
      vi.spyOn(Settings.prototype, 'ms').mockImplementation(function (this: Settings, name: string) {
        return name === 'wal_retrieve_retry_interval' ? intervalMs : real.call(this, name);
      });
    }
    let sumMs = 0;
    for (let seed = 1; seed <= 6; seed++) {
      const tale = await calm(seed, 2);
      const { engine } = tale.world;
      const sinceMs = engine.nowMs;
      tale.node('primary').kill();
      const others = ['replica-1', 'replica-2'].map((name) => tale.node(name));
      const follows = () => others.some((a) => others.some((b) => a.postgres?.look().receiving === b.name));
      expect(await engine.run(sinceMs + 30_000, follows)).toBe(true);
      sumMs += engine.nowMs - sinceMs;
    }
    vi.restoreAllMocks();
    return sumMs;
  }

  it('streams from the new leader in a fraction of the time that PostgreSQL’s default setting would take', async () => {
    const [shipped, byDefault] = [await followsAfter(null), await followsAfter(5_000)];
    expect(shipped / byDefault).toBeLessThan(0.2);
  });
});

describe('a storm of clients (S24)', () => {
  const CLIENTS = 400;

  /**
   * Lets {@link CLIENTS} clients connect at once. `limit`: connections that HAProxy lets into a node; null: as shipped.
   */
  async function storm(limit: number | null): Promise<{ served: number; turnedAway: number; term: number }> {
    const { world } = await calm(1, 1);
    const term = world.state?.term ?? 0;
    if (limit !== null) world.haproxy.serverConnections = limit;
    const seen = crowd(world, CLIENTS);
    await world.engine.run(world.engine.nowMs + 20_000, () => seen.served === CLIENTS);
    const now = world.state?.term ?? 0;
    return { served: seen.served, turnedAway: world.haproxy.turnedAway, term: now - term };
  }

  it('waits in HAProxy, and PostgreSQL refuses a few that waited too long; without HAProxy’s limit many', async () => {
    const shipped = await storm(null);
    expect(shipped.served + shipped.turnedAway).toBe(CLIENTS);
    expect(shipped.turnedAway).toBeLessThan(CLIENTS / 20);
    expect(shipped.term).toBe(0);
    const without = await storm(CLIENTS);
    expect(without.turnedAway).toBeGreaterThan(CLIENTS / 10);
    expect(without.term).toBe(0);
  });
});
