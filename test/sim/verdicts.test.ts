/** Whole runs of the simulator in which a part is broken on purpose: the run must report the violation by its name. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { SqlView } from '../../failover/keeper/ports';
import { SimNode, SimPostgres } from '../../simulator/node';
import { simulate } from '../../simulator/run';
import { World } from '../../simulator/world';

afterEach(() => {
  vi.restoreAllMocks();
});

/** Returns a function that is true once this oracle has found the cluster healthy, or settled. */
function once(oracle: 'healthy' | 'settled'): () => boolean {
  const real: (this: World) => SimNode | boolean | null = World.prototype[oracle];
  let held = false;
  const spy = vi.spyOn(World.prototype as Record<typeof oracle, (this: World) => SimNode | boolean | null>, oracle);
  spy.mockImplementation(function (this: World) {
    const answer = real.call(this);
    if (answer !== null && answer !== false) held = true;
    return answer;
  });
  return () => held;
}

/** Once `from` is true, a keeper that looks at a standby's PostgreSQL sees a changed view. */
function shows(from: () => boolean, change: (sql: SqlView) => SqlView, streamImpossible: string | null = null): void {
  const real = SimPostgres.prototype.observe;
  vi.spyOn(SimPostgres.prototype, 'observe').mockImplementation(async function (this: SimPostgres) {
    const view = await real.call(this);
    if (!from() || view.sql === null || !view.sql.inRecovery) return view;
    return { ...view, sql: change(view.sql), streamImpossible: streamImpossible ?? view.streamImpossible };
  });
}

describe('a run', () => {
  const violations = async (fault = 'switchover') =>
    (await simulate({ seed: 1, replicas: 1, faults: [fault] })).violations;

  it('NOT BUILT: no node can be promoted', async () => {
    vi.spyOn(SimPostgres.prototype, 'promote').mockRejectedValue(new Error('never'));
    expect(await violations('kill')).toEqual([expect.stringMatching(/^NOT BUILT: /)]);
  });

  it('NO WAY OUT: stopped nodes never start again, also not by the command that the monitor names', async () => {
    const started = new Set<SimNode>();
    const real = SimNode.prototype.start;
    vi.spyOn(SimNode.prototype, 'start').mockImplementation(function (this: SimNode) {
      if (!started.has(this)) real.call(this);
      started.add(this);
    });
    expect(await violations('killLeader')).toEqual([expect.stringMatching(/^NO WAY OUT: .*\(after start /)]);
  });

  it('NOT HEALED: the cluster serves, but is never whole again', async () => {
    const real = World.prototype.healthy;
    let built = false;
    vi.spyOn(World.prototype, 'healthy').mockImplementation(function (this: World) {
      if (built) return null;
      const node = real.call(this);
      built = node !== null;
      return node;
    });
    expect(await violations()).toEqual([expect.stringMatching(/^NOT HEALED: /)]);
  });

  it('UNSTEADY: a leader is replaced although the cluster is healthy', async () => {
    const settled = once('settled');
    vi.spyOn(SimPostgres.prototype, 'heartbeat').mockImplementation(() => ({
      count: 1,
      ageMs: settled() ? 5_000 : 0,
    }));
    shows(settled, (sql) => ({ ...sql, heartbeatSeen: null }));
    expect(await violations()).toContainEqual(expect.stringMatching(/^UNSTEADY: /));
  });

  it('NEEDLESS COPY: a standby that streams is copied', async () => {
    shows(once('healthy'), (sql) => sql, 'a message that a client wrote into the log');
    expect(await violations()).toContainEqual(expect.stringMatching(/^NEEDLESS COPY: /));
  });

  it('NOT IDENTICAL: a node never gets all data', async () => {
    vi.spyOn(World.prototype, 'identical').mockReturnValue(false);
    expect(await violations()).toEqual([expect.stringMatching(/^NOT IDENTICAL: /)]);
  });

  it('SETTINGS NOT IN FORCE: a node never gets the new settings', async () => {
    vi.spyOn(World.prototype, 'settled').mockReturnValue(false);
    expect(await violations()).toEqual([expect.stringMatching(/^SETTINGS NOT IN FORCE: /)]);
  });

  it('reports an exception of shipped code', async () => {
    vi.spyOn(World.prototype, 'healthy').mockImplementation(() => {
      throw new Error('a defect');
    });
    expect(await violations()).toEqual([expect.stringMatching(/^the run broke: .*a defect/)]);
  });
});
