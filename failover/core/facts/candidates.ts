/**
 * Decides which node may be promoted. The rule in synchronous mode (S1, S3, S6): a node c may lead only if for every
 * stored sync configuration cfg with N members
 * - c is cfg.leader with its recorded data directory, or
 * - k ≥ 1, at least N−k+1 of the members have promised not to follow the old leader any more, and c is the most
 *   advanced of them on the recorded timeline.
 *
 * Only its own leader satisfies "alone" (k = 0). Where N−k+1 = 1, every member has every acknowledged write. The order
 * to promote then serves as the promise, so no freeze round is needed.
 *
 * In asynchronous mode the leader alone acknowledges writes, so the most advanced standby may lead if it is within
 * `maxLagBytes` of the leader's last known position; if every standby is further behind, a person has to decide. A
 * report replica leads only when no other standby can. In synchronous mode no configuration names one.
 */

import { compareLsn, lsnDistance } from '../../contract/lsn';
import { seam } from '../../contract/seam';
import type { Status, SyncConfig } from '../state/cluster';
import { preferReached } from './haproxy';
import { hasReachedNewest, hasStrangeHistory } from './ledger';
import { preferCounted } from './reports';
import type { Situation } from './situation';
import { list } from './view';

/** A standby with this many crashes within a minute is no candidate (S8). */
const CRASHES_MAX = 3;
/**
 * Unit in which the write-ahead log that nodes still have to apply is compared, bytes. Smaller differences are ignored.
 */
const BACKLOG_BYTES = 16 * 1024 * 1024;

/**
 * How many members have to promise before a candidate of this configuration may be chosen; null when no number is
 * enough.
 */
export function quorum(config: SyncConfig): number | null {
  return config.k === 0 ? null : config.members.length - config.k + 1;
}

/** True when enough members of this configuration are among the given nodes. */
function hasQuorum(config: SyncConfig, nodes: readonly string[]): boolean {
  const need = quorum(config);
  return need !== null && config.members.filter((m) => nodes.includes(m)).length >= need;
}

/** The node that can be promoted now, or why there is none yet. */
export type Choice =
  | { kind: 'candidate'; node: string }
  /** Enough members are there, but some of them have not promised yet. `nodes` have to promise. */
  | { kind: 'freeze'; nodes: string[] }
  /** No node can be promoted without losing acknowledged writes. `missing` says which nodes would change that. */
  | { kind: 'none'; missing: string };

/** The nodes of which one can take over; none when no node can be promoted. */
export function nodesOf(choice: Choice): string[] {
  return choice.kind === 'candidate' ? [choice.node] : choice.kind === 'freeze' ? choice.nodes : [];
}

/** True in asynchronous mode, once no earlier synchronous configuration may be in force any more. */
export function isAsynchronous(s: Situation): boolean {
  return s.policy.syncMode === 'asynchronous' && s.state.joint.every((c) => c.k === 0);
}

/**
 * Chooses in the stack's sync mode. `promised`: the term was raised, so members may have promised it. Among equally
 * advanced nodes `prefer` is chosen.
 */
export function pick(s: Situation, promised: boolean, prefer?: string): Choice {
  return isAsynchronous(s) ? chooseNear(s, promised, prefer) : choose(s, promised, prefer);
}

/**
 * Why a node cannot take part in an election, as half a sentence for people. Null when it can: it is connected, healthy
 * and on the recorded history, with its recorded data.
 */
function absence(s: Situation, node: string): string | null {
  if (s.view(node).silentMs >= s.policy.hangTimeoutMs) return `${node} does not answer`;
  const status = s.status(node);
  if (status === null) return `${node} has not told its state yet`;
  if (status.dataId === null) return `${node} has no data`;
  if (status.stopping) return `${node} is being stopped`;
  if (s.state.members[node] !== status.dataId) return `${node} came back with other data than the cluster's`;
  if (status.rewinding) return `the data of ${node} is half rewound`;
  if (!s.isMember(node, status.dataId) || hasStrangeHistory(s, node, status) || status.promotingTerm !== null)
    return `${node} may have a history of its own`;
  if (status.postgres.crashes >= CRASHES_MAX) return `PostgreSQL on ${node} ends again and again`;
  if (status.postgres.state !== 'standby') return `PostgreSQL on ${node} is ${status.postgres.state}`;
  return hasReachedNewest(s, status) ? null : positionOf(s, node);
}

