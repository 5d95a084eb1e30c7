/**
 * The monitor: the shipped `decide` with the monitor's observations and state. Decisions are cached, because `decide`
 * is pure.
 */
import { decide } from '../../failover/core/decide';
import { newWatch } from '../../failover/core/facts/watch';
import {
  type Action,
  type ClusterState,
  emptyState,
  type Policy,
  type Status,
} from '../../failover/core/state/cluster';
import type { Certificate, HaproxyView, NodeView, Observation } from '../../failover/core/state/observation';
import type { Ids } from './ids';
import { mustBeCopied, mustNotLead } from './keeper';
import { firstWorld, isProven, length, NAMES, type Name, type Node, streams, type World } from './world';

const NOW_MS = 100_000;
export const ADDRESSES: Record<Name, string> = { p: '10.0.0.20', a: '10.0.0.21', b: '10.0.0.22' };
const DECLARED = NAMES.map((name) => ({ name, address: ADDRESSES[name] }));

export function policyOf(k: number): Policy {
  return {
    hangTimeoutMs: 2_000,
    syncMode: 'synchronous',
    onNoReplica: 'continue',
    syncCount: k,
    maxLagBytes: 1_000_000,
    reportReplicas: 0,
    readLagGraceMs: 60_000,
    readFallback: true,
    startGraceMs: 0,
    switchback: false,
    switchbackAfterMs: 30_000,
    switchbackLimitMs: 600_000,
  };
}

export interface Monitor {
  state: ClusterState;
  /**
   * The last status of each node that the monitor does not hear. Of all other nodes the monitor has the newest status.
   */
  last: Readonly<Partial<Record<Name, Status>>>;
  /** The nodes of `last` that have not answered for longer than `hangTimeoutMs`. */
  silent: readonly Name[];
  certificate: Certificate | null;
  /** The opening check that was requested. */
  check: { node: Name; term: number } | null;
  /** Number of changes of the synchronous set while the leader served. */
  changes: number;
}

export function firstState(k: number): ClusterState {
  const { p, a, b } = firstWorld(k).nodes;
  return {
    ...emptyState(),
    term: 1,
    seq: 1,
    adopting: false,
    leader: 'p',
    activity: { kind: 'serving' },
    members: { p: '1:p0', a: '1:a0', b: '1:b0' },
    joint: [{ leader: 'p', k, members: ['a', 'b'] }],
    ledger: [{ term: 1, node: 'p', dataId: '1:p0', timeline: 1, forkLsn: null, opened: true }],
    orders: { p: p.accepted, a: a.accepted, b: b.accepted },
  };
}

/** Positions start at 16, so that a node without writes also has a position above zero. */
function lsn(writes: number): string {
  return `0/${((writes + 1) * 16).toString(16).toUpperCase()}`;
}

/** The status that a keeper sends about its node. `early` leaves out S4. */
export function statusOf(world: World, name: Name, early: boolean): Status {
  const node = world.nodes[name];
  const { accepted, role } = node;
  const feeds = streams(world, name) ? node.upstream : null;
  const known = role !== 'stopped' || node.clean;
  return {
    type: 'status',
    n: 0,
    dataId: `1:${name}${node.directory}`,
    stopping: false,
    accepted: { incarnation: 1, term: accepted.term, seq: accepted.seq, kind: accepted.target.kind },
    done: node.ordered && isDone(world, name, early),
    failure: node.ordered ? failureOf(world, name) : null,
    promotingTerm: node.promotingTerm,
    ...(node.byHand ? { promotedByHand: true } : {}),
    rewinding: false,
    postgres: {
      state: role,
      timeline: node.timeline,
      // While the node streams, its position changes and no decision depends on it. A fixed position keeps the number
      // of states small.
      lsn:
        node.held && role === 'standby'
          ? null
          : feeds !== null
            ? lsn(0)
            : known && (role !== 'standby' || node.upstream === null)
              ? lsn(length(node))
              : null,
      cleanShutdown: role === 'stopped' ? node.clean : null,
      streamingFrom: feeds,
      replayLsn: role === 'standby' ? lsn(0) : null,
      heartbeatSeen: null,
      crashes: 0,
    },
    lead: leadOf(world, name, node, early),
  };
}

function leadOf(world: World, name: Name, node: Node, early: boolean): Status['lead'] {
  if (node.role !== 'primary' || node.leadTerm === null) return null;
  const { target } = node.accepted;
  const end = node.history.at(-1)?.[1];
  return {
    term: node.leadTerm,
    timeline: node.timeline,
    forkLsn: end === undefined ? null : lsn(end),
    flushLsn: lsn(0),
    heartbeat: 0,
    // In the shipped code an error also counts as an answer. Here it does not, so a leader may be given up because of
    // it. Even then no write may be lost.
    heartbeatAgeMs: world.lost ? 10_000 : 0,
    syncInForce: target.kind === 'lead' && isProven(world, name, early) ? target.sync : null,
    standbys: NAMES.filter((n) => world.nodes[n].upstream === name && streams(world, n)).map((n) => {
      return { name: n, state: 'streaming', syncState: 'quorum', flushLsn: lsn(0), replayLsn: lsn(0) };
    }),
  };
}

