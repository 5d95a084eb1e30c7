/**
 * A cluster of three nodes that is so small that all of its histories can be explored. Positions are numbers of writes;
 * a shutdown, a rewind or a copy is one step; time is a choice. The deciding code is the shipped one: `decide`, and the
 * comparison by which a keeper accepts orders. The effects in PostgreSQL, HAProxy and the network are abstract, but as
 * unfavourable as the real ones:
 * - every order that was given may arrive at any time, late, twice or never, and a status may have any age;
 * - a leader that the monitor does not hear keeps running, and its standbys keep confirming its writes (S1);
 * - a new setting is shown before commits use it (S4);
 * - a promotion takes the next timeline number, which another promotion may have taken as well, and PostgreSQL compares
 *   only numbers when it streams or rewinds (S3).
 */
import type { Order, SyncConfig, Target } from '../../failover/contract/messages';

export const NAMES = ['p', 'a', 'b'] as const;
export type Name = (typeof NAMES)[number];

/** An order in the form in which a keeper stores it; the incarnation is always 1. */
export type Given = Pick<Order, 'term' | 'seq' | 'target'>;

export interface Node {
  up: boolean;
  /** Neither orders nor statuses get through between the node and the monitor. */
  cut: boolean;
  role: 'primary' | 'standby' | 'stopped';
  /** The writes on its disk, one letter each. */
  log: string;
  timeline: number;
  /** The earlier timelines, and where each of them ended. */
  history: readonly (readonly [timeline: number, end: number])[];
  /** Number of the data directory. Each copy is a new one. */
  directory: number;
  clean: boolean;
  accepted: Given;
  /** The accepted order was given since the container started (S13). */
  ordered: boolean;
  promotingTerm: number | null;
  promotedTerm: number;
  /**
   * Its PostgreSQL became a primary without an order. This stays stored until the data is replaced, or is led by an
   * order (S3).
   */
  byHand: boolean;
  leadTerm: number | null;
  upstream: Name | null;
  /** The leader and term whose history a rewind or copy has brought it to. */
  joined: string;
  /** The synchronous setting that is shown, and the one that commits use; null: nothing is acknowledged. */
  shown: SyncConfig | null;
  inForce: SyncConfig | null;
  /** Number of writes when that setting came into force. */
  countsFrom: number;
  /** A person has paused replay. The node still receives and confirms. */
  held: boolean;
  /** Number of writes that each standby has confirmed to this leader. */
  confirmed: Readonly<Partial<Record<Name, number>>>;
}

export interface World {
  nodes: Readonly<Record<Name, Node>>;
  /** Orders that are under way to each node. */
  sent: Readonly<Record<Name, readonly Given[]>>;
  /** HAProxy's state, and the state that was ordered. */
  slot: Name | null;
  sessions: readonly Name[];
  wanted: { slot: Name | null; keep: Name | null };
  /** Writes that were acknowledged to a client. */
  acknowledged: string;
  writes: number;
  crashes: number;
  cuts: number;
  starts: number;
  /** Number of statements of people: promotions by hand, lost heartbeats, pauses of replay. */
  hands: number;
  /** A person deleted the heartbeat's row, on every node. */
  lost: boolean;
}

export function length(node: Node): number {
  return node.log.length;
}

/** Whether PostgreSQL lets `standby` stream from `leader`. It compares numbers, not the content of the WAL (S3). */
export function fits(standby: Node, leader: Node): boolean {
  if (!leader.up || leader.role !== 'primary') return false;
  if (standby.timeline === leader.timeline) return length(standby) <= length(leader);
  const end = leader.history.find(([timeline]) => timeline === standby.timeline)?.[1];
  return end !== undefined && length(standby) <= end;
}

export function streams(world: World, name: Name): boolean {
  const node = world.nodes[name];
  return node.up && node.role === 'standby' && node.upstream !== null && fits(node, world.nodes[node.upstream]);
}

/** True when enough members have confirmed everything up to `position`. */
export function confirmedBy(leader: Node, config: SyncConfig, position: number): boolean {
  const have = config.members.filter((m) => (leader.confirmed[m as Name] ?? 0) >= position);
  return have.length >= config.k;
}

/** Whether the keeper reports that the ordered configuration is in force; `early` leaves out S4. */
export function isProven(world: World, name: Name, early: boolean): boolean {
  const node = world.nodes[name];
  const { target } = node.accepted;
  if (target.kind !== 'lead' || node.role !== 'primary') return false;
  if (early) return same(node.shown, target.sync);
  if (!same(node.inForce, target.sync)) return false;
  return confirmedBy(node, target.sync, node.countsFrom);
}

export function same(a: SyncConfig | null, b: SyncConfig): boolean {
  return a !== null && a.leader === b.leader && a.k === b.k && a.members.join() === b.members.join();
}

/** A node that runs and has carried out its order. */
function standing(part: Partial<Node>, target: Target): Node {
  return {
    up: true,
    cut: false,
    role: 'standby',
    log: '',
    timeline: 1,
    history: [],
    directory: 0,
    clean: true,
    accepted: { term: 1, seq: 1, target },
    ordered: true,
    promotingTerm: null,
    promotedTerm: 0,
    byHand: false,
    leadTerm: null,
    upstream: 'p',
    joined: '',
    shown: null,
    inForce: null,
    countsFrom: 0,
    held: false,
    confirmed: {},
    ...part,
  };
}

/** The first state: `p` leads in term 1 and waits for `k` of a and b. */
export function firstWorld(k: number): World {
  const sync: SyncConfig = { leader: 'p', k, members: ['a', 'b'] };
  const follow: Target = { kind: 'follow', leader: 'p', method: 'stream' };
  const leads: Partial<Node> = { role: 'primary', upstream: null, leadTerm: 1, promotedTerm: 1, shown: sync };
  return {
    nodes: {
      p: standing({ ...leads, inForce: sync, confirmed: { a: 0, b: 0 } }, { kind: 'lead', sync }),
      a: standing({}, follow),
      b: standing({}, follow),
    },
    sent: { p: [], a: [], b: [] },
    slot: 'p',
    sessions: ['p'],
    wanted: { slot: 'p', keep: 'p' },
    acknowledged: '',
    writes: 0,
    crashes: 0,
    cuts: 0,
    starts: 0,
    hands: 0,
    lost: false,
  };
}
