/**
 * Derives from state and observation which order every declared node gets, after a rule has decided. An order that is
 * being carried out stays; a new one is stored with a higher seq before it is sent.
 */

import type { RejoinMethod } from '../../contract/messages';
import { COPY_TRIES_MAX, type Follow, isCopy, isTakenForBroken, leaveFirst, oneCopyAtATime } from '../facts/copying';
import { hasStrangeHistory, rejoinMethod } from '../facts/ledger';
import { DRAIN_MS, LEAVE_MS, STOP_LIMIT_MS } from '../facts/readiness';
import { mayReplayLate } from '../facts/reports';
import type { Situation } from '../facts/situation';
import { mustBeCopied } from '../facts/sync-set';
import { isPrimary } from '../facts/view';
import type { Activity, ClusterState, GivenOrder, LedgerEntry, Status, Target } from '../state/cluster';
import { planOf, standbyWorkOf } from '../state/cluster';

/** Sets `state.orders` to what every node has to be. Returns the same object when nothing changes. */
export function deriveOrders(s: Situation): ClusterState {
  const orders: Record<string, GivenOrder> = {};
  const seq = s.state.seq + 1;
  let changed = Object.keys(s.state.orders).some((n) => !s.names.includes(n));
  const targets = s.names.map((name) => [name, targetOf(s, name)] as const);
  for (const [name, target] of oneCopyAtATime(s, targets)) {
    const given = s.state.orders[name];
    const present = s.target(name);
    if (target !== null && (present === undefined || !sameTarget(present, target))) {
      orders[name] = { term: s.state.term, seq, target };
      changed = true;
    } else if (given !== undefined) {
      orders[name] = given;
    }
  }
  const ledger = withFollowers(s, orders);
  if (!changed && ledger === s.state.ledger) return s.state;
  return { ...s.state, seq, ledger, orders, addresses: addressesOf(s) };
}

/**
 * Records in the ledger which nodes were ordered to follow a leader that is not open. They may have its history, even
 * if they get other orders later. So the ledger keeps them until the promotion has ended (S3).
 */
function withFollowers(s: Situation, orders: Record<string, GivenOrder>): LedgerEntry[] {
  const entry = s.lastEntry;
  if (entry === null || entry.opened) return s.state.ledger;
  const followed = { ...entry.followed };
  for (const [node, { term, target }] of Object.entries(orders)) {
    const dataId = s.state.members[node];
    const follows = target.kind === 'follow' && target.leader === entry.node && term === entry.term;
    if (follows && dataId !== undefined) followed[node] = dataId;
  }
  const known = Object.entries(followed).every(([node, dataId]) => entry.followed?.[node] === dataId);
  return known ? s.state.ledger : [...s.state.ledger.slice(0, -1), { ...entry, followed }];
}

/**
 * The addresses of every declared node, and of a leader that was removed from the config, because it still has to be
 * reached.
 */
function addressesOf(s: Situation): Record<string, string> {
  const known = s.state.addresses?.[s.leader];
  const leader = known === undefined ? {} : { [s.leader]: known };
  return { ...leader, ...Object.fromEntries(s.observation.declared.map((d) => [d.name, d.address])) };
}

/** What the node has to be; null leaves its order as it is. */
function targetOf(s: Situation, node: string): Target | null {
  if (s.state.adopting) return adoptionTarget(s, node);
  const { activity } = s.state;
  if (activity.kind === 'empty') return { kind: 'wait', reason: 'no leader yet' };
  const status = s.status(node);
  if (node === s.observation.retiring && node !== s.state.leader) return retiredTarget(status);
  switch (activity.kind) {
    case 'bootstrap':
      if (node === activity.node) return { kind: 'bootstrap' };
      return { kind: 'wait', reason: 'the first node is being created' };
    case 'elect':
      return electTarget(s, node, status);
    case 'handover':
      if (node !== s.state.leader) return null;
      if (activity.cutOff === true) return { kind: 'stop' };
      // A switchback is called off long before this limit, so no session is cut.
      if (activity.gentle === true) return { kind: 'stop', drainMs: STOP_LIMIT_MS };
      return { kind: 'stop', drainMs: activity.planned === true ? DRAIN_MS : LEAVE_MS };
    case 'restart':
      return node === s.state.leader ? { kind: 'stop', drainMs: DRAIN_MS } : null;
    case 'restore':
      return restoreTarget(s, node, activity);
    case 'serving':
    case 'preparing':
    case 'promote':
      if (node === s.state.leader) return leadTarget(s);
      return status === null ? null : leaveFirst(s, followTarget(s, node, status), node, status);
  }
}

/**
 * While the monitor searches for the newest state, only a node whose PostgreSQL does not run gets an order: to wait.
 * The node carries it out at once and counts as healthy, so that a deployment goes on to the nodes that were not heard
 * yet.
 */
export function adoptionTarget(s: Situation, node: string): Target | null {
  const postgres = s.status(node)?.postgres.state;
  const isIdle = postgres === 'absent' || postgres === 'stopped';
  return isIdle ? { kind: 'wait', reason: 'every declared node is asked first' } : null;
}

/**
 * In a restore in place the standbys stop after the leader, because the leader's clean shutdown waits until each
 * standby has received all write-ahead log.
 */
