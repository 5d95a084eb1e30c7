/**
 * Mutations: each takes one rule of docs/safety.md out of the shipped code by replacing a seam (contract/seam.ts) or a
 * method, and names the faults in which the simulator must then report an error. mutations.test.ts runs them all.
 */

import { join } from 'node:path';
import type { MonitorFrame } from '../../failover/contract/messages';
import { compareOrders } from '../../failover/contract/messages';
import type { Seam } from '../../failover/contract/seam';
import { archiveActions } from '../../failover/core/effects/archive';
import { choose, followersOf } from '../../failover/core/facts/candidates';
import { isTakenForBroken, leaveFirst, oneCopyAtATime } from '../../failover/core/facts/copying';
import { holdOf } from '../../failover/core/facts/hold';
import { addEntry, hasStrangeHistory, LEDGER_MAX, rejoinMethod } from '../../failover/core/facts/ledger';
import { isReportReplica, mayReplayLate } from '../../failover/core/facts/reports';
import { highestTimeline } from '../../failover/core/facts/restores';
import { isProven, withConfig } from '../../failover/core/facts/sync-set';
import { isMember } from '../../failover/core/facts/view';
import { mayReturn } from '../../failover/core/facts/watch';
import { RULES } from '../../failover/core/rules';
import type { ClusterState, LedgerEntry, Policy, SyncConfig } from '../../failover/core/state/cluster';
import type { NodeView } from '../../failover/core/state/observation';
import { Archiving, type ArchivingHost } from '../../failover/keeper/archiving';
import { ClientReplication, type ReplicationHost } from '../../failover/keeper/client-replication';
import { keepSlots, Leadership } from '../../failover/keeper/leadership';
import type { View } from '../../failover/keeper/ports';
import { KeeperError } from '../../failover/keeper/ports';
import { clientName } from '../../failover/keeper/postgres/gate/startup';
import type { Stretch } from '../../failover/keeper/postgres/timelines';
import { WalQueue } from '../../failover/keeper/postgres/wal-queue';
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
    /** Faults of the simulated run; the missing rule shows in them. */
    faults: readonly string[];
    /** Set when none of these faults is a reason to change the leader. */
    steady?: boolean | 'leader';
    /** The simulator must find the error within this number of seeds. */
    seeds: number;
  };
  /** Form of the violation that the simulator then reports. @default {@link SAFETY} */
  shows?: RegExp;
  apply: () => void;
}

/** Violations of safety: data or a result is lost, wrong or doubled. */
export const SAFETY = /^(PAUSED|LOST|VANISHED|STALE|FORKED|TERMS|TWO ROUTES|ORDERS|DIFFERENT|PHANTOM)/;
/** Violations of liveness: the cluster never gets into a state that it must reach. */
const LIVENESS = /^(NO WAY OUT|NOT (BUILT|HEALED|IDENTICAL))/;
/** Violation of speed: no leader serves within the time limit of a failover. */
const LATE = /^NO FAILOVER/;

/** Of every node that the simulator may have. */
const ADDRESSES = ['10.0.0.20', '10.0.0.21', '10.0.0.22', '10.0.0.23'];

type Method = (...args: never[]) => unknown;

const undo: (() => void)[] = [];

/** Puts every rule back. */
export function putBack(): void {
  for (const back of undo.splice(0).reverse()) back();
}

