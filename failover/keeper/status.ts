/** Builds a keeper's status. Pure. */

import type { BackupView } from '../contract/backups';
import { laterLsn } from '../contract/lsn';
import type { NodeSettings, Status } from '../contract/messages';
import type { KeeperState } from './keeper-state';
import type { Lives } from './lives';
import type { Postgres, View } from './ports';
import type { PursuitHost } from './pursuit-host';

/** What a status says about the node. */
export interface Facts extends Pick<PursuitHost, 'state' | 'view' | 'stopping'> {
  readonly lives: Lives;
  readonly settings: NodeSettings | null;
  readonly progress: Pick<Status, 'done' | 'failure'>;
  readonly postgres: Pick<Postgres, 'heartbeat'>;
  readonly archive?: Status['archive'];
  readonly backup?: Status['backup'];
  readonly s3?: Status['s3'];
  readonly clientSlots?: Status['clientSlots'];
  readonly restores?: Pick<Status, 'freeBytes' | 'restored'>;
}

/** What a status says about the reports of the node. */
interface Counts extends Pick<Status, 'n' | 'upMs'> {
  /** The monitor has sent its settings over this connection, so the stored ones are its newest. */
  settingsAreNew: boolean;
  crashes: number;
  /** The slots as last seen were not sent over this connection yet. */
  slotsAreNew: boolean;
  /** The same for those of people. */
  clientSlotsAreNew: boolean;
  /** What the repositories hold was not sent over this connection yet. */
  repositoryIsNew: boolean;
  s3IsNew: boolean;
}

/** The node from which this standby streams, found by its fixed address (S14). */
export function streamingFrom(view: View, settings: NodeSettings | null): string | null {
  const receiver = view.sql?.walReceiver;
  if (receiver?.status !== 'streaming') return null;
  return settings?.nodes.find((n) => n.address === receiver.host)?.name ?? null;
}

/** The position that counts as this node's vote (S6); null: not known, and then the node has no vote. */
export function votingLsn(view: View): string | null {
  const { sql, control } = view;
  if (sql !== null) {
    if (!sql.inRecovery) return sql.flushLsn;
    const settled = sql.walReceiver === null || sql.walReceiver.status === 'streaming';
    // A walreceiver is started only after all local WAL was applied. From then on its flush position is known, however
    // far replay is behind or paused (manual: `pg_last_wal_receive_lsn` is null until a walreceiver ran).
    const known = sql.receiveLsn !== null || sql.startupWaits;
    return settled && known ? laterLsn(sql.receiveLsn, sql.replayLsn) : null;
  }
  return !view.running && control?.clean === true ? control.checkpointLsn : null;
}

function stateOf({ view, lives }: Facts): Status['postgres']['state'] {
  if (lives.activity !== null) return lives.activity;
  if (!view.dataExists) return 'absent';
  if (!view.running) return 'stopped';
  if (view.sql === null) return 'starting';
  return view.sql.inRecovery ? 'standby' : 'primary';
}

function timelineOf({ view, state }: Facts): number | null {
  if (view.sql !== null) return view.sql.timeline;
  if (view.control === null) return null;
  return Math.max(view.control.timeline, state.promoted?.timeline ?? 0);
}

function leadOf(facts: Facts): Status['lead'] {
  const { sql } = facts.view;
  const { leadership } = facts.lives.now;
  const term = leadership?.term ?? null;
  if (sql === null || sql.inRecovery || sql.timeline === null || leadership === null || term === null) return null;
  const { timeline, flushLsn, standbys, oldTransactionMs, oldTransactions } = sql;
  const heartbeat = facts.postgres.heartbeat();
  return {
    ...{ term, timeline, flushLsn, standbys, oldTransactionMs, oldTransactions },
    forkLsn: leadership.forkLsn,
    heartbeat: heartbeat.count,
    heartbeatAgeMs: heartbeat.ageMs,
    commitMs: heartbeat.commitMs ?? null,
    syncInForce: leadership.sync.inForce,
  };
}

/** The status of the settings; null unless it was seen under the newest settings. */
function settingsStatus({ view, settings }: Facts): Status['settings'] {
  const seen = view.settings ?? null;
  if (settings === null || seen === null || view.sql === null) return null;
  return seen.wanted === JSON.stringify(settings.postgresSettings) ? seen.status : null;
}

/** Identity of this node's data; null: there is none. */
export function dataIdOf({ dataExists, systemId }: View, { directoryId }: KeeperState): string | null {
  return dataExists && systemId !== null ? `${systemId}:${directoryId ?? '?'}` : null;
}

function backupOf(view: BackupView, repositoryIsNew: boolean): BackupView {
  const { repository, ...rest } = view;
  return repositoryIsNew && repository !== undefined ? { ...rest, repository } : rest;
}

function s3Of(s3: NonNullable<Status['s3']>, s3IsNew: boolean): Status['s3'] {
  return s3.backup === undefined ? s3 : { ...s3, backup: backupOf(s3.backup, s3IsNew) };
}

/** The whole status of this node, as the monitor gets it. */
export function buildStatus(
  facts: Facts,
  { n, upMs, settingsAreNew, crashes, slotsAreNew, clientSlotsAreNew, repositoryIsNew, s3IsNew }: Counts,
): Status {
  const { state, view, lives, progress, stopping } = facts;
  const { accepted, promotingTerm, promoted, rewinding, promotedByHand } = state;
  const { sql, slots } = view;
  return {
    ...{ type: 'status', n, upMs, stopping, done: progress.done, failure: progress.failure },
    dataId: dataIdOf(view, state),
    accepted: accepted && {
      incarnation: accepted.incarnation,
      term: accepted.term,
      seq: accepted.seq,
      kind: accepted.target.kind,
    },
    ...{ promotingTerm, promotedTerm: promoted?.term ?? null, rewinding },
    ...(promotedByHand ? { promotedByHand } : {}),
    settings: settingsAreNew ? settingsStatus(facts) : null,
    postgres: {
      state: stateOf(facts),
      timeline: timelineOf(facts),
      lsn: votingLsn(view),
      cleanShutdown: view.running ? null : (view.control?.clean ?? null),
      streamingFrom: streamingFrom(view, facts.settings),
      replayLsn: sql?.replayLsn ?? null,
      heartbeatSeen: sql?.heartbeatSeen ?? null,
      heartbeatSeenAgeMs: sql?.heartbeatSeenAgeMs ?? null,
      ...(sql?.inRecovery === true ? { oldReadMs: sql.oldTransactionMs ?? null } : {}),
      ...{ crashes, crashesInRow: lives.crashesInRow },
    },
    lead: leadOf(facts),
    ...(slotsAreNew && slots !== undefined ? { slots } : {}),
    ...(clientSlotsAreNew && facts.clientSlots !== undefined ? { clientSlots: facts.clientSlots } : {}),
    ...(facts.archive === undefined ? {} : { archive: facts.archive }),
    ...(facts.backup === undefined ? {} : { backup: backupOf(facts.backup, repositoryIsNew) }),
    ...(facts.s3 === undefined ? {} : { s3: s3Of(facts.s3, s3IsNew) }),
    ...facts.restores,
  };
}