function restoreTarget(s: Situation, node: string, activity: Extract<Activity, { kind: 'restore' }>): Target | null {
  const { stage, restore, above } = activity;
  if (node !== s.state.leader) return stage === 'stop' || s.status(node) === null ? null : { kind: 'stop' };
  if (stage === 'stop') return { kind: 'stop', drainMs: DRAIN_MS };
  return { kind: 'restore', step: stage, id: restore.id, from: restore.from, above };
}

/** A former leader that was removed from the config: it stops if it is a primary, and otherwise waits. */
function retiredTarget(status: Status | null): Target {
  return isPrimary(status) ? { kind: 'stop' } : { kind: 'wait', reason: 'it is not declared any more' };
}

function leadTarget(s: Situation): Target | null {
  const sync = s.ordered;
  const prepare = planOf(s.state) === null ? undefined : true;
  return sync === undefined ? null : { kind: 'lead', sync, prepare };
}

/**
 * In an election counted members promise (S1); in asynchronous mode, where none is counted, all members do. A node that
 * still runs as a primary stops. Every other node keeps its order.
 */
function electTarget(s: Situation, node: string, status: Status | null): Target | null {
  if (status === null) return null;
  const counted = s.state.joint.some((c) => c.members.includes(node)) || s.state.joint.every((c) => c.k === 0);
  if (node !== s.state.leader && counted) {
    return s.isMember(node, status.dataId) ? { kind: 'freeze' } : null;
  }
  return isPrimary(status) ? { kind: 'stop' } : null;
}

/** What a node has to be while another node is promoted to leader or serves. */
function followTarget(s: Situation, node: string, status: Status): Target {
  const { leader } = s;
  const current = s.target(node);
  if (current?.kind === 'follow' && current.leader === leader) return nextFollow(s, node, status, current);
  if (s.lastEntry?.opened === true) return following(s, node, rejoinMethod(s, node, status), status);
  // Before the new leader is open, only nodes that cannot be ahead of it follow it, at once (S9); other nodes wait.
  const early = status.postgres.state === 'standby' && s.isMember(node, status.dataId);
  const frozen = status.accepted?.kind === 'freeze' && status.done;
  const counted = s.ordered?.members.includes(node) === true;
  if (counted && early && frozen && !hasStrangeHistory(s, node, status)) return following(s, node, 'stream', status);
  // If the opening waits for this node (`block`, and no node had promised), the node has to follow now. Otherwise the
  // leader would never be opened.
  if (counted && !frozen && status.postgres.state !== 'starting') {
    return following(s, node, rejoinMethod(s, node, status), status);
  }
  const stops = isPrimary(status) || s.state.orders[node]?.target.kind === 'stop';
  return stops ? { kind: 'stop' } : { kind: 'wait', reason: `${leader} is being promoted` };
}

/** The next order of a node whose present order is to follow this leader. */
function nextFollow(s: Situation, node: string, status: Status, current: Follow): Follow {
  const method = nextMethod(s, node, status, current);
  const work = standbyWorkOf(s.state);
  const restarts = work?.kind === 'restart' && work.node === node && work.stage === 'restart';
  // Data that was only suspected to be broken, because PostgreSQL kept crashing on it, may be needed again.
  const keepsOld = method === 'copy' && (isCopy(current) ? current.keepOld === true : isTakenForBroken(status));
  const target = following(s, node, method, status);
  return { ...target, ...(restarts ? { restart: true } : {}), ...(keepsOld ? { keepOld: true } : {}) };
}

/**
 * An order to copy a member names the data that the copy replaces. Otherwise a keeper that has already made a copy in
 * this term would take the order for one that it has carried out. The order keeps this name until the node streams,
 * even when the new data is in place.
 */
function following(s: Situation, node: string, method: RejoinMethod, { dataId }: Status): Follow {
  const { leader } = s;
  const late = mayReplayLate(s, node) ? { lateReplay: true } : {};
  if (method !== 'copy') return { kind: 'follow', leader, method, ...late };
  const current = s.target(node);
  // A data directory that is not recorded may be the finished copy of this term, which only has to start streaming.
  const own = s.state.members[node] === dataId ? dataId : null;
  const old = s.state.rebuild[node] || (isCopy(current) ? current.replaces : own);
  return { kind: 'follow', leader, method, replaces: old || undefined, ...late };
}

/** Keeps the ordered method unless it has failed, its data is gone, or it is carried out. */
function nextMethod(s: Situation, node: string, status: Status, current: Follow): RejoinMethod {
  const { method } = current;
  const isSound = s.isMember(node, status.dataId);
  if (s.isDone(node) && isSound) return 'stream';
  if (method === 'copy') {
    const fails = s.hasAccepted(node) && (status.failure?.tries ?? 0) >= COPY_TRIES_MAX;
    return current.keepOld === true && isSound && fails ? rejoinMethod(s, node, status) : 'copy';
  }
  if (!isSound) return 'copy';
  return s.hasAccepted(node) && (mustBeCopied(status) || isTakenForBroken(status)) ? 'copy' : method;
}

function sameTarget(a: Target, b: Target): boolean {
  if (a.kind === 'wait' && b.kind === 'wait') return a.unready === b.unready;
  return JSON.stringify(a) === JSON.stringify(b);
}
