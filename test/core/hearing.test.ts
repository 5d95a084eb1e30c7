import { describe, expect, it } from 'vitest';
import { hearsNoNode, withoutDeafness } from '../../failover/core/facts/hearing';
import { gone, view } from './world';

const connected = (name: string, heardAtMs: number, silentMs = 0) => view(name, { heardAtMs, silentMs });

describe('a monitor that gets no message', () => {
  it('is deaf when no message came from any of several connected nodes', () => {
    expect(hearsNoNode({ p: connected('p', 700), a: connected('a', 750) }, 1_000)).toBe(true);
    expect(hearsNoNode({ p: connected('p', 700), a: connected('a', 751) }, 1_000)).toBe(false);
  });

  it('is not called deaf when only one node is connected: that node may hang, or the monitor may be cut off', () => {
    expect(hearsNoNode({ p: connected('p', 0), a: gone('a') }, 9_000)).toBe(false);
    expect(hearsNoNode({ p: gone('p'), a: gone('a') }, 9_000)).toBe(false);
  });

  it('counts silence only from the moment at which it got a message again', () => {
    const nodes = { p: connected('p', 0, 9_000), a: connected('a', 8_900, 10) };
    const later = withoutDeafness(nodes, 8_900, 9_000);
    expect(later.p?.silentMs).toBe(350);
    expect(later.a?.silentMs).toBe(10);
  });
});
