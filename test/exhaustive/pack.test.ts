import { describe, expect, it } from 'vitest';
import { Ids } from '../../simulator/exhaustive/ids';
import { Decider } from '../../simulator/exhaustive/monitor';
import { Packer } from '../../simulator/exhaustive/pack';
import { Seen } from '../../simulator/exhaustive/seen';
import { type Bounds, firstOf, type State, Steps } from '../../simulator/exhaustive/steps';

const BOUNDS: Bounds = { k: 1, crashes: 2, starts: 1, cuts: 1, promotions: 2, changes: 1, writes: 2, hands: 2 };
/** So many steps from the beginning, taking another turn each time. */
const WALKS = 20;
const STEPS = 25;

/** States that a few walks come by. */
function states(ids: Ids): State[] {
  const steps = new Steps(BOUNDS, new Decider(BOUNDS.k, false, ids));
  return Array.from({ length: WALKS }, (_, walk) => {
    let state = firstOf(BOUNDS);
    const seen: State[] = [];
    for (let i = 0; i < STEPS; i++) {
      const next = steps.from(state);
      const step = next[(walk * 7 + i * 3) % Math.max(1, next.length)];
      if (step === undefined) break;
      state = step.next;
      seen.push(state);
    }
    return seen;
  }).flat();
}

describe('a state as text', () => {
  it('is read back as it was', () => {
    const ids = new Ids();
    const packer = new Packer(ids);
    for (const state of states(ids)) expect(packer.unpack(packer.pack(state))).toEqual(state);
  });

  it('is another text than that of any other state', () => {
    const ids = new Ids();
    const packer = new Packer(ids);
    const all = states(ids);
    const texts = new Set(all.map((state) => JSON.stringify(state)));
    expect(new Set(all.map((state) => packer.pack(state))).size).toBe(texts.size);
    expect(texts.size).toBeGreaterThan(100);
  });
});

describe('what was seen', () => {
  it('is known again, with the path to it', () => {
    const seen = new Seen();
    const keys = Array.from({ length: 60_000 }, (_, i) => `${i},${i % 7}`);
    for (const [i, key] of keys.entries())
      if (seen.add(key, i - 1, `step ${i % 3}`) !== i) expect.fail(`${key} was not new`);
    expect(keys.every((key) => seen.add(key, 0, 'again') === null)).toBe(true);
    expect(seen.size).toBe(keys.length);
    expect(seen.pathTo(3)).toEqual(['step 1', 'step 2', 'step 0']);
  });
});
