import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareLsn, lsnDistance, parseLsn } from '../../failover/contract/lsn';
import { decide } from '../../failover/core/decide';
import { choose, quorum } from '../../failover/core/facts/candidates';
import { leaderHealth } from '../../failover/core/facts/health';
import type { NodeView } from '../../failover/core/state/observation';
import { parseState, printState } from '../../failover/core/state/stored';
import { gone, leaderView, NOW_MS, observation, POLICY, replicaView, serving, situation, status, view } from './world';

const lsn = fc
  .tuple(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 0, max: 0xffffffff }))
  .map(([high, low]) => `${high.toString(16).toUpperCase()}/${low.toString(16).toUpperCase()}`);

/** `ANY k` of the first N names. */
const config = fc
  .integer({ min: 1, max: 5 })
  .chain((n) => fc.tuple(fc.constant(['a', 'b', 'c', 'd', 'e'].slice(0, n)), fc.integer({ min: 1, max: n })));

describe('positions', () => {
  it('are ordered like the numbers that they stand for', () => {
    fc.assert(
      fc.property(lsn, lsn, (a, b) => {
        expect(Math.sign(compareLsn(a, b))).toBe(Math.sign(Number(parseLsn(a) - parseLsn(b))));
        expect(lsnDistance(a, b)).toBe(Number(parseLsn(b) - parseLsn(a)));
      }),
    );
  });
});

