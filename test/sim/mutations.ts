/**
 * The rules of docs/safety.md that can be taken out of the shipped code, how, and the faults that show it. The code knows
 * nothing of this: methods are replaced here, and exports are wrapped by mutations.test.ts, which plays them all.
 */

import { join } from 'node:path';
import { compareOrders } from '../../failover/contract/messages';
import type { Seam } from '../../failover/contract/seam';
import { choose, followersOf } from '../../failover/core/facts/candidates';
import { isTakenForBroken, leaveFirst, oneCopyAtATime } from '../../failover/core/facts/copying';
import { holdOf } from '../../failover/core/facts/hold';
import { addEntry, hasStrangeHistory, LEDGER_MAX, rejoinMethod } from '../../failover/core/facts/ledger';
import { isProven, withConfig } from '../../failover/core/facts/sync-set';
import { isMember } from '../../failover/core/facts/view';
import { mayReturn } from '../../failover/core/facts/watch';
import { RULES } from '../../failover/core/rules';
import type { ClusterState, LedgerEntry, Policy, SyncConfig } from '../../failover/core/state/cluster';
import type { NodeView } from '../../failover/core/state/observation';
import { keepSlots } from '../../failover/keeper/leadership';
import type { View } from '../../failover/keeper/ports';
import { KeeperError } from '../../failover/keeper/ports';
import { mustBeOrdered, noticeByHand } from '../../failover/keeper/rejoining';
import { raiseBarrier } from '../../failover/keeper/sync';
import { Tunables } from '../../failover/keeper/tunables';
import { Loop } from '../../failover/monitor/loop';
import { KeeperServer } from '../../failover/monitor/nodes/keepers';
import { OpeningChecks } from '../../failover/monitor/nodes/opening';
import { AnswerTimes, PROBE_LIMIT_MS } from '../../failover/monitor/nodes/probe';
import { Haproxy } from '../../failover/monitor/router/haproxy';
import { ask } from '../../failover/monitor/router/haproxy-socket';
import { SessionSweep } from '../../failover/monitor/router/sweep';
import { Wish } from '../../failover/monitor/router/wish';
import { Workers } from '../../failover/monitor/router/workers';
import { Ticker } from '../../failover/monitor/ticker';
import { FROZEN } from '../../simulator/aimed-faults';
import { asIfFrozen } from '../../simulator/as-if-frozen';
import { History } from '../../simulator/history';
import { SimStore } from '../../simulator/monitor-container';
import { SimFiles, SimNode, SimPostgres } from '../../simulator/node';
import { PostgresServer } from '../../simulator/postgres';
import { STARVATION } from '../../simulator/random-faults';
import { ServerWords } from '../../simulator/server-words';
import { Settings } from '../../simulator/settings';

export interface Mutation {
  what: string;
  run: {
    replicas?: number;
    policy?: Partial<Policy>;
    /** The faults that show it. */
    faults: readonly string[];
    /** None of these faults is a reason to change the leader. */
    steady?: boolean | 'leader';
    /** Seeds within which it has to be found. */
    seeds: number;
  };
  /** What the oracles then say. @default {@link SAFETY} */
  shows?: RegExp;
  apply: () => void;
}

/** Something that is lost, wrong, or doubled. */
export const SAFETY = /^(PAUSED|LOST|VANISHED|STALE|FORKED|TERMS|TWO ROUTES|ORDERS|DIFFERENT|PHANTOM)/;
/** Something that never comes. */
const LIVENESS = /^(NO WAY OUT|NOT (BUILT|HEALED|IDENTICAL))/;
/** No leader serves within the time that it may take. */
const LATE = /^NO FAILOVER/;

type Method = (...args: never[]) => unknown;

const undo: (() => void)[] = [];

/** Puts every rule back. */
export function putBack(): void {
  for (const back of undo.splice(0).reverse()) back();
}

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

/** Puts another function in the place of a seam until {@link putBack}. */
function takeOut<F extends (...args: never[]) => unknown>(step: Seam<F>, make: (own: F) => F): void {
  step.replace(make);
  undo.push(step.restore);
}

/** Replaces a method, also a private one, until {@link putBack}. */
function replace(prototype: object, name: string, make: (real: Method) => unknown): void {
  const methods = prototype as Record<string, Method>;
  const real = methods[name];
  if (real === undefined) throw new Error(`there is no ${name} to be replaced`);
  methods[name] = make(real) as Method;
  undo.push(() => {
    methods[name] = real;
  });
}

