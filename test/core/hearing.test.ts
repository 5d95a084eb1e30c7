import { describe, expect, it } from 'vitest';
import { hearsNoNode, withoutDeafness } from '../../failover/core/facts/hearing';
import { gone, view } from './world';

const heard = (name: string, heardAtMs: number, silentMs = 0) => view(name, { heardAtMs, silentMs });

describe('hearing', () => {
  it('is gone when nothing came from any of several nodes', () => {
    expect(hearsNoNode({ p: heard('p', 700), a: heard('a', 750) }, 1_000)).toBe(true);
    expect(hearsNoNode({ p: heard('p', 700), a: heard('a', 751) }, 1_000)).toBe(false);
  });

  it('is not asked of a single node: whether it or the monitor is away nobody can tell', () => {
    expect(hearsNoNode({ p: heard('p', 0), a: gone('a') }, 9_000)).toBe(false);
    expect(hearsNoNode({ p: gone('p'), a: gone('a') }, 9_000)).toBe(false);
  });

  it('lets silence count from when somebody was heard again', () => {
    const nodes = { p: heard('p', 0, 9_000), a: heard('a', 8_900, 10) };
    const later = withoutDeafness(nodes, 8_900, 9_000);
    expect(later.p?.silentMs).toBe(350);
    expect(later.a?.silentMs).toBe(10);
  });
});
