/**
 * Who may be promoted. The rule (SAFETY S1, S3, S6): a node c may lead only if for every stored sync configuration cfg
 * - c is cfg.leader with its recorded data directory, or
 * - cfg.k ≥ 1 and at least N−k+1 of cfg's members promised not to follow the old leader any more, and c is the most
 *   advanced of them on the recorded timeline.
 * "Alone" (k = 0) is satisfied by its leader only. Where N−k+1 = 1 every counted member has every acknowledged write,
 * and the promotion order is the promise itself: no freeze round.
 */
import { compareLsn, lsnDistance } from '../../contract/lsn';
import type { ClusterState, Observation, Status, SyncConfig } from '../state/cluster';
import { hasReachedNewest, hasStrangeHistory } from './ledger';
import { preferReached } from './reach';
import { isDeclared, isMember, list, statusOf, viewOf } from './view';

/** Crashes within a minute after which a standby is no candidate (S8). */
const CRASHES_MAX = 3;
/** Among equally advanced nodes, less log than this that is still to be applied makes no difference, bytes. */
const BACKLOG_BYTES = 16 * 1024 * 1024;

/** Members that have to promise before a candidate of this configuration may be chosen; null: no number is enough. */
export function quorum(config: SyncConfig): number | null {
  return config.k === 0 ? null : config.members.length - config.k + 1;
}

/** Who can be chosen now, or why nobody can. */
export type Choice =
  | { kind: 'candidate'; node: string }
  /** Enough members are there, but not all that are needed have promised yet: these have to. */
  | { kind: 'freeze'; nodes: string[] }
  /** Nobody can be promoted without losing acknowledged writes until one of these groups is there. */
  | { kind: 'nobody'; missing: string };

/** A member that can take part in an election: connected, healthy, on the recorded history, its old data directory. */
export function isEligible(
  state: ClusterState,
  observation: Observation,
  node: string,
  hangTimeoutMs: number,
): boolean {
  const view = viewOf(observation, node);
  const status = statusOf(observation, node);
  if (status === null || view.silentMs >= hangTimeoutMs || status.stopping) return false;
  if (status.dataId === null || !isMember(state, node, status.dataId)) return false;
  if (hasStrangeHistory(state, node, status) || status.rewinding || status.promotingTerm !== null) return false;
  if (status.postgres.state !== 'standby' || status.postgres.crashes >= CRASHES_MAX) return false;
  return hasReachedNewest(state, status);
}

/** Why a node that is not eligible cannot take part in an election, as half a sentence for people. */
function absence(state: ClusterState, observation: Observation, node: string, hangTimeoutMs: number): string {
  if (viewOf(observation, node).silentMs >= hangTimeoutMs) return `${node} does not answer`;
  const status = statusOf(observation, node);
  if (status === null) return `${node} has not told its state yet`;
  if (status.dataId === null) return `${node} has no data`;
  if (status.stopping) return `${node} is being stopped`;
  if (state.members[node] !== status.dataId) return `${node} came back with other data than the cluster's`;
  if (status.rewinding) return `the data of ${node} is half rewound`;
  if (!isMember(state, node, status.dataId) || hasStrangeHistory(state, node, status) || status.promotingTerm !== null)
    return `${node} may have a history of its own`;
  if (status.postgres.crashes >= CRASHES_MAX) return `PostgreSQL on ${node} ends again and again`;
  if (status.postgres.state !== 'standby') return `PostgreSQL on ${node} is ${status.postgres.state}`;
  return `${node} has only reached ${status.postgres.lsn ?? 'an unknown position'} on timeline ${status.postgres.timeline ?? 'unknown'}`;
}

/** Promised for this term and its position is known (S6): it has a vote. */
export function hasVote(state: ClusterState, status: Status | null): status is Status {
  return (
    status !== null &&
    status.accepted !== null &&
    status.accepted.term === state.term &&
    status.accepted.kind === 'freeze' &&
    status.done &&
    status.postgres.lsn !== null
  );
}

/**
 * Chooses among the members of all stored configurations. `promised` false: the term was not raised yet, so only the
 * short path (N−k+1 = 1) can name a candidate. Of equally advanced nodes `prefer` is taken.
 */
export function choose(
  state: ClusterState,
  observation: Observation,
  hangTimeoutMs: number,
  promised: boolean,
  prefer?: string,
): Choice {
  const old = state.leader;
  const configs = state.joint;
  const members = [...new Set(configs.flatMap((c) => c.members))].filter((m) => m !== old);
  const eligible = members.filter((m) => isEligible(state, observation, m, hangTimeoutMs));
  if (configs.length === 0) return { kind: 'nobody', missing: 'no node is known to hold the data' };
  const few = configs.find((c) => {
    const need = quorum(c);
    return need === null || c.members.filter((m) => eligible.includes(m)).length < need;
  });
  if (few !== undefined)
    return { kind: 'nobody', missing: missingOf(state, observation, few, eligible, hangTimeoutMs) };
  if (configs.every((c) => quorum(c) === 1)) {
    const common = eligible.filter((m) => configs.every((c) => c.members.includes(m)));
    const best = mostAdvanced(observation, preferReached(observation, common), prefer);
    if (best !== null) return { kind: 'candidate', node: best };
  }
  const voters = promised ? eligible.filter((m) => hasVote(state, statusOf(observation, m))) : [];
  const enough = configs.every((c) => {
    const need = quorum(c);
    return need !== null && c.members.filter((m) => voters.includes(m)).length >= need;
  });
  const best = enough ? bestForAll(observation, configs, voters, prefer) : null;
  return best === null ? { kind: 'freeze', nodes: eligible } : { kind: 'candidate', node: best };
}

