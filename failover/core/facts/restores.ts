/** Whether a restore in place may begin, and which timeline it needs. Refusals are sentences for people. */
import type { RestoreTarget } from '../../contract/backups';
import { seam } from '../../contract/seam';
import { type ClusterState, type Restore, standbyWorkOf } from '../state/cluster';
import type { Request } from '../state/observation';
import { clusterTrouble } from './readiness';
import type { Situation } from './situation';
import { lastOpened } from './view';

/** How many restores in place the state remembers. The oldest one also answers for every earlier moment. */
export const RESTORES_MAX = 20;
const MB = 1024 * 1024;
const RESERVE_MIN_BYTES = 128 * MB;
/** pgBackRest takes about 20 ms for a file of 1 MB. */
const QUEUE_MAX_BYTES = 128 * MB;
/** Two nodes whose free space differs by less than this part are taken to be on the same disk. */
const SAME_DISK = 0.01;

type Wish = Extract<Request, { kind: 'restore' | 'undo' | 'confirm' }>;

/**
 * The timeline on which the target lies. Each restore in place left a history at a moment: what was written before that
 * moment is on the history that it left, even if its own timelines have higher numbers. Null: there is no leader yet.
 */
export function timelineAt(state: ClusterState, target: RestoreTarget, backupMs: number | null): number | null {
  const atMs = target.kind === 'latest' ? null : target.kind === 'time' ? target.atMs : backupMs;
  const left = atMs === null ? undefined : state.restores?.find((one) => one.atMs > atMs);
  return left?.timeline ?? lastOpened(state)?.timeline ?? null;
}

/**
 * The highest timeline that any node may know. The restored data get a higher one, so no number ever stands for two
 * histories (S3). A candidate that was never opened may have used one number beyond the newest opened leadership.
 */
export const highestTimeline = seam((s: Situation): number => {
  const ofLedger = s.state.ledger.map((e) => (e.timeline ?? 0) + (e.opened ? 0 : 1));
  const ofNodes = s.names.map((name) => s.status(name)?.postgres.timeline ?? 0);
  const left = (s.state.restores ?? []).map((one) => one.timeline);
  return Math.max(1, ...ofLedger, ...ofNodes, ...left) + 1;
});

/** Why this restore, its way back or its confirmation is refused; null when it may begin. */
export function restoreRefusal(s: Situation, wish: Wish): string | null {
  if (wish.kind === 'confirm') return keptTrouble(s);
  const trouble = clusterTrouble(s) ?? otherWork(s);
  if (trouble !== null) return trouble;
  return wish.kind === 'undo' ? undoTrouble(s) : backupTrouble(s, wish);
}

function keptTrouble(s: Situation): string | null {
  const { restored } = s.state;
  if (restored === undefined) return 'no data from before a restore are kept';
  return restored.confirmed === true ? 'the data from before the restore are being removed' : null;
}

/** Other operations that are under way. */
function otherWork(s: Situation): string | null {
  const { pause, joint } = s.state;
  if (pause !== undefined) return `automatic changes of leader are paused (${pause.reason}); resume first`;
  const work = standbyWorkOf(s.state);
  if (work?.kind === 'rebuild') return `${work.node} is about to be copied anew; ask again later`;
  if (work !== null) return `${work.node} is being restarted for its settings; ask again later`;
  if (s.observation.retiring !== undefined) return `${s.observation.retiring} leaves the stack; ask again later`;
  return joint.length === 1 ? null : 'the standbys that a write waits for are changing; ask again in a moment';
}

function undoTrouble(s: Situation): string | null {
  const { restored } = s.state;
  if (restored === undefined || restored.confirmed === true) return keptTrouble(s);
  if (restored.node !== s.leader) {
    return `the data from before the restore are on ${restored.node}, which does not lead; switchover ${restored.node} first`;
  }
  const has = s.status(s.leader)?.restored;
  if (has?.id === restored.id && has.keptBytes !== null) return null;
  return `${restored.node} does not have the data from before the restore any more`;
}

function backupTrouble(s: Situation, wish: Extract<Wish, { kind: 'restore' }>): string | null {
  if (s.policy.backup !== true) return 'backups are off in this stack (backup: false)';
  if (s.state.restored !== undefined) {
    return `the data from before the last restore are still kept: ${REMEDY_OF_KEPT}`;
  }
  return archiveTrouble(s) ?? oldKeeper(s) ?? roomTrouble(s, wish);
}

export const REMEDY_OF_KEPT = 'restore --confirm removes them, restore --undo brings them back';

/** The rest of the write-ahead log goes to the archive while PostgreSQL is down, so it must be little. */
function archiveTrouble(s: Situation): string | null {
  const status = s.status(s.leader);
  // The restore reads the backups on the machine with the data, if there are any.
  const archive = s.policy.backupS3?.only === true ? status?.s3?.archive : status?.archive;
  if (archive?.problem !== undefined) {
    return `the archive takes nothing, so what was written last would be lost: ${archive.problem}`;
  }
  if (archive === undefined || archive.archivedTo === null)
    return `${s.leader} does not archive yet; ask again in a moment`;
  if (archive.waitingBytes <= QUEUE_MAX_BYTES) return null;
  return `the archive is ${inMb(archive.waitingBytes)} behind; ask again when it has caught up`;
}

function oldKeeper(s: Situation): string | null {
  const old = s.names.find((name) => s.status(name) !== null && s.status(name)?.freeBytes === undefined);
  return old === undefined ? null : `the keeper of ${old} does not report its disk; it may be of an older release`;
}

/**
 * The leader keeps its present data beside the restored ones, and each standby its old data beside its copy, one
 * standby at a time. Volumes that are on one disk take their room from each other.
 */
function roomTrouble(s: Situation, { sizeBytes, keepsOld }: Extract<Wish, { kind: 'restore' }>): string | null {
  const needed = sizeBytes + 2 * Math.max(RESERVE_MIN_BYTES, Math.ceil(sizeBytes * 0.05));
  const free = (name: string) => s.status(name)?.freeBytes ?? Number.POSITIVE_INFINITY;
  const leaders = free(s.leader);
  const room = (name: string, bytes: number) =>
    `the disk of ${name} has ${inMb(free(name))} free, and the old and the new data need ${inMb(bytes)}`;
  if (leaders < needed) return room(s.leader, needed);
  for (const name of keepsOld ? s.names.filter((n) => n !== s.leader) : []) {
    const isShared = Math.abs(free(name) - leaders) <= leaders * SAME_DISK;
    const bytes = isShared ? needed + sizeBytes : needed;
    if (free(name) < bytes) return room(name, bytes);
  }
  return null;
}

function inMb(bytes: number): string {
  return `${Math.ceil(bytes / MB)} MB`;
}

/** A sentence about the data from before a restore that are kept; null when none are kept. */
export function keptReason({ state: { restored: kept } }: Situation): string | null {
  if (kept === undefined || kept.confirmed === true) return null;
  return `restored in place to ${kept.words}, the data from before are kept on ${kept.node}`;
}

/** Half a sentence for people. */
export function whatOf({ from, words }: Restore): string {
  return from.kind === 'kept' ? `${words} come back` : `its data are restored in place to ${words}`;
}
