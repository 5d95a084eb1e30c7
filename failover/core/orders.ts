/**
 * Which order every declared node has to have, derived from state and observation after the rule has decided. An order
 * that is being carried out is left alone; each new one is stored with a higher seq before it is sent.
 */
import type { RejoinMethod } from '../protocol';
import { DRAIN_MS, LEAVE_MS } from './handover';
import { hasStrangeHistory, rejoinMethod } from './rejoin';
import type { ClusterState, GivenOrder, LedgerEntry, Observation, Status, Target } from './types';
import { hasAccepted, isDone, isMember, lastEntry, statusOf } from './view';

/** Crashes within a minute after which a standby's data is taken for broken and replaced. */
const CRASHES_MAX = 3;

/** Sets `state.orders` to what every node has to be; returns the same object when nothing changes. */
export function deriveOrders(state: ClusterState, observation: Observation): ClusterState {
  const orders: Record<string, GivenOrder> = {};
  let changed = Object.keys(state.orders).some((n) => !observation.declared.some((d) => d.name === n));
  for (const { name } of observation.declared) {
    const given = state.orders[name];
    const target = targetOf(state, observation, name);
    if (target === null) {
      if (given !== undefined) orders[name] = given;
      continue;
    }
    if (given !== undefined && given.term === state.term && sameTarget(given.target, target)) {
      orders[name] = given;
      continue;
    }
    orders[name] = { term: state.term, seq: state.seq + 1, target };
    changed = true;
  }
  const ledger = withFollowers(state, orders);
  if (!changed && ledger === state.ledger) return state;
  return { ...state, seq: state.seq + 1, ledger, orders, addresses: addressesOf(state, observation) };
}

/**
 * Who is sent to a leader that is not open may take over its history. That is not forgotten before it is decided, whatever
 * is ordered meanwhile (S3).
 */
function withFollowers(state: ClusterState, orders: Record<string, GivenOrder>): LedgerEntry[] {
  const entry = lastEntry(state);
  if (entry === null || entry.opened) return state.ledger;
  const followed = { ...entry.followed };
  for (const [node, { term, target }] of Object.entries(orders)) {
    const dataId = state.members[node];
    const follows = target.kind === 'follow' && target.leader === entry.node && term === entry.term;
    if (follows && dataId !== undefined) followed[node] = dataId;
  }
  const known = Object.entries(followed).every(([node, dataId]) => entry.followed?.[node] === dataId);
  return known ? state.ledger : [...state.ledger.slice(0, -1), { ...entry, followed }];
}

/** Of every declared node, and of a leader that is not declared any more: it is still to be reached. */
function addressesOf(state: ClusterState, observation: Observation): Record<string, string> {
  const known = state.leader === null ? undefined : state.addresses?.[state.leader];
  const leader = known === undefined || state.leader === null ? {} : { [state.leader]: known };
  return { ...leader, ...Object.fromEntries(observation.declared.map((d) => [d.name, d.address])) };
}

/** Null: leave the node's order as it is. */
function targetOf(state: ClusterState, observation: Observation, node: string): Target | null {
  if (state.adopting) return adoptionTarget(observation, node);
  const procedure = state.procedure;
  if (procedure === null && state.leader === null) return { kind: 'wait', reason: 'no leader yet' };
  const status = statusOf(observation, node);
  if (node === observation.retiring && node !== state.leader) return retiredTarget(status);
  switch (procedure?.kind) {
    case 'bootstrap':
      return node === procedure.node
        ? { kind: 'bootstrap' }
        : { kind: 'wait', reason: 'the first node is being created' };
    case 'elect':
      return electTarget(state, node, status);
    case 'handover':
      if (node !== state.leader) return null;
      if (procedure.cutOff === true) return { kind: 'stop' };
      return { kind: 'stop', drainMs: procedure.planned === true ? DRAIN_MS : LEAVE_MS };
    case 'restart':
      return node === state.leader ? { kind: 'stop', drainMs: DRAIN_MS } : null;
    case 'promote':
    case undefined:
      if (node === state.leader) return leadTarget(state);
      return status === null ? null : followTarget(state, node, status);
  }
}

/**
 * While the newest state is searched for only a node whose PostgreSQL does not run gets an order: to wait. It carries
 * that out at once and counts as healthy, so that a deployment goes on to the nodes that have not been heard yet.
 */
export function adoptionTarget(observation: Observation, node: string): Target | null {
  const postgres = statusOf(observation, node)?.postgres.state;
  const isIdle = postgres === 'absent' || postgres === 'stopped';
  return isIdle ? { kind: 'wait', reason: 'every declared node is asked first' } : null;
}