function failureOf(world: World, name: Name): Status['failure'] {
  const node = world.nodes[name];
  if (node.accepted.target.kind !== 'lead' || !mustNotLead(node)) return mustBeCopied(world, name);
  return { code: 'MUST_NOT_LEAD', message: 'promoted in this term already' };
}

function isDone(world: World, name: Name, early: boolean): boolean {
  const node = world.nodes[name];
  const { term, target } = node.accepted;
  switch (target.kind) {
    case 'lead':
      return node.role === 'primary' && node.leadTerm === term && isProven(world, name, early);
    case 'follow':
      return node.upstream === target.leader && streams(world, name);
    case 'freeze':
      return node.role === 'standby' && node.upstream === null;
    case 'stop':
      return node.role === 'stopped';
    case 'wait':
      return target.unready !== true;
    case 'bootstrap':
    case 'restore':
      return true;
  }
}

type Views = Record<Name, Status | null>;

/** `late`: every wait has lasted long enough; otherwise it has only just begun. */
function observe(monitor: Monitor, world: World, views: Views, late: boolean): Observation {
  const nodes: Record<string, NodeView> = {};
  for (const name of NAMES) {
    const connected = world.nodes[name].up;
    const status = views[name];
    const streaming = status?.postgres.streamingFrom != null;
    nodes[name] = {
      name,
      connected,
      everConnected: true,
      changedAtMs: 0,
      status: connected ? status : null,
      silentMs: monitor.silent.includes(name) ? 3_000 : 0,
      heardAtMs: NOW_MS,
      streamingSeenAtMs: streaming || !late ? NOW_MS : null,
      heartbeatSeenAtMs: null,
      probe: connected ? null : { alive: false, atMs: NOW_MS },
      refusedAtMs: null,
      recall: null,
    };
  }
  return {
    sinceMs: 0,
    declared: DECLARED,
    nodes,
    haproxy: haproxyOf(world),
    certificate: monitor.certificate,
    watch: newWatch(late ? 0 : NOW_MS),
    request: null,
  };
}

function haproxyOf({ slot, sessions, wanted }: World): HaproxyView {
  const keeping = wanted.keep === null ? null : ADDRESSES[wanted.keep];
  const clean = slot === wanted.slot && sessions.every((s) => s === wanted.keep);
  return {
    reachable: true,
    epoch: '1@1',
    slot: slot === null ? null : ADDRESSES[slot],
    closed: slot === null,
    keeping,
    clean,
  };
}

interface Remembered {
  state: ClusterState;
  actions: Action[];
  code: string;
}

export class Decider {
  calls = 0;
  private readonly policy: Policy;
  private readonly known = new Map<string, Remembered>();
  private readonly statuses = new Map<string, Status>();

  constructor(
    k: number,
    private readonly early: boolean,
    private readonly ids: Ids,
  ) {
    this.policy = policyOf(k);
  }

  /** Throws the error of `decide` if the decision would break an invariant. */
  decide(monitor: Monitor, world: World, late: boolean): Remembered {
    const view = (name: Name) => (world.nodes[name].up ? this.heard(monitor, world, name) : null);
    const views: Views = { p: view('p'), a: view('a'), b: view('b') };
    const of = NAMES.map((n) => this.ids.of(views[n])).join(' ');
    const key = `${monitorKey(this.ids, monitor)} ${of} ${routeKey(world)} ${late}`;
    const before = this.known.get(key);
    if (before !== undefined) return before;
    this.calls += 1;
    const { state, actions, code } = decide(monitor.state, observe(monitor, world, views, late), NOW_MS, this.policy);
    const made = { state, actions, code };
    if (this.known.size < REMEMBERED_MAX) this.known.set(key, made);
    return made;
  }

  private heard(monitor: Monitor, world: World, name: Name): Status {
    const last = monitor.last[name];
    if (last !== undefined) return last;
    const { p, a, b } = world.nodes;
    const key = `${this.ids.ofNode(p)} ${this.ids.ofNode(a)} ${this.ids.ofNode(b)} ${name} ${world.lost}`;
    const known = this.statuses.get(key);
    if (known !== undefined) return known;
    const status = statusOf(world, name, this.early);
    if (this.statuses.size < REMEMBERED_MAX) this.statuses.set(key, status);
    return status;
  }
}

const REMEMBERED_MAX = 1_000_000;

/** The monitor's knowledge as a short key. */
export function monitorKey(ids: Ids, { state, last, silent, certificate }: Monitor): string {
  return `${ids.of(state)} ${ids.of(last)} ${silent.join('')} ${ids.of(certificate)}`;
}

/** HAProxy's state as a short key. */
export function routeKey({ slot, sessions, wanted }: World): string {
  return `${slot} ${sessions.join('')} ${wanted.slot} ${wanted.keep}`;
}