/** As {@link replace}; `make` gets the method as it was, bound, and the object. */
function around<T extends object, F extends Method>(prototype: T, name: string, make: (own: F, self: T) => F): void {
  replace(
    prototype,
    name,
    (real) =>
      function (this: T, ...args: never[]) {
        return make(real.bind(this) as F, this)(...args);
      },
  );
}

function withoutRules(...ids: string[]): void {
  const rules = RULES as (typeof RULES)[number][];
  const all = [...rules];
  rules.splice(0, rules.length, ...all.filter((r) => !ids.includes(r.id)));
  undo.push(() => {
    rules.splice(0, rules.length, ...all);
  });
}

/** What a keeper remembers, with something forgotten. */
function forgetting(part: object): void {
  around(SimFiles.prototype, 'load', (own: () => Promise<object>) => async () => ({ ...(await own()), ...part }));
}

/** What the monitor knows of each node, changed. */
function seeing(change: (view: NodeView) => NodeView): void {
  around(KeeperServer.prototype, 'views', (own: KeeperServer['views']) => (nowMs) => {
    return Object.fromEntries(Object.entries(own(nowMs)).map(([name, view]) => [name, change(view)]));
  });
}

/** What a look at a node's PostgreSQL shows, changed. */
function looking(change: (view: View, postgres: SimPostgres) => View): void {
  around(SimPostgres.prototype, 'observe', (own: SimPostgres['observe'], self) => async () => {
    return change(await own(), self);
  });
}

/** A setting of PostgreSQL, changed. */
function setting(kind: 'ms' | 'text', name: string, value: number | string): void {
  around(
    Settings.prototype,
    kind,
    (own: (asked: string) => unknown) => (asked) => (asked === name ? value : own(asked)),
  );
}

/** Words of PostgreSQL's log count like the leader's own answer. */
function believeWords(): void {
  looking((view, { words }) => ({ ...view, streamImpossible: view.streamImpossible ?? words.impossible }));
}

