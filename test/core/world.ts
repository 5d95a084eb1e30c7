/** Builders for states and observations, so that a test names only what it is about. */

import { Situation } from '../../failover/core/facts/situation';
import { newWatch } from '../../failover/core/facts/watch';
import type { Action, ClusterState, GivenOrder, LedgerEntry, Policy, Status } from '../../failover/core/state/cluster';
import { emptyState } from '../../failover/core/state/cluster';
import type { NodeView, Observation } from '../../failover/core/state/observation';

export const NOW_MS = 100_000;
export const POLICY: Policy = {
  hangTimeoutMs: 2_000,
  syncMode: 'synchronous',
  onNoReplica: 'continue',
  syncCount: 1,
  maxLagBytes: 1_000_000,
  reportReplicas: 0,
  readLagGraceMs: 60_000,
  readFallback: true,
  startGraceMs: 10_000,
  switchback: false,
  switchbackAfterMs: 30_000,
  switchbackLimitMs: 600_000,
};

export type StatusPart = Partial<Omit<Status, 'postgres' | 'lead'>> & {
  postgres?: Partial<Status['postgres']>;
  lead?: Partial<NonNullable<Status['lead']>> | null;
};

/** Status of a standby that streams from `p` and has carried out its order; `part` replaces single fields. */
export function status(node: string, part: StatusPart = {}): Status {
  const { postgres, lead, ...rest } = part;
  return {
    type: 'status',
    n: 1,
    dataId: `1:${node}`,
    stopping: false,
    accepted: null,
    done: true,
    failure: null,
    promotingTerm: null,
    rewinding: false,
    ...rest,
    postgres: {
      state: 'standby',
      timeline: 1,
      lsn: '0/5000',
      cleanShutdown: null,
      streamingFrom: 'p',
      replayLsn: '0/5000',
      heartbeatSeen: 1,
      crashes: 0,
      ...postgres,
    },
    lead:
      lead == null
        ? null
        : {
            term: 1,
            timeline: 1,
            forkLsn: null,
            flushLsn: '0/5000',
            heartbeat: 1,
            heartbeatAgeMs: 20,
            syncInForce: null,
            standbys: [],
            ...lead,
          },
  };
}

export function view(name: string, part: Partial<NodeView> = {}): NodeView {
  return {
    name,
    connected: true,
    everConnected: true,
    changedAtMs: NOW_MS - 60_000,
    status: status(name),
    silentMs: 0,
    heardAtMs: NOW_MS - 20,
    streamingSeenAtMs: NOW_MS - 50,
    heartbeatSeenAtMs: NOW_MS - 3_000,
    probe: null,
    refusedAtMs: null,
    recall: null,
    ...part,
  };
}

/** View of a node that lost its connection to the monitor. A probe has confirmed its death, unless `part` differs. */
export function gone(name: string, part: Partial<NodeView> = {}): NodeView {
  return view(name, {
    connected: false,
    status: null,
    changedAtMs: NOW_MS - 20,
    probe: { alive: false, atMs: NOW_MS - 1 },
    ...part,
  });
}

export function observation(views: NodeView[], part: Partial<Observation> = {}): Observation {
  return {
    sinceMs: NOW_MS - 60_000,
    declared: views.map((v, i) => ({ name: v.name, address: `10.0.0.${20 + i}` })),
    nodes: Object.fromEntries(views.map((v) => [v.name, v])),
    haproxy: { reachable: true, epoch: '1@1', slot: '10.0.0.20', closed: false, keeping: '10.0.0.20', clean: true },
    certificate: { node: 'p', term: 1, epoch: '1@1' },
    watch: newWatch(NOW_MS),
    request: null,
    ...part,
  };
}

export function entry(part: Partial<LedgerEntry> = {}): LedgerEntry {
  return { term: 1, node: 'p', dataId: '1:p', timeline: 1, forkLsn: null, opened: true, ...part };
}

/** `p` leads in term 1 and counts the given replicas. */
export function serving(replicas: string[], part: Partial<ClusterState> = {}, k = 1): ClusterState {
  const sync = { leader: 'p', k: Math.min(k, replicas.length), members: replicas, term: 1 };
  const order = (target: GivenOrder['target']): GivenOrder => ({ term: 1, seq: 9, target });
  return {
    ...emptyState(),
    term: 1,
    seq: 10,
    adopting: false,
    leader: 'p',
    activity: { kind: 'serving' },
    members: Object.fromEntries(['p', ...replicas].map((n) => [n, `1:${n}`])),
    joint: [sync],
    ledger: [entry()],
    orders: {
      p: order({ kind: 'lead', sync }),
      ...Object.fromEntries(replicas.map((r) => [r, order({ kind: 'follow', leader: 'p', method: 'stream' })])),
    },
    ...part,
  };
}

/** A standby that streams and has all that the leader has, as the leader's PostgreSQL shows it. */
export const standbyRow = (name: string, syncState = 'quorum', replayLsn = '0/5000') => ({
  ...{ name, state: 'streaming', syncState, flushLsn: '0/5000', replayLsn },
});

/** View of a leader that serves: its order is carried out, and its sync configuration is proven to be in force. */
export function leaderView(state: ClusterState, part: StatusPart = {}, viewPart: Partial<NodeView> = {}): NodeView {
  const leader = state.leader ?? 'p';
  const order = state.orders[leader];
  const ordered = state.joint.at(-1) ?? null;
  return view(leader, {
    streamingSeenAtMs: null,
    status: status(leader, {
      dataId: state.members[leader] ?? `1:${leader}`,
      accepted: { incarnation: 1, term: order?.term ?? state.term, seq: order?.seq ?? state.seq, kind: 'lead' },
      ...part,
      postgres: { state: 'primary', streamingFrom: null, timeline: 1, ...part.postgres },
      lead:
        part.lead === null
          ? null
          : {
              term: state.term,
              syncInForce: ordered,
              standbys: (ordered?.members ?? []).map((name) => standbyRow(name)),
              ...part.lead,
            },
    }),
    ...viewPart,
  });
}

/** View of a replica that has accepted and carried out the order in the state. */
export function replicaView(
  state: ClusterState,
  name: string,
  part: StatusPart = {},
  viewPart: Partial<NodeView> = {},
): NodeView {
  const order = state.orders[name];
  const accepted =
    order === undefined ? null : { incarnation: 1, term: order.term, seq: order.seq, kind: order.target.kind };
  return view(name, { status: status(name, { accepted, ...part }), ...viewPart });
}

/** One moment of the core, with defaults for what a test is not about. */
export function situation(
  state: ClusterState,
  seen: Observation,
  nowMs: number = NOW_MS,
  policy: Policy = POLICY,
): Situation {
  return new Situation(state, seen, nowMs, policy);
}

/** What a node is ordered to be by these actions; undefined: nothing. */
export const orderOf = (actions: readonly Action[], node: string) =>
  actions.flatMap((a) => (a.kind === 'order' && a.node === node ? [a.order.target] : []))[0];

/** Where the decision sends writes; undefined: it leaves the route alone. */
export const routeOf = (actions: Action[]) => actions.flatMap((a) => (a.kind === 'route-write' ? [a.route] : []))[0];