function positionOf(s: Situation, node: string): string {
  const postgres = s.status(node)?.postgres;
  const timeline = postgres?.timeline ?? 'unknown';
  return `${node} has only reached ${postgres?.lsn ?? 'an unknown position'} on timeline ${timeline}`;
}

/** True when the node has a vote: it has promised for this term and its position is known (S6). */
export function hasVote(s: Situation, status: Status | null): status is Status {
  if (status?.accepted?.term !== s.state.term || status.accepted.kind !== 'freeze') return false;
  return status.done && status.postgres.lsn !== null;
}

/**
 * Chooses in synchronous mode, among the members of all stored configurations. Before the term is raised (`promised`
 * false), no member can have promised, so there is a candidate only where N−k+1 = 1.
 */
export const choose = seam((s: Situation, promised: boolean, prefer?: string): Choice => {
  const old = s.state.leader;
  const configs = s.state.joint;
  const members = [...new Set(configs.flatMap((c) => c.members))].filter((m) => m !== old);
  const eligible = members.filter((m) => absence(s, m) === null);
  if (configs.length === 0) return { kind: 'none', missing: 'no node is known to hold the data' };
  const few = configs.find((c) => !hasQuorum(c, eligible));
  if (few !== undefined) return { kind: 'none', missing: missingOf(s, few, eligible) };
  if (configs.every((c) => quorum(c) === 1)) {
    const common = eligible.filter((m) => configs.every((c) => c.members.includes(m)));
    const best = mostAdvanced(s, preferReached(s, common), prefer);
    if (best !== null) return { kind: 'candidate', node: best };
  }
  const voters = promised ? eligible.filter((m) => hasVote(s, s.status(m))) : [];
  const best = configs.every((c) => hasQuorum(c, voters)) ? mostAdvancedVoter(s, voters, prefer) : null;
  return best === null ? { kind: 'freeze', nodes: eligible } : { kind: 'candidate', node: best };
});

/** The most advanced of all voters. So it is also the most advanced voter of each single configuration. */
function mostAdvancedVoter(s: Situation, voters: readonly string[], prefer: string | undefined): string | null {
  const furthest = voters.filter((c) => voters.every((m) => compareLsn(lsnOf(s, m), lsnOf(s, c)) <= 0));
  return mostAdvanced(s, preferReached(s, furthest), prefer);
}

/** Chooses in asynchronous mode. */
function chooseNear(s: Situation, promised: boolean, prefer?: string): Choice {
  const names = Object.keys(s.state.members).filter((n) => n !== s.state.leader);
  const eligible = names.filter((n) => absence(s, n) === null);
  const near = preferCounted(
    s,
    eligible.filter((n) => isNear(s, n)),
  );
  if (near.length === 0) return { kind: 'none', missing: missingNear(s, eligible) };
  // The position of a node that still follows the old leader can grow, so positions are compared only after that.
  const node = promised && eligible.every((n) => hasVote(s, s.status(n))) ? mostAdvanced(s, near, prefer) : null;
  return node === null ? { kind: 'freeze', nodes: eligible } : { kind: 'candidate', node };
}

/**
 * True when the node is within `maxLagBytes` of the last known position. A node whose position is unknown passes for
 * now.
 */
function isNear(s: Situation, node: string): boolean {
  const { newest } = s.observation.watch;
  if (newest === null) return false;
  const lsn = s.status(node)?.postgres.lsn ?? null;
  return lsn === null || lsnDistance(lsn, newest.lsn) <= s.policy.maxLagBytes;
}

