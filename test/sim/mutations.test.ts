/**
 * Each rule of SAFETY.md taken out of the shipped code, one at a time: the simulator must find what breaks. A mutation
 * that survives means that the model is too kind. The code knows nothing of this: exports are wrapped, methods replaced.
 */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { LEDGER_MAX } from '../../failover/core/facts/ledger';
import type { ClusterState, LedgerEntry, SyncConfig } from '../../failover/core/state/cluster';
import { asIfFrozen } from '../../simulator/as-if-frozen';
import { simulate } from '../../simulator/run';
import { MUTATIONS, putBack, SAFETY } from './mutations';

/** The rule that is taken out now. */
const out = vi.hoisted(() => ({ rule: '' }));

vi.mock('../../failover/core/facts/candidates', async (load) => {
  const real = await load<typeof import('../../failover/core/facts/candidates')>();
  return {
    ...real,
    choose: ((state, observation, hangTimeoutMs, promised) =>
      out.rule === 'S1'
        ? real.choose(state, asIfFrozen(state, observation), hangTimeoutMs, true)
        : real.choose(state, observation, hangTimeoutMs, promised)) satisfies typeof real.choose,
    followersOf: ((state, observation, candidate) =>
      real.followersOf(
        state,
        out.rule === 'S1' ? asIfFrozen(state, observation) : observation,
        candidate,
      )) satisfies typeof real.followersOf,
  };
});

vi.mock('../../failover/core/facts/ledger', async (load) => {
  const real = await load<typeof import('../../failover/core/facts/ledger')>();
  return {
    ...real,
    addEntry: ((state, entry) => {
      if (out.rule === 'S3, ledger') return addAndForget(state, entry);
      const { ledger } = real.addEntry(state, entry);
      return { ledger: out.rule === 'S8, rest' ? ledger.map((e) => ({ ...e, attempts: undefined })) : ledger };
    }) satisfies typeof real.addEntry,
    hasStrangeHistory: ((state, node, status) =>
      out.rule !== 'S3' && real.hasStrangeHistory(state, node, status)) satisfies typeof real.hasStrangeHistory,
    rejoinMethod: ((state, node, status) =>
      out.rule === 'S3'
        ? real.rejoinMethod({ ...state, ledger: state.ledger.filter((e) => e.opened) }, node, {
            ...status,
            promotingTerm: null,
            promotedTerm: null,
          })
        : real.rejoinMethod(state, node, status)) satisfies typeof real.rejoinMethod,
  };
});

vi.mock('../../failover/core/effects/copying', async (load) => {
  const real = await load<typeof import('../../failover/core/effects/copying')>();
  return {
    ...real,
    oneCopyAtATime: ((state, observation, targets) =>
      out.rule === 'S22, one at a time'
        ? targets
        : real.oneCopyAtATime(state, observation, targets)) satisfies typeof real.oneCopyAtATime,
    isTakenForBroken: ((status) =>
      out.rule === 'S8, broken'
        ? status.postgres.crashes >= 3
        : real.isTakenForBroken(status)) satisfies typeof real.isTakenForBroken,
    leaveFirst: ((target, node, status, situation) =>
      out.rule === 'joint, leaves'
        ? target
        : real.leaveFirst(target, node, status, situation)) satisfies typeof real.leaveFirst,
  };
});

vi.mock('../../failover/core/facts/view', async (load) => {
  const real = await load<typeof import('../../failover/core/facts/view')>();
  return {
    ...real,
    isMember: ((state, node, dataId) =>
      real.isMember(
        out.rule === 'S3' ? { ...state, rebuild: {} } : state,
        node,
        dataId,
      )) satisfies typeof real.isMember,
  };
});

vi.mock('../../failover/core/facts/hold', async (load) => {
  const real = await load<typeof import('../../failover/core/facts/hold')>();
  return {
    ...real,
    holdOf: ((state, policy) =>
      out.rule === 'pause' ? null : real.holdOf(state, policy)) satisfies typeof real.holdOf,
  };
});

vi.mock('../../failover/core/facts/sync-set', async (load) => {
  const real = await load<typeof import('../../failover/core/facts/sync-set')>();
  return {
    ...real,
    withConfig: ((joint, next, leaderOpened) => {
      if (out.rule === 'joint') return [next];
      const known = out.rule === 'joint, term' ? [...joint, next].map(withoutTerm) : [...joint, next];
      return real.withConfig(known.slice(0, -1), known.at(-1) ?? next, leaderOpened);
    }) satisfies typeof real.withConfig,
    isProven: ((state, observation) =>
      out.rule === 'S9'
        ? observation.nodes[state.leader ?? '']?.status?.lead?.term === state.term
        : real.isProven(state, observation)) satisfies typeof real.isProven,
  };
});

vi.mock('../../failover/core/facts/watch', async (load) => {
  const real = await load<typeof import('../../failover/core/facts/watch')>();
  return {
    ...real,
    mayReturn: ((state, watch, nowMs, policy) =>
      real.mayReturn(
        out.rule === 'S25' ? { ...state, switchbacks: 0 } : state,
        watch,
        nowMs,
        policy,
      )) satisfies typeof real.mayReturn,
  };
});

vi.mock('../../failover/contract/messages', async (load) => {
  const real = await load<typeof import('../../failover/contract/messages')>();
  return {
    ...real,
    compareOrders: ((a, b) => {
      // Only the keeper's: it compares the order itself, the monitor compares what was accepted.
      if (out.rule === 'S5' && 'type' in a) return 1;
      if (out.rule === 'S11') return a.term - b.term || a.seq - b.seq;
      return real.compareOrders(a, b);
    }) satisfies typeof real.compareOrders,
  };
});

/** As releases up to 0.1.0 added a leadership. */
function addAndForget(state: ClusterState, entry: LedgerEntry): Pick<ClusterState, 'ledger' | 'members'> {
  const ledger = [...state.ledger, entry];
  const members = { ...state.members };
  while (ledger.length > LEDGER_MAX) {
    const gone = ledger.shift();
    if (gone !== undefined && !gone.opened && members[gone.node] === gone.dataId) delete members[gone.node];
  }
  return { ledger, members };
}

function withoutTerm({ term: _term, ...config }: SyncConfig): SyncConfig {
  return config;
}

afterEach(() => {
  out.rule = '';
  putBack();
});

describe('the simulator finds what breaks', () => {
  it.each(MUTATIONS)(
    'without $rule: $what',
    async ({ rule, what, replicas, faults, steady, policy, seeds, shows = SAFETY, apply }) => {
      out.rule = rule;
      apply?.();
      for (let seed = 1; seed <= seeds; seed++) {
        const { violations } = await simulate({ seed, replicas, faults, steady, policy });
        const found = violations.find((v) => shows.test(v));
        if (found === undefined) continue;
        process.stdout.write(`${rule} found by seed ${seed}: ${found}\n`);
        // With the rule in its place the same seed shows nothing.
        out.rule = '';
        putBack();
        expect((await simulate({ seed, replicas, faults, steady, policy })).violations).toEqual([]);
        return;
      }
      expect.fail(`${rule} survived ${seeds} seeds: ${what}`);
    },
  );
});
