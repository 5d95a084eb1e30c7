/** Decides by the ledger how a node gets onto its leader's history (docs/safety.md S3, S10, S12, S13). */

import { compareLsn } from '../../contract/lsn';
import type { RejoinMethod } from '../../contract/messages';
import { seam } from '../../contract/seam';
import type { ClusterState, LedgerEntry, Status } from '../state/cluster';
import type { Situation } from './situation';
import { isComparable } from './view';

/**
 * Maximum number of ledger entries. The oldest ones are removed, unless a rule still reads them. An older entry would
 * matter only for a node that was away for that many leaderships. If the data of such a node no longer fits, PostgreSQL
 * refuses to stream to it, and the node is copied.
 */
export const LEDGER_MAX = 64;

/** Ledger entry of the newest leadership of this data directory. */
function ownEntry(state: ClusterState, node: string, dataId: string | null): LedgerEntry | undefined {
  return state.ledger.findLast((e) => e.node === node && e.dataId === dataId && isComparable(state, e));
}

/**
 * True when another history may have the same timeline number as this data, so that the data must be rebuilt (S3): its
 * newest leadership was recorded but never opened, or it was promoted in a term that the ledger does not have, because
 * the store was lost or because the promotion had no order.
 */
export const hasStrangeHistory = seam((s: Situation, node: string, status: Status): boolean => {
  const { dataId, promotedTerm } = status;
  if (status.promotedByHand === true) return true;
  const own = ownEntry(s.state, node, dataId);
  if (own !== undefined && !own.opened) return true;
  return promotedTerm != null && (own === undefined || own.term < promotedTerm);
});

/**
 * True when the node is on the timeline of the newest opened leadership, at or beyond the position where that timeline
 * began. Unknown values count as reached. A standby that was promoted before that position would write a history file
 * whose timelines end before they begin, and pg_rewind would then find nothing to do on nodes that have to be rewound
 * (S3; xlog.c, writeTimeLineHistory).
 */
export function hasReachedNewest(s: Situation, { postgres }: Status): boolean {
  const newest = s.lastOpened;
  if (newest === null) return true;
  const { timeline, lsn } = postgres;
  if (newest.timeline !== null && timeline !== newest.timeline) return false;
  return newest.forkLsn === null || lsn === null || compareLsn(lsn, newest.forkLsn) >= 0;
}

/** Adds a leadership to the ledger. Unopened attempts of one data directory share one entry, which counts them. */
export const addEntry = seam((state: ClusterState, entry: LedgerEntry): Pick<ClusterState, 'ledger'> => {
  const isRepeated = (e: LedgerEntry) => !e.opened && e.node === entry.node && e.dataId === entry.dataId;
  const attempts = state.ledger.filter(isRepeated).reduce((sum, e) => sum + (e.attempts ?? 1), 1);
  const kept = state.ledger.filter((e) => !isRepeated(e));
  const generation = state.generation === 1 ? {} : { generation: state.generation };
  const added = { ...entry, ...generation, ...(attempts === 1 ? {} : { attempts }) };
  return { ledger: trimmed([...kept, added], state.members) };
});

/**
 * Removes the oldest entries beyond {@link LEDGER_MAX} that no rule reads. Rules read the newest entry, the newest
 * opened one, and the newest one of each member's data directory.
 */
function trimmed(ledger: readonly LedgerEntry[], members: ClusterState['members']): LedgerEntry[] {
  const isMembers = (e: LedgerEntry) => members[e.node] === e.dataId;
  const isNewestOwn = (e: LedgerEntry) => ledger.findLast((o) => o.node === e.node && o.dataId === e.dataId) === e;
  const newest = [ledger.at(-1), ledger.findLast((e) => e.opened)];
  let excess = ledger.length - LEDGER_MAX;
  return ledger.filter((e) => {
    const isRead = newest.includes(e) || (isMembers(e) && isNewestOwn(e));
    if (excess <= 0 || isRead) return true;
    excess -= 1;
    return false;
  });
}

/**
 * The first opened leadership with a higher timeline. Its fork is where the cluster's history left the given timeline.
 */
function nextFork(state: ClusterState, timeline: number): LedgerEntry | undefined {
  return state.ledger.find((e) => e.opened && isComparable(state, e) && e.timeline !== null && e.timeline > timeline);
}

/**
 * How a node has to join the leader's history. `stream`: nothing has to be repaired. `rewind`: its history is known and
 * may go beyond the leader's fork. `copy`: its history is unknown.
 */
export const rejoinMethod = seam((s: Situation, node: string, status: Status): RejoinMethod => {
  const { dataId, postgres } = status;
  if (dataId === null || !s.isMember(node, dataId)) return 'copy';
  if (status.rewinding || hasStrangeHistory(s, node, status)) return 'copy';
  const own = ownEntry(s.state, node, dataId);
  if (status.promotingTerm !== null && own?.term !== status.promotingTerm) return 'copy';
  // The ledger has no leadership of this primary, so it was promoted by hand, and its history differs from the
  // leader's.
  if (postgres.state === 'primary' && own === undefined) return 'copy';
  const current = s.lastEntry;
  if (current === null || current.timeline === null || postgres.timeline === null) {
    return postgres.state === 'standby' && own === undefined ? 'stream' : 'rewind';
  }
  if (postgres.timeline > current.timeline) return 'copy';
  // A node that led on its timeline may have written data that no other node received. A node that only followed cannot
  // have written such data.
  const led = own !== undefined && own.timeline !== null && own.timeline >= postgres.timeline;
  if (postgres.timeline === current.timeline) return led ? 'rewind' : 'stream';
  const fork = nextFork(s.state, postgres.timeline);
  if (fork === undefined || fork.forkLsn === null || postgres.lsn === null) return 'rewind';
  const before = compareLsn(postgres.lsn, fork.forkLsn);
  if (led) return postgres.cleanShutdown === true && before < 0 ? 'stream' : 'rewind';
  return (postgres.cleanShutdown === true || postgres.state === 'standby') && before <= 0 ? 'stream' : 'rewind';
});