describe('quorum arithmetic', () => {
  it('every set of k acknowledging members shares a member with every set of N-k+1 promising members', () => {
    fc.assert(
      fc.property(config, fc.infiniteStream(fc.nat()), ([members, k], random) => {
        const shuffled = () =>
          members
            .map((m) => ({ m, r: random.next().value ?? 0 }))
            .sort((x, y) => x.r - y.r)
            .map((x) => x.m);
        const acknowledged = shuffled().slice(0, k);
        const promised = shuffled().slice(0, quorum({ leader: 'p', k, members }) ?? 0);
        expect(acknowledged.some((m) => promised.includes(m))).toBe(true);
      }),
    );
  });

  it('a chosen candidate has every acknowledged write, whichever members are up and whatever their positions are', () => {
    const world = config.chain(([members, k]) =>
      fc.record({
        members: fc.constant(members),
        k: fc.constant(k),
        // Position of each member; the write that was acknowledged by k of them ends at 100.
        positions: fc.array(fc.integer({ min: 1, max: 200 }), { minLength: members.length, maxLength: members.length }),
        up: fc.array(fc.boolean(), { minLength: members.length, maxLength: members.length }),
      }),
    );
    fc.assert(
      fc.property(world, ({ members, k, positions, up }) => {
        fc.pre(positions.filter((p) => p >= 100).length >= k);
        const state = { ...serving(members, {}, k), term: 2 };
        const at = (i: number) => `0/${(positions[i] ?? 0).toString(16).toUpperCase()}`;
        const views = members.map((m, i) =>
          up[i] === true
            ? view(m, {
                status: status(m, {
                  accepted: { incarnation: 1, term: 2, seq: 11, kind: 'freeze' },
                  postgres: { lsn: at(i), streamingFrom: null },
                }),
              })
            : gone(m),
        );
        const choice = choose(situation(state, observation([gone('p'), ...views])), true);
        const alive = up.filter(Boolean).length;
        if (alive < members.length - k + 1) expect(choice.kind).toBe('none');
        else {
          expect(choice.kind).toBe('candidate');
          const node = choice.kind === 'candidate' ? choice.node : '';
          expect(positions[members.indexOf(node)]).toBeGreaterThanOrEqual(100);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('no node is chosen while any joint configuration is not satisfied', () => {
    fc.assert(
      fc.property(config, fc.boolean(), ([members, k], aloneLast) => {
        const alone = { leader: 'p', k: 0, members: [] };
        const counted = { leader: 'p', k, members };
        const state = serving(members, { joint: aloneLast ? [counted, alone] : [alone, counted] }, k);
        const views = members.map((m) => replicaView(state, m));
        expect(choose(situation(state, observation([gone('p'), ...views])), false).kind).toBe('none');
      }),
    );
  });
});

describe('detection windows', () => {
  const state = serving(['a']);
  const health = (leader: NodeView, replica: NodeView) =>
    leaderHealth(situation(state, observation([leader, replica]))).kind;

  it('a connected leader is dead only after hangTimeout without an answer or a commit', () => {
    const ms = fc.integer({ min: 0, max: 5_000 });
    fc.assert(
      fc.property(ms, ms, (silentMs, heartbeatAgeMs) => {
        const kind = health(leaderView(state, { lead: { heartbeatAgeMs } }, { silentMs }), replicaView(state, 'a'));
        expect(kind === 'dead').toBe(silentMs >= POLICY.hangTimeoutMs || heartbeatAgeMs >= POLICY.hangTimeoutMs);
      }),
    );
  });

  it('a leader whose heartbeat advances on a replica is not given up, however long the monitor itself gets no answer', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 20_000 }), fc.integer({ min: 0, max: 1_000 }), (silentMs, seenMs) => {
        const replica = replicaView(state, 'a', {}, { heartbeatSeenAtMs: NOW_MS - seenMs });
        expect(health(leaderView(state, {}, { silentMs }), replica)).not.toBe('dead');
      }),
    );
  });

  it('longer silence never makes a leader look better', () => {
    const rank = ['well', 'late', 'dead'];
    const ms = fc.integer({ min: 0, max: 5_000 });
    fc.assert(
      fc.property(ms, ms, (a, b) => {
        const at = (silentMs: number) =>
          rank.indexOf(health(leaderView(state, {}, { silentMs }), replicaView(state, 'a')));
        expect(at(Math.min(a, b))).toBeLessThanOrEqual(at(Math.max(a, b)));
      }),
    );
  });
});

describe('every decision', () => {
  const postgres = fc.record({
    state: fc.constantFrom('absent', 'stopped', 'starting', 'standby', 'promoting', 'primary', 'stopping', 'copying'),
    timeline: fc.constantFrom(1, 2, 3, null),
    lsn: fc.constantFrom('0/4000', '0/5000', '0/6000', null),
    streamingFrom: fc.constantFrom('p', 'a', 'b', null),
    crashes: fc.constantFrom(0, 3),
  });
  const nodeOf = (name: string) =>
    fc
      .record({
        connected: fc.boolean(),
        silentMs: fc.constantFrom(0, 700, 3_000),
        stopping: fc.boolean(),
        done: fc.boolean(),
        dataId: fc.constantFrom(`1:${name}`, `1:${name}`, '1:other', null),
        accepted: fc.option(
          fc.record({
            incarnation: fc.constant(1),
            term: fc.integer({ min: 1, max: 4 }),
            seq: fc.integer({ min: 8, max: 20 }),
            kind: fc.constantFrom('lead', 'follow', 'freeze', 'stop', 'wait'),
          }),
        ),
        alive: fc.option(fc.boolean()),
        postgres,
      })
      .map(({ connected, silentMs, alive, postgres: part, ...rest }) =>
        view(name, {
          connected,
          silentMs,
          status: connected ? status(name, { ...rest, postgres: part }) : null,
          probe: alive === null ? null : { alive, atMs: NOW_MS },
        }),
      );

  it('keeps the invariants, survives storing, and raises seq with each change, for any sequence of observations', () => {
    const seen = fc.tuple(nodeOf('p'), nodeOf('a'), nodeOf('b'));
    const haproxy = fc.record({
      reachable: fc.boolean(),
      epoch: fc.constantFrom('1@1', '2@2'),
      slot: fc.constantFrom('10.0.0.20', '10.0.0.21', null),
      closed: fc.boolean(),
      keeping: fc.constantFrom('10.0.0.20', '10.0.0.21', null),
      clean: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(seen, haproxy), { maxLength: 12 }),
        fc.constantFrom('continue', 'block'),
        (steps, onNoReplica) => {
          let state = serving(['a', 'b']);
          for (const [views, router] of steps) {
            const decision = decide(state, observation(views, { haproxy: router }), NOW_MS, {
              ...POLICY,
              onNoReplica: onNoReplica === 'block' ? 'block' : 'continue',
            });
            expect(decision.reason).not.toBe('');
            expect(parseState(printState(decision.state))).toEqual(decision.state);
            state = decision.state;
          }
        },
      ),
      { numRuns: 600 },
    );
  });
});
