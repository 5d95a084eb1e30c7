import { describe, expect, it } from 'vitest';
import { Ids } from '../../simulator/exhaustive/ids';
import { put } from '../../simulator/exhaustive/keeper';
import { firstWorld, type Node } from '../../simulator/exhaustive/world';

describe('what a state is remembered by', () => {
  it('differs whenever any field of a node differs, or the search would take two states for one', () => {
    const ids = new Ids();
    const world = firstWorld(1);
    const other: Required<Node> = {
      up: false,
      cut: true,
      role: 'stopped',
      log: 'A',
      timeline: 9,
      history: [[1, 1]],
      directory: 9,
      clean: false,
      accepted: { term: 9, seq: 9, target: { kind: 'freeze' } },
      ordered: false,
      promotingTerm: 9,
      promotedTerm: 9,
      leadTerm: 9,
      upstream: 'b',
      joined: 'p.9',
      shown: null,
      inForce: null,
      countsFrom: 9,
      held: true,
      byHand: true,
      confirmed: { a: 9 },
    };
    const known = new Set([ids.ofNode(world.nodes.p)]);
    for (const [field, value] of Object.entries(other)) {
      known.add(ids.ofNode(put(world, 'p', { [field]: value }).nodes.p));
    }
    expect(known.size).toBe(Object.keys(other).length + 1);
    expect(ids.ofNode({ ...world.nodes.p })).toBe(ids.ofNode(world.nodes.p));
  });
});