/** By the name of the rule, as docs/safety.md has it. */
export const MUTATIONS: Readonly<Record<string, Mutation>> = {
  S1: {
    what: 'a candidate is chosen by positions that nobody promised to keep',
    run: { replicas: 2, faults: ['behind'], seeds: 60 },
    apply: () => {
      takeOut(choose, (own) => (s, _promised, prefer) => own(asIfFrozen(s), true, prefer));
      takeOut(followersOf, (own) => (s, candidate) => own(asIfFrozen(s), candidate));
    },
  },
  S2: {
    what: 'sessions on the old leader stay when the slot moves',
    run: { faults: ['pause'], seeds: 60 },
    apply: () => {
      replace(SessionSweep.prototype, 'end', () => async () => new Map());
      replace(SessionSweep.prototype, 'left', () => () => 0);
    },
  },
  'S2, connecting': {
    what: 'a closed slot is emptied while somebody still connects to it',
    run: { faults: ['kill', 'partition', 'pause'], seeds: 60 },
    shows: /^LEAKED/,
    apply: () =>
      around(SessionSweep.prototype, 'end', (_own, { workers }) => async () => {
        const closed = workers.servers.filter((s) => s.backend === 'write' && s.server !== 'hold' && s.maintenance);
        const lines = closed.map((slot) => `shutdown sessions server write/${slot.server}`);
        await workers.tell(0, lines);
        return new Map();
      }),
  },
  S3: {
    what: 'a promotion that was never opened counts like any other history',
    run: { replicas: 2, faults: ['killCandidate'], seeds: 60 },
    apply: () => {
      forgetting({ promotingTerm: null });
      takeOut(hasStrangeHistory, () => () => false);
      takeOut(isMember, (own) => (state, node, dataId) => own({ ...state, rebuild: {} }, node, dataId));
      takeOut(rejoinMethod, (own) => (s, node, status) => {
        const ledger = s.state.ledger.filter((e) => e.opened);
        return own(s.with({ ...s.state, ledger }), node, { ...status, promotingTerm: null, promotedTerm: null });
      });
    },
  },
  'S3, by hand': {
    what: 'a keeper does not remember that its PostgreSQL was promoted without an order',
    run: { faults: ['promoteFormer'], seeds: 5 },
    shows: /^DIFFERENT/,
    apply: () => takeOut(noticeByHand, () => async () => false),
  },
  'S3, ledger': {
    what: 'a data directory is forgotten with any of its leaderships that falls off the ledger',
    run: { replicas: 1, faults: ['manyLeaderships'], seeds: 5 },
    shows: /^(NEEDLESS COPY|NO WAY OUT|UNSTEADY)/,
    apply: () => {
      withoutRules('leader-known');
      takeOut(addEntry, () => addAndForget);
    },
  },
  S4: {
    what: 'a sync setting counts as soon as it was written',
    run: { faults: ['killAtGrowth'], seeds: 30 },
    apply: () => takeOut(raiseBarrier, () => async () => undefined),
  },
  S5: {
    what: 'a keeper accepts orders that are older than what it has accepted',
    run: { faults: ['network', 'killLeader'], seeds: 60 },
    apply: () =>
      // Only the keeper's comparison: it compares the order itself, the monitor what was accepted.
      takeOut(compareOrders, (own) => (a, b) => ('type' in a ? 1 : own(a, b))),
  },
  S6: {
    what: 'a position counts before all local log was applied',
    run: { replicas: 2, faults: ['behind'], seeds: 60 },
    apply: () => looking((view) => (view.sql === null ? view : { ...view, sql: { ...view.sql, startupWaits: true } })),
  },
  'S6, replays': {
    what: 'a standby has no vote while its replay is paused or behind, whatever it has flushed',
    run: { replicas: 2, faults: ['pausedElection', 'backlog'], seeds: 5 },
    shows: LATE,
    apply: () =>
      looking((view) => {
        const { sql } = view;
        return sql === null || sql.startupWaits ? view : { ...view, sql: { ...sql, receiveLsn: null } };
      }),
  },
  S7: {
    what: 'the oracles take a commit whose wait was cancelled for a safe one',
    run: { faults: ['cancels'], seeds: 60 },
    apply: () => replace(History.prototype, 'tag', () => () => undefined),
  },
  S8: {
    what: 'PostgreSQL makes itself primary again after a crash',
    run: { faults: ['badMinute'], seeds: 60 },
    apply: () => around(SimNode.prototype, 'crashPostgres', (_own, node) => () => node.postgres?.restartInPlace()),
  },
  'S8, rest': {
    what: 'a candidate that crashes is promoted again at once, however often',
    run: { replicas: 1, faults: ['diskFillsAlone'], seeds: 3 },
    shows: /^CRASH LOOP/,
    apply: () =>
      takeOut(addEntry, (own) => (state, entry) => {
        const { ledger } = own(state, entry);
        return { ledger: ledger.map((e) => ({ ...e, attempts: undefined })) };
      }),
  },
  'S8, broken': {
    what: 'crashes within a minute stand for broken data, also those of the data that was copied over',
    run: { faults: ['crashesInRow'], seeds: 3 },
    shows: /^(NEEDLESS COPY|ORDERS TAKE TURNS)/,
    apply: () => takeOut(isTakenForBroken, () => (status) => status.postgres.crashes >= 3),
  },
  S9: {
    what: 'the slot is opened as soon as the leader says that it leads',
    run: { faults: ['killLeader'], seeds: 60 },
    apply: () => {
      replace(OpeningChecks.prototype, 'once', () => async () => true);
      takeOut(isProven, () => (s) => s.view(s.leader).status?.lead?.term === s.state.term);
    },
  },
  'S9, mended': {
    what: 'what people take away in SQL is not given back',
    run: { faults: ['revokeConnect'], seeds: 5 },
    shows: LIVENESS,
    apply: () => replace(SimPostgres.prototype, 'repair', () => () => false),
  },
  S10: {
    what: 'the store is taken for the newest whatever the keepers remember',
    run: { faults: ['oldStore'], seeds: 60 },
    apply: () => {
      withoutRules('store-old', 'adopt-wait');
      around(SimStore.prototype, 'open', (own: SimStore['open'], store) => async () => {
        await own();
        store.moved = false;
      });
    },
  },
  S11: {
    what: 'a monitor that stood still goes on with what it saw, and nobody outranks it',
    run: { replicas: 2, faults: ['staleMonitor'], seeds: 60 },
    apply: () => {
      withoutRules('slot-moved');
      takeOut(compareOrders, () => (a, b) => a.term - b.term || a.seq - b.seq);
      replace(Ticker.prototype, 'notice', () => () => undefined);
      replace(Loop.prototype, 'outranked', () => () => undefined);
      replace(Workers.prototype, 'throwAfterStall', () => () => undefined);
      // What it was about to say it says.
      const say = (socket: string, line: string) => ask(join('/run/haproxy', socket), line);
      replace(Workers.prototype, 'ask', () => say);
      // It insists on the slot that it opened.
      replace(Wish.prototype, 'giveWay', () => () => undefined);
    },
  },
  S12: {
    what: 'a keeper forgets that a rewind was not finished',
    run: { faults: ['killRewinding'], seeds: 60 },
    apply: () => forgetting({ rewinding: false }),
  },
  S13: {
    what: 'the read port shows every node',
    run: { faults: ['cutOff'], seeds: 60 },
    apply: () =>
      around(Haproxy.prototype, 'read', (own: Haproxy['read']) => (addresses) => {
        own(addresses.length === 0 ? [] : ['10.0.0.20', '10.0.0.21', '10.0.0.22', '10.0.0.23']);
      }),
  },
  S14: {
    what: 'whoever answers at the address of the new leader is taken for it',
    run: { faults: ['stranger'], seeds: 60 },
    apply: () =>
      around(OpeningChecks.prototype, 'once', (own: (check: object) => Promise<boolean>) => async (check) => {
        return own(check).catch((error: unknown) => {
          if (error instanceof Error && error.message.includes('answers as another node')) return true;
          throw error;
        });
      }),
  },
  S15: {
    what: 'what HAProxy was told counts as done, without being read back',
    run: { replicas: 2, faults: ['pause', 'haproxyFreezes'], seeds: 60 },
    apply: () => {
      const told = new WeakMap<Haproxy, { slot: string | null; keep: string | null }>();
      around(Haproxy.prototype, 'write', (own: Haproxy['write'], haproxy) => (slot, keep) => {
        told.set(haproxy, { slot, keep });
        own(slot, keep);
      });
      around(Haproxy.prototype, 'view', (own: Haproxy['view'], haproxy) => () => {
        const { slot, keep } = told.get(haproxy) ?? { slot: null, keep: null };
        return { ...own(), reachable: true, slot, closed: slot === null, keeping: keep, clean: true };
      });
    },
  },
  S16: {
    what: 'a reader may hold up the replay of a member for as long as PostgreSQL lets it by default',
    run: { faults: ['readers'], seeds: 60 },
    shows: /^HELD UP/,
    apply: () => setting('ms', 'max_standby_streaming_delay', 30_000),
  },
  S17: {
    what: 'nobody lets writers go when fewer standbys are waited for',
    run: { replicas: 2, policy: { syncCount: 2 }, faults: ['pause'], seeds: 30 },
    shows: /^STILL WAITS/,
    apply: () => {
      replace(SimPostgres.prototype, 'kick', () => async () => undefined);
      // The next record of anybody would do it, too.
      replace(SimPostgres.prototype, 'startHeartbeat', () => () => undefined);
      setting('ms', 'wal_receiver_status_interval', 10_000);
    },
  },
  S18: {
    what: 'a shutdown waits for a standby that hangs',
    run: { replicas: 2, faults: ['stopWithHungStandby'], seeds: 10 },
    shows: LATE,
    apply: () => replace(PostgresServer.prototype, 'patienceMs', () => () => 60_000),
  },
  S21: {
    what: 'a leader that the monitor does not hear is dead, whatever its standbys see of its heartbeat',
    run: { faults: ['apart'], steady: 'leader', seeds: 10 },
    shows: /^FALSE FAILOVER/,
    apply: () => seeing((view) => ({ ...view, heartbeatSeenAtMs: null })),
  },
  'S22, made': {
    what: 'nobody makes slots for its peers',
    run: { faults: ['killLeader'], seeds: 3 },
    shows: LIVENESS,
    apply: () => replace(SimPostgres.prototype, 'ensureSlots', () => async () => undefined),
  },
  'S22, made anew': {
    what: 'a slot that fell off stays as it is',
    run: { faults: ['fallOff'], seeds: 300 },
    shows: LIVENESS,
    apply: () => takeOut(keepSlots, () => async () => undefined),
  },
  'S22, words': {
    what: 'words in the log of PostgreSQL, which any client can put there, say that a standby cannot stream',
    run: { faults: ['hostileName'], seeds: 5 },
    shows: /^NEEDLESS COPY/,
    apply: () => {
      believeWords();
      takeOut(mustBeOrdered, (own) => async (method, host, rewindFailed, stop) => {
        const { streamImpossible } = host.view;
        // Also of a standby that streams.
        if (streamImpossible !== null) throw new KeeperError('STREAM_IMPOSSIBLE', streamImpossible);
        await own(method, host, rewindFailed, stop);
      });
    },
  },
  'S22, old words': {
    what: 'words of weeks ago, of another role, say that a standby cannot stream',
    run: { faults: ['oldWords'], seeds: 5 },
    shows: /^NEEDLESS COPY/,
    apply: () => {
      replace(ServerWords.prototype, 'begin', () => () => undefined);
      believeWords();
    },
  },
  'S22, log kept': {
    what: 'nothing keeps the log that is written while a node is copied',
    run: { replicas: 1, faults: ['largeDatabase'], seeds: 3 },
    shows: LIVENESS,
    apply: () => {
      replace(SimPostgres.prototype, 'reserve', () => () => undefined);
      replace(SimPostgres.prototype, 'receiveMore', () => () => undefined);
    },
  },
  'S22, one at a time': {
    what: 'all nodes are copied at the same time',
    run: { replicas: 2, faults: ['twoCopies'], seeds: 5 },
    shows: /^TWO COPIES/,
    apply: () => takeOut(oneCopyAtATime, () => (_s, targets) => targets),
  },
  'S11, silence': {
    what: 'a node of whose network nothing is known is given 25 ms to answer',
    run: { faults: Object.keys(FROZEN), steady: true, seeds: 20 },
    shows: /^FALSE FAILOVER/,
    apply: () => replace(AnswerTimes.prototype, 'limitMs', () => () => PROBE_LIMIT_MS),
  },
  S23: {
    what: 'a standby starts with fewer connections than its leader has',
    run: { faults: ['changeSettings'], seeds: 30 },
    shows: /^(NO WAY OUT|NOT (HEALED|IDENTICAL)|SETTINGS NOT IN FORCE)/,
    apply: () => replace(Tunables.prototype, 'lower', () => () => []),
  },
  S25: {
    what: 'the preferred node gets the lead back as soon as ever, however often it has lost it again',
    run: { policy: { switchback: true }, faults: ['preferredDies'], seeds: 5 },
    shows: /^FLAPPING/,
    apply: () => takeOut(mayReturn, (own) => (s) => own(s.with({ ...s.state, switchbacks: 0 }))),
  },
  S26: {
    what: 'a promotion asks an archive first, and the archive hangs',
    run: { faults: ['archiveHangs'], seeds: 5 },
    shows: LIVENESS,
    apply: () => setting('text', 'restore_command', 'cp /archive/%f %p'),
  },
  S27: {
    what: 'a leader whose keeper answers is well, whether it commits or not',
    run: { faults: ['wedged'], seeds: 10 },
    shows: LATE,
    apply: () => replace(SimPostgres.prototype, 'heartbeat', () => () => ({ count: 1, ageMs: 0 })),
  },
  'S27, error': {
    what: 'an error that answers a heartbeat is taken for a hang, and its table is not made again',
    run: { faults: ['loseHeartbeat'], seeds: 5 },
    shows: /^(UNSTEADY|NO WAY OUT|NOT )/,
    apply: () => {
      replace(SimPostgres.prototype, 'beatErred', () => () => undefined);
      replace(SimPostgres.prototype, 'repair', () => () => false);
    },
  },
  S28: {
    what: 'silence counts threefold, and no heartbeat on a replica speaks against it',
    run: { faults: Object.keys(STARVATION), steady: true, seeds: 60 },
    shows: /^FALSE FAILOVER/,
    apply: () => seeing((view) => ({ ...view, silentMs: 3 * view.silentMs, heartbeatSeenAtMs: null })),
  },
  pause: {
    what: 'a pause holds nothing back',
    run: { faults: ['pauseFailover'], seeds: 10 },
    apply: () => takeOut(holdOf, () => () => null),
  },
  joint: {
    what: 'a new sync configuration takes the place of the old one at once',
    run: { faults: ['badMinute', 'killLeader', 'partition'], seeds: 60 },
    apply: () => takeOut(withConfig, () => (_joint, next) => [next]),
  },
  'joint, term': {
    what: 'a sync configuration belongs to a leader, whatever the term',
    run: { faults: ['restartThenDeath'], seeds: 3 },
    shows: LATE,
    apply: () =>
      takeOut(
        withConfig,
        (own) => (joint, next, leaderOpened) => own(joint.map(withoutTerm), withoutTerm(next), leaderOpened),
      ),
  },
  'joint, leaves': {
    what: 'the data of a counted member is given up as soon as a copy is wanted',
    run: { replicas: 1, policy: { onNoReplica: 'block' }, faults: ['lastCopyThenLoss'], seeds: 5 },
    shows: /^LOST/,
    apply: () => takeOut(leaveFirst, () => (_s, target) => target),
  },
};
