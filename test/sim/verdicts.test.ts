/** The simulator's verdict on a whole run, with something broken on purpose: each is reported by its name. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { SimNode, SimPostgres } from './node';
import { simulate } from './run';
import { World } from './world';

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a run', () => {
  it('NOT BUILT: nobody is ever promoted', async () => {
    vi.spyOn(SimPostgres.prototype, 'promote').mockRejectedValue(new Error('never'));
    const { violations } = await simulate({ seed: 1, replicas: 1, faults: ['kill'] });
    expect(violations).toEqual([expect.stringMatching(/^NOT BUILT: /)]);
  });

  it('NOT HEALED: nodes that were stopped never come up again', async () => {
    const started = new Set<SimNode>();
    const real = SimNode.prototype.start;
    vi.spyOn(SimNode.prototype, 'start').mockImplementation(function (this: SimNode) {
      if (!started.has(this)) real.call(this);
      started.add(this);
    });
    const { violations } = await simulate({ seed: 1, replicas: 1, faults: ['killLeader'] });
    expect(violations).toEqual([expect.stringMatching(/^NOT HEALED: /)]);
  });

  it('NOT IDENTICAL: a node never gets all of it', async () => {
    vi.spyOn(World.prototype, 'identical').mockReturnValue(false);
    const { violations } = await simulate({ seed: 1, replicas: 1, faults: ['switchover'] });
    expect(violations).toEqual([expect.stringMatching(/^NOT IDENTICAL: /)]);
  });

  it('SETTINGS NOT IN FORCE: a node never gets them', async () => {
    vi.spyOn(World.prototype, 'settled').mockReturnValue(false);
    const { violations } = await simulate({ seed: 1, replicas: 1, faults: ['switchover'] });
    expect(violations).toEqual([expect.stringMatching(/^SETTINGS NOT IN FORCE: /)]);
  });

  it('says so when shipped code throws', async () => {
    vi.spyOn(World.prototype, 'healthy').mockImplementation(() => {
      throw new Error('a defect');
    });
    const { violations } = await simulate({ seed: 1, replicas: 1, faults: ['switchover'] });
    expect(violations).toEqual([expect.stringMatching(/^the run broke: .*a defect/)]);
  });
});