function missingNear(s: Situation, eligible: readonly string[]): string {
  const { leader } = s;
  if (eligible.length === 0) return `no standby of ${leader} is there; start ${leader} or one of its standbys`;
  const why =
    s.observation.watch.newest === null
      ? `the last position of ${leader} is not known`
      : `${list(eligible)} is more than ${s.policy.maxLagBytes} bytes behind ${leader}`;
  return `${why}; start ${leader}, or accept the loss: promote ${eligible[0] ?? ''} --accept-data-loss`;
}

function lsnOf(s: Situation, node: string): string {
  return s.status(node)?.postgres.lsn ?? '0/0';
}

/** Write-ahead log that a standby has received and still has to apply before it can be promoted, bytes. */
function backlogBytes(s: Situation, node: string): number {
  const { lsn, replayLsn } = s.status(node)?.postgres ?? { lsn: null, replayLsn: null };
  return lsn === null || replayLsn === null ? 0 : Math.max(0, lsnDistance(replayLsn, lsn));
}

/**
 * The most advanced node. Among equally advanced ones: one with little to apply, then the preferred, then the first
 * declared.
 */
export function mostAdvanced(s: Situation, nodes: readonly string[], prefer: string | undefined): string | null {
  const order = prefer === undefined ? s.names : [prefer, ...s.names];
  const backlog = (node: string) => Math.floor(backlogBytes(s, node) / BACKLOG_BYTES);
  const sorted = [...nodes].sort(
    (a, b) => compareLsn(lsnOf(s, b), lsnOf(s, a)) || backlog(a) - backlog(b) || order.indexOf(a) - order.indexOf(b),
  );
  return sorted[0] ?? null;
}

/** A sentence for people: which nodes to start, or why the running ones cannot take over. */
function missingOf(s: Situation, config: SyncConfig, eligible: readonly string[]): string {
  // The sentence is also used as a forecast, so a leader that still runs is treated as gone here.
  const runs = s.status(config.leader)?.postgres.state === 'primary';
  const isOn = (node: string) => s.view(node).connected && !(node === config.leader && runs);
  const absent = config.members.filter((m) => !eligible.includes(m));
  const why = [config.leader, ...absent].filter(isOn).map((node) => `; ${absence(s, node) ?? positionOf(s, node)}`);
  const need = quorum(config);
  const starts = isOn(config.leader) ? [] : [config.leader];
  let where = `only ${config.leader} has the newest data`;
  if (need !== null) {
    where = `the newest data is on ${config.leader} or on ${list(config.members)}`;
    const off = absent.filter((m) => !isOn(m));
    const more = need - (config.members.length - absent.length);
    if (off.length > 0) starts.push(off.length <= more ? list(off) : `${more} of ${list(off)}`);
  }
  const start = starts.length === 0 ? '' : `; start ${starts.join(' or ')}`;
  return `${where}${start}${why.join('')}`;
}

/**
 * True when the old leader itself can lead again, because it has every acknowledged write under every configuration
 * that names it as leader. It has to be connected with its recorded data directory, and PostgreSQL must be in a known
 * state.
 */
export function canLeadAgain(s: Situation): boolean {
  const { leader } = s;
  const status = s.status(leader);
  if (status === null || status.stopping || !s.isMember(leader, status.dataId) || status.rewinding) return false;
  if (!['stopped', 'standby', 'primary'].includes(status.postgres.state)) return false;
  return s.state.joint.every((c) => c.leader === leader) && s.state.joint.length > 0;
}

/** Standbys that can follow the candidate at once: members that have promised and are not ahead of it. */
export const followersOf = seam((s: Situation, candidate: string): string[] => {
  const limit = s.status(candidate)?.postgres.lsn ?? null;
  return s.names.filter((name) => {
    if (name === candidate || name === s.state.leader || !s.isDeclared(name)) return false;
    const status = s.status(name);
    if (status === null || status.stopping || status.postgres.state !== 'standby') return false;
    if (!s.isMember(name, status.dataId) || status.postgres.lsn === null || limit === null) return false;
    return hasVote(s, status) && compareLsn(status.postgres.lsn, limit) <= 0;
  });
});
