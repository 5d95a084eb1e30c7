/** Which candidate is chosen, for any positions, any joint configurations and any set of nodes that HAProxy reaches. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lsnDistance } from '../../failover/contract/lsn';
import { choose, pick } from '../../failover/core/facts/candidates';
import { newWatch } from '../../failover/core/facts/watch';
import { gone, NOW_MS, observation, POLICY, serving, situation, status, view } from './world';

const NAMES = ['a', 'b', 'c', 'd'];
const at = (n: number) => `0/${n.toString(16).toUpperCase()}`;
const config = fc
  .subarray(NAMES, { minLength: 1 })
  .chain((members) => fc.record({ members: fc.constant(members), k: fc.integer({ min: 1, max: members.length }) }))
  .map((c) => ({ leader: 'p', ...c }));
const positions = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: NAMES.length, maxLength: NAMES.length });
const flags = fc.array(fc.boolean(), { minLength: NAMES.length, maxLength: NAMES.length });
/** End of the acknowledged write that must not be lost. */
const WRITE = 100;

const promised = (name: string, position: number) =>
  view(name, {
    status: status(name, {
      accepted: { incarnation: 1, term: 2, seq: 11, kind: 'freeze' },
      postgres: { lsn: at(position), streamingFrom: null },
    }),
  });

describe('a candidate', () => {
  it('has every write that any of the joint configurations acknowledged, whichever nodes HAProxy reaches', () => {
    fc.assert(
      fc.property(
        fc.array(config, { minLength: 1, maxLength: 3 }),
        positions,
        flags,
        flags,
        (joint, position, up, reached) => {
          const of = (name: string) => position[NAMES.indexOf(name)] ?? 0;
          // At least one configuration has acknowledged the write.
          fc.pre(joint.some((c) => c.members.filter((m) => of(m) >= WRITE).length >= c.k));
          const state = { ...serving(NAMES, { joint }), term: 2 };
          const views = NAMES.map((n, i) => (up[i] === true ? promised(n, of(n)) : gone(n)));
          const seen = observation([gone('p'), ...views]);
          const away = seen.declared.filter((d) => reached[NAMES.indexOf(d.name)] === false);
          const unreached = Object.fromEntries(away.map((d) => [d.address, NOW_MS - 100]));
          const choice = choose(situation(state, { ...seen, haproxy: { ...seen.haproxy, unreached } }), true);
          expect(choice.kind === 'candidate' ? of(choice.node) : WRITE).toBeGreaterThanOrEqual(WRITE);
          // What HAProxy reaches may change which candidate is chosen, never whether there is one.
          expect(choose(situation(state, seen), true).kind).toBe(choice.kind);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it('in asynchronous mode is the most advanced connected node, and never further behind than maxLag', () => {
    const policy = { ...POLICY, syncMode: 'asynchronous' as const, maxLagBytes: 40 };
    fc.assert(
      fc.property(positions, flags, fc.integer({ min: 1, max: 250 }), (position, up, newest) => {
        const state = { ...serving(NAMES, { joint: [{ leader: 'p', k: 0, members: [] }] }), term: 2 };
        const views = NAMES.map((n, i) => (up[i] === true ? promised(n, position[i] ?? 0) : gone(n)));
        const watch = { ...newWatch(NOW_MS), newest: { node: 'p', term: 1, lsn: at(newest) } };
        const choice = pick(situation(state, observation([gone('p'), ...views], { watch }), NOW_MS, policy), true);
        const there = position.filter((_, i) => up[i] === true);
        const best = Math.max(0, ...there);
        if (there.length === 0 || newest - best > policy.maxLagBytes) expect(choice.kind).toBe('none');
        else {
          const node = choice.kind === 'candidate' ? choice.node : '';
          expect(position[NAMES.indexOf(node)]).toBe(best);
          expect(lsnDistance(at(best), at(newest))).toBeLessThanOrEqual(policy.maxLagBytes);
        }
      }),
      { numRuns: 500 },
    );
  });
});
