/**
 * Each rule of SAFETY.md taken out of the shipped code, one at a time: the simulator must find what breaks. A mutation
 * that survives means that the model is too kind. The code knows nothing of this: exports are wrapped, methods replaced.
 */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { RULES } from '../../failover/core/rules';
import { SyncControl } from '../../failover/keeper/sync';
import { Haproxy } from '../../failover/monitor/haproxy';
import { Loop } from '../../failover/monitor/loop';
import { OpeningChecks } from '../../failover/monitor/opening';
import { asIfFrozen } from './as-if-frozen';
import { SimStore } from './monitor-container';
import { SimFiles, SimNode, SimPostgres } from './node';
import { simulate } from './run';

/** The rule that is taken out now. */
const out = vi.hoisted(() => ({ rule: '' }));

vi.mock('../../failover/core/candidate', async (load) => {
  const real = await load<typeof import('../../failover/core/candidate')>();
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

vi.mock('../../failover/core/rejoin', async (load) => {
  const real = await load<typeof import('../../failover/core/rejoin')>();
  return {
    ...real,
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

vi.mock('../../failover/core/view', async (load) => {
  const real = await load<typeof import('../../failover/core/view')>();
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

vi.mock('../../failover/core/pause', async (load) => {
  const real = await load<typeof import('../../failover/core/pause')>();
  return {
    ...real,
    holdOf: ((state, policy) =>
      out.rule === 'pause' ? null : real.holdOf(state, policy)) satisfies typeof real.holdOf,
  };
});

vi.mock('../../failover/core/sync', async (load) => {
  const real = await load<typeof import('../../failover/core/sync')>();
  return {
    ...real,
    withConfig: ((joint, next, leaderOpened) =>
      out.rule === 'joint' ? [next] : real.withConfig(joint, next, leaderOpened)) satisfies typeof real.withConfig,
    isProven: ((state, observation) =>
      out.rule === 'S9'
        ? observation.nodes[state.leader ?? '']?.status?.lead?.term === state.term
        : real.isProven(state, observation)) satisfies typeof real.isProven,
  };
});

vi.mock('../../failover/protocol', async (load) => {
  const real = await load<typeof import('../../failover/protocol')>();
  return {
    ...real,
    compareOrders: ((a, b) => {
      if (out.rule === 'S5') return 1;
      if (out.rule === 'S11') return a.term - b.term || a.seq - b.seq;
      return real.compareOrders(a, b);
    }) satisfies typeof real.compareOrders,
  };
});

interface Mutation {
  rule: string;
  what: string;
  replicas?: number;
  /** A seed that is known to find it and is tried first; where it does not any more, the search goes on. */
  known?: number;
  /** The faults that show it, where among all of them they meet too rarely; undefined: all. */
  faults?: readonly string[];
  /** Seeds within which it has to be found. */
  seeds: number;
  apply?: () => void;
}

/** Replaces a method, also a private one, until the test ends. */
function replace(prototype: object, name: string, make: (real: (...args: never[]) => unknown) => unknown): void {
  const methods = prototype as Record<string, (...args: never[]) => unknown>;
  const real = methods[name];
  if (real === undefined) throw new Error(`there is no ${name} to be replaced`);
  methods[name] = make(real) as (...args: never[]) => unknown;
  undo.push(() => {
    methods[name] = real;
  });
}

const undo: (() => void)[] = [];

function withoutRules(...codes: string[]): void {
  const rules = RULES as (typeof RULES)[number][];
  const all = [...rules];
  rules.splice(0, rules.length, ...all.filter((r) => !codes.includes(r.code)));
  undo.push(() => {
    rules.splice(0, rules.length, ...all);
  });
}

const MUTATIONS: Mutation[] = [
  { rule: 'S1', what: 'a candidate is chosen by positions that nobody promised to keep', replicas: 2, seeds: 1_000 },
  {
    rule: 'S2',
    what: 'sessions on the old leader stay when the slot moves',
    seeds: 300,
    apply: () => replace(Haproxy.prototype, 'endStrangers', () => async () => 0),
  },
  {
    rule: 'S3',
    what: 'a promotion that was never opened counts like any other history',
    replicas: 2,
    seeds: 1_000,
    apply: () =>
      replace(
        SimFiles.prototype,
        'load',
        (real) =>
          async function (this: SimFiles) {
            const state = await (real as () => Promise<object>).call(this);
            return { ...state, promotingTerm: null };
          },
      ),
  },
  {
    rule: 'S4',
    what: 'a sync setting counts as soon as it was written',
    seeds: 600,
    apply: () => replace(SyncControl.prototype, 'bar', () => async () => undefined),
  },
  { rule: 'S5', what: 'a keeper accepts orders that are older than what it has accepted', seeds: 600 },
  {
    rule: 'S6',
    what: 'a position counts before all local log was applied',
    replicas: 2,
    faults: ['behind'],
    seeds: 1_000,
    apply: () =>
      replace(
        SimPostgres.prototype,
        'observe',
        (real) =>
          async function (this: SimPostgres) {
            const view = await (real as () => ReturnType<SimPostgres['observe']>).call(this);
            return view.sql === null ? view : { ...view, sql: { ...view.sql, startupWaits: true } };
          },
      ),
  },
  {
    rule: 'S8',
    what: 'PostgreSQL makes itself primary again after a crash',
    seeds: 600,
    apply: () =>
      replace(
        SimNode.prototype,
        'crashPostgres',
        () =>
          function (this: SimNode) {
            this.postgres?.restartInPlace();
          },
      ),
  },
  {
    rule: 'S9',
    what: 'the slot is opened as soon as the leader says that it leads',
    seeds: 1_000,
    apply: () => replace(OpeningChecks.prototype, 'once', () => async () => true),
  },
  {
    rule: 'S10',
    what: 'the store is taken for the newest whatever the keepers remember',
    seeds: 600,
    apply: () => {
      withoutRules('STORE_OLD', 'ADOPT_WAIT');
      replace(
        SimStore.prototype,
        'open',
        (real) =>
          async function (this: SimStore) {
            await (real as () => Promise<void>).call(this);
            this.moved = false;
          },
      );
    },
  },
  {
    rule: 'S11',
    what: 'a monitor that stood still goes on with what it saw, and nobody outranks it',
    replicas: 2,
    faults: ['staleMonitor'],
    seeds: 1_000,
    apply: () => {
      replace(Loop.prototype, 'noticeStall', () => () => undefined);
      replace(Haproxy.prototype, 'stayAwake', () => () => undefined);
      replace(Loop.prototype, 'outranked', () => () => undefined);
    },
  },
  {
    rule: 'S13',
    what: 'the read port shows every node',
    seeds: 600,
    apply: () =>
      replace(
        Haproxy.prototype,
        'read',
        (real) =>
          function (this: Haproxy, addresses: readonly string[]) {
            const all = ['10.0.0.20', '10.0.0.21', '10.0.0.22', '10.0.0.23'];
            (real as (a: readonly string[]) => void).call(this, addresses.length === 0 ? [] : all);
          },
      ),
  },
  { rule: 'pause', what: 'a pause holds nothing back', faults: ['pauseFailover'], seeds: 300 },
  { rule: 'joint', what: 'a new sync configuration takes the place of the old one at once', seeds: 1_000 },
];

const SAFETY = /^(PAUSED|LOST|VANISHED|STALE|FORKED|TERMS|TWO ROUTES|ORDERS|DIFFERENT|PHANTOM)/;

afterEach(() => {
  out.rule = '';
  for (const back of undo.splice(0).reverse()) back();
});

describe('the simulator finds what breaks', () => {
  it.each(MUTATIONS)('without $rule: $what', async ({ rule, what, replicas, known = 1, faults, seeds, apply }) => {
    out.rule = rule;
    apply?.();
    for (const seed of [known, ...Array.from({ length: seeds }, (_, i) => i + 1)]) {
      const result = await simulate({ seed, replicas, faults });
      const found = result.violations.find((v) => SAFETY.test(v));
      if (found === undefined) continue;
      process.stdout.write(`${rule} found by seed ${seed}: ${found}\n`);
      return;
    }
    expect.fail(`${rule} survived ${seeds} seeds: ${what}`);
  });
});
