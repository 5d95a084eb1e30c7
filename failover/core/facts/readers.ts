/**
 * Which nodes serve the read port (docs/safety.md S13). A standby that is not fit for new readers for a moment, for
 * example because it lags, gets no new session, but its sessions stay for `readLagGrace`: a report is not ended because
 * replay stood still. A node that is no standby any more, or whose history differs from the leader's, loses its
 * sessions at once.
 */
import { lsnDistance } from '../../contract/lsn';
import { serves } from '../state/cluster';
import { isCertified, isUnreached } from './haproxy';
import { hasStrangeHistory, rejoinMethod } from './ledger';
import { preferReports } from './reports';
import { question, type Situation } from './situation';

/** The nodes of the read port. */
export interface Readers {
  /** Nodes that get new sessions. */
  open: string[];
  /** Nodes that get none, while the sessions that they have go on. */
  stay: string[];
}

/** What the read port has to be now. */
export const readersOf = question((s): Readers => {
  const open = openTo(s);
  const stay = s.names.filter((name) => !open.includes(name) && mayStay(s, name));
  return { open, stay };
});

/**
 * Standbys that are fit for new readers, report replicas before all others. If there is none, the leader itself serves
 * reads (`readFallback`).
 */
const openTo = question((s): string[] => {
  if (!serves(s.state)) return [];
  const standbys = s.names.filter((name) => isFit(s, name));
  if (standbys.length > 0) return preferReports(s, standbys);
  return s.policy.readFallback && isCertified(s) ? [s.leader] : [];
});

/**
 * True when the node is a standby that streams from the recorded leader on its timeline and lags at most `maxLagBytes`.
 */
function isFit(s: Situation, node: string): boolean {
  const status = s.status(node);
  const { leader } = s;
  if (status === null || !isSoundStandby(s, node) || status.postgres.streamingFrom !== leader) return false;
  const { timeline, replayLsn } = status.postgres;
  if (isUnreached(s, node) || (timeline !== null && timeline !== s.lastEntry?.timeline)) return false;
  const flushLsn = s.status(leader)?.lead?.flushLsn ?? null;
  return replayLsn !== null && (flushLsn === null || lsnDistance(replayLsn, flushLsn) <= s.policy.maxLagBytes);
}

/** True when the node answers and is a standby with the cluster's data that is not being stopped. */
function isSoundStandby(s: Situation, node: string): boolean {
  const status = s.status(node);
  if (status === null || node === s.leader || status.postgres.state !== 'standby' || status.stopping) return false;
  return s.view(node).silentMs < s.policy.hangTimeoutMs && s.isMember(node, status.dataId);
}

/** True when the sessions of a node that gets no new ones may go on. */
function mayStay(s: Situation, node: string): boolean {
  if (serves(s.state) && isFit(s, node)) return true;
  const sinceMs = s.observation.watch.unfitSinceMs[node] ?? s.nowMs;
  return s.nowMs - sinceMs < s.policy.readLagGraceMs && isStillReadable(s, node);
}

/**
 * True when what a session reads on this node is right, only perhaps old.
 * - The serving leader, which served reads while no standby did.
 * - A standby whose rows the leader has too. Before the next leader is open, no node can tell which rows it will lack,
 *   but the time for which sessions stay is short.
 * - A node of which the monitor has not heard yet since it began to look. It is not counted as a former leader whose
 *   sessions have to go (S2), because those are gone before another leader serves.
 */
function isStillReadable(s: Situation, node: string): boolean {
  if (node === s.leader) return serves(s.state);
  const status = s.status(node);
  if (status === null) return serves(s.state) && isUnseen(s, node);
  if (!isSoundStandby(s, node) || status.rewinding) return false;
  return serves(s.state) ? rejoinMethod(s, node, status) === 'stream' : !hasStrangeHistory(s, node, status);
}

/** True when the monitor has just begun to look and has not heard of the node yet. */
function isUnseen(s: Situation, node: string): boolean {
  const { connected, everConnected } = s.view(node);
  return (connected || !everConnected) && s.nowMs - s.observation.sinceMs < s.policy.hangTimeoutMs;
}

/** Since when each node is not fit for new readers, monotonic ms; part of the next watch. */
export function unfitSince(s: Situation): Record<string, number> {
  const { watch, sinceMs } = s.observation;
  const unfit = s.names.filter((name) => !openTo(s).includes(name) && !(serves(s.state) && isFit(s, name)));
  return Object.fromEntries(unfit.map((name) => [name, Math.max(watch.unfitSinceMs[name] ?? s.nowMs, sinceMs)]));
}