/** A voter that is the most advanced of the frozen members of every configuration; null when there is none. */
function bestForAll(
  observation: Observation,
  configs: readonly SyncConfig[],
  voters: readonly string[],
  prefer: string | undefined,
): string | null {
  const ok = voters.filter((c) =>
    configs.every((config) => {
      const frozen = config.members.filter((m) => voters.includes(m));
      return frozen.every((m) => compareLsn(lsnOf(observation, m), lsnOf(observation, c)) <= 0);
    }),
  );
  return mostAdvanced(observation, preferReached(observation, ok), prefer);
}

function lsnOf(observation: Observation, node: string): string {
  return statusOf(observation, node)?.postgres.lsn ?? '0/0';
}

/** What a standby has received and still has to apply before it can be promoted, bytes. */
export function backlogBytes(observation: Observation, node: string): number {
  const { lsn, replayLsn } = statusOf(observation, node)?.postgres ?? { lsn: null, replayLsn: null };
  return lsn === null || replayLsn === null ? 0 : Math.max(0, lsnDistance(replayLsn, lsn));
}

/** The furthest one; of equal ones the preferred, then one that has little to apply, else the first declared. */
export function mostAdvanced(
  observation: Observation,
  nodes: readonly string[],
  prefer: string | undefined,
): string | null {
  const declared = observation.declared.map((d) => d.name);
  const order = prefer === undefined ? declared : [prefer, ...declared];
  const backlog = (node: string) => Math.floor(backlogBytes(observation, node) / BACKLOG_BYTES);
  const sorted = [...nodes].sort(
    (a, b) =>
      compareLsn(lsnOf(observation, b), lsnOf(observation, a)) ||
      backlog(a) - backlog(b) ||
      order.indexOf(a) - order.indexOf(b),
  );
  return sorted[0] ?? null;
}

/** Which nodes have to be started, or what keeps those that run from taking over, for people. */
function missingOf(
  state: ClusterState,
  observation: Observation,
  config: SyncConfig,
  eligible: readonly string[],
  hangTimeoutMs: number,
): string {
  // A leader that still runs counts as gone here: the sentence tells what would be missing then.
  const runs = statusOf(observation, config.leader)?.postgres.state === 'primary';
  const isOn = (node: string) => viewOf(observation, node).connected && !(node === config.leader && runs);
  const absent = config.members.filter((m) => !eligible.includes(m));
  const why = [config.leader, ...absent]
    .filter(isOn)
    .map((node) => `; ${absence(state, observation, node, hangTimeoutMs)}`);
  const need = quorum(config);
  const off = need === null ? [] : absent.filter((m) => !isOn(m));
  const where =
    need === null
      ? `only ${config.leader} has the newest data`
      : `the newest data is on ${config.leader} or on ${list(config.members)}`;
  const more = need === null ? 0 : need - (config.members.length - absent.length);
  const some = off.length <= more ? list(off) : `${more} of ${list(off)}`;
  const starts = [...(isOn(config.leader) ? [] : [config.leader]), ...(off.length === 0 ? [] : [some])];
  const start = starts.length === 0 ? '' : `; start ${starts.join(' or ')}`;
  return `${where}${start}${why.join('')}`;
}

/**
 * The old leader itself can lead again: it has every acknowledged write under every configuration that names it as
 * leader. True when it is connected with its recorded data directory and PostgreSQL is not running as a primary of an
 * unknown kind.
 */
export function canLeadAgain(state: ClusterState, observation: Observation): boolean {
  const leader = state.leader;
  if (leader === null) return false;
  const status = statusOf(observation, leader);
  if (status === null || status.stopping || !isMember(state, leader, status.dataId) || status.rewinding) return false;
  if (!['stopped', 'standby', 'primary'].includes(status.postgres.state)) return false;
  return state.joint.every((c) => c.leader === leader) && state.joint.length > 0;
}

/** Standbys that can follow the candidate at once: frozen or streaming members that are not ahead of it. */
export function followersOf(state: ClusterState, observation: Observation, candidate: string): string[] {
  const limit = statusOf(observation, candidate)?.postgres.lsn ?? null;
  return observation.declared
    .map((d) => d.name)
    .filter((name) => {
      if (name === candidate || name === state.leader || !isDeclared(observation, name)) return false;
      const status = statusOf(observation, name);
      if (status === null || status.stopping || status.postgres.state !== 'standby') return false;
      if (!isMember(state, name, status.dataId) || status.postgres.lsn === null || limit === null) return false;
      return hasVote(state, status) && compareLsn(status.postgres.lsn, limit) <= 0;
    });
}