/** A former leader that the config has no place for: it does nothing more. */
function retiredTarget(status: Status | null): Target {
  const runs = ['primary', 'promoting'].includes(status?.postgres.state ?? '');
  return runs ? { kind: 'stop' } : { kind: 'wait', reason: 'it is not declared any more' };
}

function leadTarget(state: ClusterState): Target | null {
  const sync = state.joint.at(-1);
  if (sync === undefined) return null;
  const prepares = state.switchover !== undefined || state.restart?.node === state.leader;
  return prepares ? { kind: 'lead', sync, prepare: true } : { kind: 'lead', sync };
}

/** Counted members promise (S1), all of them where none is counted (asynchronous mode); whoever still runs as a primary stops; everybody else stays as it is. */
function electTarget(state: ClusterState, node: string, status: Status | null): Target | null {
  if (status === null) return null;
  const counted = state.joint.some((c) => c.members.includes(node)) || state.joint.every((c) => c.k === 0);
  if (node !== state.leader && counted) {
    return isMember(state, node, status.dataId) ? { kind: 'freeze' } : null;
  }
  if (['primary', 'promoting'].includes(status.postgres.state)) return { kind: 'stop' };
  return null;
}

/** What a node that is not the leader has to be while the leader is promoted or serves. */
function followTarget(state: ClusterState, node: string, status: Status): Target {
  const leader = state.leader ?? '';
  const given = state.orders[node];
  const current = given?.target;
  if (current?.kind === 'follow' && current.leader === leader && given?.term === state.term) {
    const method = nextMethod(state, node, status, given, current.method);
    const restarts = state.restart?.node === node && state.restart.stage === 'restart';
    const target = following(state, node, leader, method);
    return restarts ? { ...target, restart: true } : target;
  }
  const entry = lastEntry(state);
  if (entry?.opened !== true) {
    // Until the new leader is open only those who cannot be ahead of it are sent to it, at once (S9); others wait.
    const early = status.postgres.state === 'standby' && isMember(state, node, status.dataId);
    const frozen = status.accepted?.kind === 'freeze' && status.done;
    if (early && frozen && !hasStrangeHistory(state, node, status)) {
      const next = state.joint.at(-1);
      if (next?.members.includes(node)) return { kind: 'follow', leader, method: 'stream' };
    }
    // Where the opening itself waits for this node (`block`, and nobody had promised) it follows now, or nobody ever would.
    const awaited = state.joint.at(-1)?.members.includes(node) === true && status.postgres.state !== 'starting';
    if (awaited && !frozen) return following(state, node, leader, rejoinMethod(state, node, status));
    if (['primary', 'promoting'].includes(status.postgres.state)) return { kind: 'stop' };
    return current?.kind === 'stop' ? { kind: 'stop' } : { kind: 'wait', reason: `${leader} is being promoted` };
  }
  return following(state, node, leader, rejoinMethod(state, node, status));
}

/**
 * A copy names the data that it takes the place of: to a keeper that copied in this term already an equal order would be
 * one that it has carried out.
 */
function following(
  state: ClusterState,
  node: string,
  leader: string,
  method: RejoinMethod,
): Extract<Target, { kind: 'follow' }> {
  const old = state.rebuild[node];
  const names = method === 'copy' && old !== undefined && old !== '';
  return names ? { kind: 'follow', leader, method, replaces: old } : { kind: 'follow', leader, method };
}

/** Goes on with the method that was ordered, unless it failed, its data is gone, or it is carried out. */
function nextMethod(
  state: ClusterState,
  node: string,
  status: Status,
  given: GivenOrder,
  method: RejoinMethod,
): RejoinMethod {
  if (isDone(status, given) && isMember(state, node, status.dataId)) return 'stream';
  if (method === 'copy') return 'copy';
  // The keeper copies by itself where a rewind fails or streaming is impossible; recording it makes that outlive a restart.
  const failed = status.failure?.code === 'STREAM_IMPOSSIBLE' || status.postgres.crashes >= CRASHES_MAX;
  if ((failed && hasAccepted(status, given)) || status.dataId === null || !isMember(state, node, status.dataId))
    return 'copy';
  return method;
}

function sameTarget(a: Target, b: Target): boolean {
  if (a.kind === 'wait' && b.kind === 'wait') return true;
  return JSON.stringify(a) === JSON.stringify(b);
}
