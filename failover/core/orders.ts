/**
 * Which order every declared node has to have, derived from state and observation after the rule has decided. An order
 * that is being carried out is left alone; each new one is stored with a higher seq before it is sent.
 */
import type { RejoinMethod } from '../protocol';
import { DRAIN_MS, LEAVE_MS } from './handover';
import { hasStrangeHistory, rejoinMethod } from './rejoin';
import { mustBeCopied, wantedConfig } from './sync';
import type { ClusterState, GivenOrder, LedgerEntry, Observation, Policy, Status, Target } from './types';
import { hasAccepted, isDone, isMember, lastEntry, statusOf, viewOf } from './view';

/** Crashes one after the other after which a standby's data is taken for broken and replaced. */
const CRASHES_MAX = 6;
/** Failed tries of a copy after which data that may be sound is used again. */
export const COPY_TRIES_MAX = 3;

/** Sets `state.orders` to what every node has to be; returns the same object when nothing changes. */
export function deriveOrders(
  state: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
): ClusterState {
  const orders: Record<string, GivenOrder> = {};
  let changed = Object.keys(state.orders).some((n) => !observation.declared.some((d) => d.name === n));
  const targets = oneCopyAtATime(
    state,
    observation,
    observation.declared.map(({ name }) => [name, targetOf(state, observation, nowMs, policy, name)]),
  );
  for (const [name, target] of targets) {
    const given = state.orders[name];
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

type Targets = readonly (readonly [node: string, target: Target | null])[];

function isCopy(target: Target | null | undefined): boolean {
  return target?.kind === 'follow' && target.method === 'copy';
}

/**
 * A copy takes the leader's disk and network and room on a disk that nodes may share, so one node at a time has the order. It
 * keeps its turn until it streams; one that fails, or is away, lets another one go first.
 */
function oneCopyAtATime(state: ClusterState, observation: Observation, targets: Targets): Targets {
  const copying = targets.filter(([, target]) => isCopy(target)).map(([node]) => node);
  const works = copying.filter((n) => statusOf(observation, n)?.failure == null);
  const there = copying.filter((n) => viewOf(observation, n).connected);
  const hasTurn = (n: string) => isCopy(state.orders[n]?.target) && state.orders[n]?.term === state.term;
  const next = works.find(hasTurn) ?? works[0] ?? there.find(hasTurn) ?? there[0] ?? copying[0];
  return targets.map(([node, target]) => {
    if (!isCopy(target) || node === next || next === undefined) return [node, target];
    return [node, waitTarget(observation, node, `${next} is copied first`)];
  });
}

/** Does nothing and is not ready; a primary without an order is shut down, because nothing of it counts. */
function waitTarget(observation: Observation, node: string, reason: string): Target {
  const runs = ['primary', 'promoting'].includes(statusOf(observation, node)?.postgres.state ?? '');
  return runs ? { kind: 'stop' } : { kind: 'wait', reason, unready: true };
}

/** Null: leave the node's order as it is. */
function targetOf(
  state: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
  node: string,
): Target | null {
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
      return status === null ? null : leaveFirst(state, observation, nowMs, policy, node, status);
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

/**
 * The data of a counted member is replaced only after it has left the sync set, proven. The last one with `block` stays in
 * it, because writes wait for it, so its data stays until the copy is complete.
 */
function leaveFirst(
  state: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
  node: string,
  status: Status,
): Target | null {
  const target = followTarget(state, node, status);
  const isCounted = state.joint.some((c) => c.members.includes(node));
  if (target.kind !== 'follow' || target.method !== 'copy' || !isCounted || status.dataId === null) return target;
  const leaves = policy.onNoReplica !== 'block' || wantedConfig(state, observation, nowMs, policy, false) !== null;
  if (!leaves) return { ...target, keepOld: true };
  const given = state.orders[node];
  const follows = given?.term === state.term && given.target.kind === 'follow' && given.target.method !== 'copy';
  return follows ? given.target : waitTarget(observation, node, 'it leaves the sync set before it is copied');
}

/** What a node that is not the leader has to be while the leader is promoted or serves. */
function followTarget(state: ClusterState, node: string, status: Status): Target {
  const leader = state.leader ?? '';
  const given = state.orders[node];
  const current = given?.target;
  if (current?.kind === 'follow' && current.leader === leader && given?.term === state.term) {
    const method = nextMethod(state, node, status, given, current);
    const restarts = state.restart?.node === node && state.restart.stage === 'restart';
    const target = following(state, node, leader, method, status);
    // Data that is replaced only because PostgreSQL crashed on it many times may be sound: it is kept until the copy is complete.
    const keepsOld = method === 'copy' && (current.method === 'copy' ? current.keepOld === true : crashes(status));
    return { ...target, ...(restarts ? { restart: true } : {}), ...(keepsOld ? { keepOld: true } : {}) };
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
    if (awaited && !frozen) return following(state, node, leader, rejoinMethod(state, node, status), status);
    if (['primary', 'promoting'].includes(status.postgres.state)) return { kind: 'stop' };
    return current?.kind === 'stop' ? { kind: 'stop' } : { kind: 'wait', reason: `${leader} is being promoted` };
  }
  return following(state, node, leader, rejoinMethod(state, node, status), status);
}

/**
 * A copy of a member names the data that it takes the place of: to a keeper that copied in this term already an equal order
 * would be one that it has carried out. The name stays while the copy is ordered, also when its own data has taken the place.
 */
function following(
  state: ClusterState,
  node: string,
  leader: string,
  method: RejoinMethod,
  status: Status,
): Extract<Target, { kind: 'follow' }> {
  if (method !== 'copy') return { kind: 'follow', leader, method };
  const given = state.orders[node];
  const before = given?.target.kind === 'follow' && given.target.method === 'copy' && given.term === state.term;
  const old = state.rebuild[node] || (before ? replacedBy(given.target) : memberData(state, node, status));
  return old ? { kind: 'follow', leader, method, replaces: old } : { kind: 'follow', leader, method };
}

/** The node's data when it is the recorded one. Null otherwise: it may be a copy of this term, which only has to stream. */
function memberData(state: ClusterState, node: string, { dataId }: Status): string | null {
  return state.members[node] === dataId ? dataId : null;
}

function replacedBy(target: Target): string | undefined {
  return target.kind === 'follow' ? target.replaces : undefined;
}

/** Goes on with the method that was ordered, unless it failed, its data is gone, or it is carried out. */
function nextMethod(
  state: ClusterState,
  node: string,
  status: Status,
  given: GivenOrder,
  current: Extract<Target, { kind: 'follow' }>,
): RejoinMethod {
  const { method } = current;
  if (isDone(status, given) && isMember(state, node, status.dataId)) return 'stream';
  if (method === 'copy') {
    const isSound = current.keepOld === true && isMember(state, node, status.dataId);
    const fails = hasAccepted(status, given) && (status.failure?.tries ?? 0) >= COPY_TRIES_MAX;
    return isSound && fails ? rejoinMethod(state, node, status) : 'copy';
  }
  if (status.dataId === null || !isMember(state, node, status.dataId)) return 'copy';
  return hasAccepted(status, given) && (mustBeCopied(status) || crashes(status)) ? 'copy' : method;
}

/** PostgreSQL ends again and again on this data, which may be why. */
function crashes(status: Status): boolean {
  // Keepers of 0.1.0 count only the crashes of the last minute, and rest 15 s after the third one.
  return (status.postgres.crashesInRow ?? status.postgres.crashes * 2) >= CRASHES_MAX;
}

function sameTarget(a: Target, b: Target): boolean {
  if (a.kind === 'wait' && b.kind === 'wait') return a.unready === b.unready;
  return JSON.stringify(a) === JSON.stringify(b);
}