/** Adds a ledger entry as releases up to 0.1.0 did: with an old entry they also dropped the member. */
function addAndForget(state: ClusterState, entry: LedgerEntry): Pick<ClusterState, 'ledger' | 'members'> {
  const ledger = [...state.ledger, entry];
  const members = { ...state.members };
  while (ledger.length > LEDGER_MAX) {
    const dropped = ledger.shift();
    if (dropped !== undefined && !dropped.opened && members[dropped.node] === dropped.dataId)
      delete members[dropped.node];
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

/** The lease that a keeper would have if it needed none of the monitor. */
function leaseOf(archiving: Archiving, { n }: Ping): Pick<Ping, 'archive'> {
  const { host } = archiving as unknown as { host: ArchivingHost };
  const term = host.leadership()?.term ?? null;
  return term === null ? {} : { archive: { term, heard: n } };
}

type Ping = Extract<MonitorFrame, { type: 'ping' }>;

/** As {@link replace}; `make` gets the original method, bound to its object, and the object. */
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

/** A keeper that starts loads its stored state with `part` in place of the stored values. */
function forgetting(part: object): void {
  around(SimFiles.prototype, 'load', (own: () => Promise<object>) => async () => ({ ...(await own()), ...part }));
}

/** The monitor sees a changed view of each node. */
function seeing(change: (view: NodeView) => NodeView): void {
  around(KeeperServer.prototype, 'views', (own: KeeperServer['views']) => (nowMs) => {
    return Object.fromEntries(Object.entries(own(nowMs)).map(([name, view]) => [name, change(view)]));
  });
}

/** A keeper that looks at its PostgreSQL sees a changed view. */
function looking(change: (view: View, postgres: SimPostgres) => View): void {
  around(SimPostgres.prototype, 'observe', (own: SimPostgres['observe'], self) => async () => {
    return change(await own(), self);
  });
}

/** PostgreSQL on every node has another value of a setting. */
function setting(kind: 'ms' | 'text', name: string, value: number | string): void {
  around(
    Settings.prototype,
    kind,
    (own: (asked: string) => unknown) => (asked) => (asked === name ? value : own(asked)),
  );
}

/** A message in PostgreSQL's log counts as if the leader had answered that streaming is impossible (S22). */
function trustServerLog(): void {
  looking((view, { words }) => ({ ...view, streamImpossible: view.streamImpossible ?? words.impossible }));
}

/** By the names that docs/safety.md lists for each rule. */
export const MUTATIONS: Readonly<Record<string, Mutation>> = {
  S1: {
    what: 'a candidate is chosen by positions that were reported without a promise',
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
    what: 'the sessions of a closed slot are ended while one of them is still connecting',
    run: { faults: ['kill', 'partition', 'pause'], seeds: 120 },
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
    what: 'data from a promotion that was never opened is treated as any other data',
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
    what: 'a data directory is no longer a member once any of its ledger entries is dropped',
    run: { replicas: 1, faults: ['manyLeaderships'], seeds: 5 },
    shows: /^(NEEDLESS COPY|NO WAY OUT|UNSTEADY)/,
    apply: () => {
      withoutRules('leader-known');
      takeOut(addEntry, () => addAndForget);
    },
  },
  S4: {
    what: 'a sync configuration counts as in force as soon as it was written, without the barrier',
    run: { faults: ['killAtGrowth'], seeds: 30 },
    apply: () => takeOut(raiseBarrier, () => async () => undefined),
  },
  S5: {
    what: 'a keeper accepts orders that are older than what it has accepted',
    run: { faults: ['network', 'killLeader'], seeds: 60 },
    apply: () =>
      // Only the keeper compares whole orders (which have a `type`); the monitor compares ids of accepted orders.
      takeOut(compareOrders, (own) => (a, b) => ('type' in a ? 1 : own(a, b))),
  },
  S6: {
    what: 'a standby’s position counts before it has replayed all WAL on its disk',
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
    what: 'the oracles take a commit whose wait was cancelled for an acknowledged one',
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
    what: 'crashes within a minute count as broken data, also when the node has other data since',
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
    what: 'privileges that people revoke from the failover’s roles are not restored',
    run: { faults: ['revokeConnect'], seeds: 5 },
    shows: LIVENESS,
    apply: () => replace(SimPostgres.prototype, 'repair', () => () => false),
  },
  S10: {
    what: 'the store is taken for the newest state, also when a keeper has a newer one',
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
    what: 'a monitor that stood still acts on what it saw before, and gives way to no other monitor',
    run: { replicas: 2, faults: ['staleMonitor'], seeds: 60 },
    apply: () => {
      withoutRules('slot-moved');
      takeOut(compareOrders, () => (a, b) => a.term - b.term || a.seq - b.seq);
      replace(Ticker.prototype, 'notice', () => () => undefined);
      replace(Loop.prototype, 'outranked', () => () => undefined);
      replace(Workers.prototype, 'throwAfterStall', () => () => undefined);
      // It sends the command that it was about to send when it stood still.
      const say = (socket: string, line: string) => ask(join('/run/haproxy', socket), line);
      replace(Workers.prototype, 'ask', () => say);
      // It keeps its wish for the slot that it opened.
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
        own(addresses.length === 0 ? [] : ADDRESSES);
      }),
  },
  'S13, stays': {
    what: 'readers’ sessions stay on the leader, which serves reads too, when another node leads',
    run: { faults: ['cutOff'], seeds: 60 },
    shows: /^PHANTOM/,
    apply: () =>
      around(Haproxy.prototype, 'read', (own: Haproxy['read'], haproxy) => (addresses) => {
        // Alone this is no fault: the slot leads to a node that leads.
        const { slot } = haproxy.view();
        const open = slot === null || addresses.includes(slot) ? addresses : [...addresses, slot];
        own(
          open,
          ADDRESSES.filter((address) => !open.includes(address)),
        );
      }),
  },
  S14: {
    what: 'another node that answers at the new leader’s address is taken for the new leader',
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
    what: 'a command to HAProxy counts as carried out without being read back',
    run: { replicas: 2, faults: ['pause', 'haproxyFreezes'], seeds: 60 },
    apply: () => {
      const sent = new WeakMap<Haproxy, { slot: string | null; keep: string | null }>();
      around(Haproxy.prototype, 'write', (own: Haproxy['write'], haproxy) => (slot, keep) => {
        sent.set(haproxy, { slot, keep });
        own(slot, keep);
      });
      around(Haproxy.prototype, 'view', (own: Haproxy['view'], haproxy) => () => {
        const { slot, keep } = sent.get(haproxy) ?? { slot: null, keep: null };
        return { ...own(), reachable: true, slot, closed: slot === null, keeping: keep, clean: true };
      });
    },
  },
  S16: {
    what: 'a reader may delay a standby’s replay for 30 s, PostgreSQL’s default',
    run: { faults: ['readers'], seeds: 60 },
    shows: /^HELD UP/,
    apply: () => setting('ms', 'max_standby_streaming_delay', 30_000),
  },
  'S16, counted': {
    what: 'readers may delay replay for long also on a standby that writes wait for',
    run: { replicas: 2, faults: ['readers'], seeds: 60 },
    shows: /^HELD UP/,
    apply: () => takeOut(mayReplayLate, () => () => true),
  },
  'S16, added': {
    what: 'a report replica is added to the sync configuration like any other standby',
    run: { replicas: 2, policy: { reportReplicas: 1 }, faults: ['kill'], seeds: 3 },
    shows: /^REPORT COUNTED/,
    apply: () => takeOut(isReportReplica, () => () => false),
  },
  S17: {
    what: 'waiting commits are not released when the sync configuration gets smaller',
    run: { replicas: 2, policy: { syncCount: 2 }, faults: ['pause'], seeds: 30 },
    shows: /^STILL WAITS/,
    apply: () => {
      replace(SimPostgres.prototype, 'kick', () => async () => undefined);
      // The next heartbeat would release them, too.
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
    what: 'a leader that does not answer the monitor is dead, although its heartbeat advances on a standby',
    run: { faults: ['apart'], steady: 'leader', seeds: 10 },
    shows: /^FALSE FAILOVER/,
    apply: () => seeing((view) => ({ ...view, heartbeatSeenAtMs: null })),
  },
  'S22, made': {
    what: 'no node makes replication slots for its peers',
    run: { faults: ['killLeader'], seeds: 3 },
    shows: LIVENESS,
    apply: () => replace(SimPostgres.prototype, 'ensureSlots', () => async () => undefined),
  },
  'S22, made anew': {
    what: 'a replication slot that lost its WAL is not made again',
    run: { faults: ['fallOff'], seeds: 300 },
    shows: LIVENESS,
    apply: () => takeOut(keepSlots, () => async () => undefined),
  },
  'S22, log text': {
    what: 'a message in PostgreSQL’s log, which any client can write there, counts as proof that a standby cannot stream',
    run: { faults: ['hostileName'], seeds: 5 },
    shows: /^NEEDLESS COPY/,
    apply: () => {
      trustServerLog();
      takeOut(mustBeOrdered, (own) => async (method, host, rewindFailed, stop) => {
        const { streamImpossible } = host.view;
        // This check now also concerns a standby that streams.
        if (streamImpossible !== null) throw new KeeperError('STREAM_IMPOSSIBLE', streamImpossible);
        await own(method, host, rewindFailed, stop);
      });
    },
  },
  'S22, old log text': {
    what: 'a message in PostgreSQL’s log from before the server’s last start counts as such a proof',
    run: { faults: ['oldWords'], seeds: 5 },
    shows: /^NEEDLESS COPY/,
    apply: () => {
      replace(ServerWords.prototype, 'begin', () => () => undefined);
      trustServerLog();
    },
  },
  'S22, log kept': {
    what: 'nothing keeps the WAL that is written while a node is copied',
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
    what: 'a node whose answer times are unknown gets only 25 ms to answer',
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
    what: 'the wait before a switchback does not grow, however often the preferred node lost the lead again',
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
  'archive, opened': {
    what: 'a candidate archives before it is opened; the core’s own check then refuses the decision',
    run: { policy: { backup: true }, faults: ['killLeader'], seeds: 5 },
    shows: LIVENESS,
    apply: () =>
      takeOut(archiveActions, () => ({ lastEntry, state }) => {
        return lastEntry === null ? [] : [{ kind: 'archive', node: lastEntry.node, term: state.term }];
      }),
  },
  'archive, candidate': {
    what: 'a keeper archives whenever it leads, also before it is opened',
    run: { replicas: 2, policy: { backup: true }, faults: ['candidateLingers'], seeds: 10 },
    shows: /^TWO ARCHIVES/,
    apply: () =>
      around(Archiving.prototype, 'pinged', (own: Archiving['pinged'], self) => (ping: Ping) => {
        own({ ...ping, ...leaseOf(self, ping) });
      }),
  },
  'archive, slot': {
    what: 'no node keeps the write-ahead log that the repository does not have',
    run: { replicas: 1, policy: { backup: true }, faults: ['leaderIsLost'], seeds: 5 },
    shows: /^NOT KEPT/,
    apply: () => replace(Archiving.prototype, 'keepWal', () => () => undefined),
  },
  'archive, slot moves': {
    what: 'a standby moves its slot of the archive to what it has itself, and not to what the repository has',
    run: { replicas: 1, policy: { backup: true }, faults: ['leaderIsLost'], seeds: 5 },
    shows: /^NOT KEPT/,
    apply: () =>
      replace(
        Archiving.prototype,
        'keptFrom',
        () =>
          function (this: { host: ArchivingHost }) {
            return this.host.view.sql?.receiveLsn ?? null;
          },
      ),
  },
  'archive, gaps': {
    what: 'a leader does not hear of the write-ahead log that the former one let go',
    run: { policy: { backup: true }, faults: ['archiveRefuses'], seeds: 5 },
    shows: /^NOT ARCHIVED/,
    apply: () =>
      around(Archiving.prototype, 'pinged', (own: Archiving['pinged']) => (ping: Ping) => {
        own({ ...ping, archivedGaps: [] });
      }),
  },
  'archive, rest': {
    what: 'a new leader archives nothing of what the former one had not archived',
    run: { policy: { backup: true }, faults: ['killLeader'], seeds: 5 },
    shows: /^NOT ARCHIVED/,
    apply: () =>
      replace(
        WalQueue.prototype,
        'begin',
        () =>
          function (this: { history: readonly Stretch[] }) {
            return (this.history.at(-1)?.begin ?? 0n) & ~1023n;
          },
      ),
  },
  'restore, timeline': {
    what: 'a restore in place takes the next number after its own history’s, which another history may have',
    run: { policy: { backup: true }, faults: ['restoreInPlace'], seeds: 20 },
    shows: /^(TWO ARCHIVES|NOT ARCHIVED|DIFFERENT)/,
    apply: () => takeOut(highestTimeline, () => () => 0),
  },
  'replication, candidate': {
    what: 'a keeper lets clients of replication in whenever it leads, also before it is opened',
    run: { replicas: 2, policy: { replication: true }, faults: ['candidateLingers'], seeds: 10 },
    shows: /^TWO STREAMS/,
    apply: () =>
      replace(
        ClientReplication.prototype,
        'mayEnter',
        () =>
          function (this: { host: ReplicationHost }) {
            return this.host.leadership() !== null;
          },
      ),
  },
  'replication, name': {
    what: 'a client of replication may call itself like a standby, and then counts as one',
    run: { policy: { replication: true }, faults: ['killRewinding'], seeds: 10 },
    shows: /^LOST/,
    apply: () => takeOut(clientName, () => (own) => own),
  },
  'replication, consumers': {
    what: 'a consumer of a logical slot is sent changes that no standby has (synchronized_standby_slots is not set)',
    run: { policy: { replication: true }, faults: ['killRewinding'], seeds: 10 },
    shows: /^NOT CONSUMED/,
    apply: () =>
      around(Leadership.prototype, 'consumerSlots', (own: Leadership['consumerSlots']) => (settings, sync) => {
        own(settings, sync);
        return '';
      }),
  },
  S27: {
    what: 'a leader whose keeper answers is well, also when its PostgreSQL commits nothing',
    run: { faults: ['wedged'], seeds: 10 },
    shows: LATE,
    apply: () => replace(SimPostgres.prototype, 'heartbeat', () => () => ({ count: 1, ageMs: 0 })),
  },
  'S27, error': {
    what: 'a heartbeat that ends with an error counts as unanswered, and the heartbeat’s objects are not made again',
    run: { faults: ['loseHeartbeat'], seeds: 5 },
    shows: /^(UNSTEADY|NO WAY OUT|NOT )/,
    apply: () => {
      replace(SimPostgres.prototype, 'beatErred', () => () => undefined);
      replace(SimPostgres.prototype, 'repair', () => () => false);
    },
  },
  S28: {
    what: 'silence counts three times as long, and a heartbeat on a replica does not show that the leader lives',
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
    what: 'a new sync configuration replaces the old one before it is proven',
    run: { faults: ['badMinute', 'killLeader', 'partition'], seeds: 60 },
    apply: () => takeOut(withConfig, () => (_joint, next) => [next]),
  },
  'joint, term': {
    what: 'sync configurations carry no term, so those of an unopened term stay when its candidate is given up',
    run: { faults: ['restartThenDeath'], seeds: 3 },
    shows: LATE,
    apply: () =>
      takeOut(
        withConfig,
        (own) => (joint, next, leaderOpened) => own(joint.map(withoutTerm), withoutTerm(next), leaderOpened),
      ),
  },
  'joint, leaves': {
    what: 'a counted member’s data is removed as soon as a copy is needed',
    run: { replicas: 1, policy: { onNoReplica: 'block' }, faults: ['lastCopyThenLoss'], seeds: 5 },
    shows: /^LOST/,
    apply: () => takeOut(leaveFirst, () => (_s, target) => target),
  },
};
