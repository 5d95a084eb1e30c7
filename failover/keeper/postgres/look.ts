/** Reads what the keeper has to know from a running PostgreSQL, and from the control file of a stopped one. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { STATUS_ROWS_MAX } from '../../contract/limits';
import { NOTHING_SEEN, type SqlView } from '../ports';
import { FLOORED, type Floors, type Pending } from '../tunables';
import { VERSION_NAME } from './config-files';
import { BEAT_MAX, BEAT_SEQUENCE } from './heartbeat';
import { commandLine, run, timelineOf } from './processes';
import { type Session, sqlState } from './session';
import { historyFile, historyOf, type Stretch } from './timelines';

/** Wait events of a startup process that has applied all local WAL (S6). */
const WAITS_FOR_WAL = new Set(['RecoveryWalStream', 'RecoveryRetrieveRetryInterval']);

/** Timeline of the write-ahead log that this primary writes. */
export const WAL_TIMELINE = `('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int`;

/**
 * Timeline on which this server is a primary, null while it is in recovery; and the amount of WAL that it still has to
 * apply, bytes.
 */
export const LED_TIMELINE = `SELECT CASE WHEN NOT pg_is_in_recovery() THEN ${WAL_TIMELINE} END AS timeline,
  pg_last_wal_replay_lsn()::text AS replay,
  pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::float8 AS behind`;

// These statements run up to ten times a second. They call functions instead of the views on them: the views join
// pg_authid and pg_database, which costs several times as much and waits for sessions that lock these catalogs.

const LEADER = `
SELECT ${WAL_TIMELINE} AS timeline, pg_current_wal_flush_lsn()::text AS "flushLsn",
  (SELECT coalesce(json_agg(json_build_object('name', s.name, 'state', s.state, 'syncState', s.sync_state,
      'flushLsn', s.flush_lsn::text, 'replayLsn', s.replay_lsn::text,
      'flushLagMs', CASE WHEN s.flush_lag IS NOT NULL THEN greatest(0, round(extract(epoch FROM s.flush_lag) * 1000, 1)) END)
      ORDER BY s.name), '[]')
    FROM (SELECT a.application_name AS name, w.state, w.sync_state, w.flush_lsn, w.replay_lsn, w.flush_lag
      FROM pg_stat_get_wal_senders() w, LATERAL pg_stat_get_activity(w.pid) a
      WHERE w.state IS NOT NULL AND a.application_name <> '' LIMIT ${STATUS_ROWS_MAX}) s) AS standbys,
  old.ms AS "oldTransactionMs", old.n AS "oldTransactions"
FROM (SELECT round(extract(epoch FROM clock_timestamp() - min(a.xact_start)) * 1000)::float8 AS ms, count(*)::int AS n
    FROM pg_stat_get_activity(NULL) a
    WHERE a.backend_type = 'client backend' AND a.xact_start < clock_timestamp() - interval '1 s') old`;

// Age of the oldest transaction of a client, if it is older than a second, ms.
const OLD_MS = `(SELECT round(extract(epoch FROM clock_timestamp() - min(a.xact_start)) * 1000)::float8
    FROM pg_stat_get_activity(NULL) a
    WHERE a.backend_type = 'client backend' AND a.xact_start < clock_timestamp() - interval '1 s')`;

type LeaderFields = 'timeline' | 'flushLsn' | 'standbys' | 'oldTransactionMs' | 'oldTransactions';
type StandbyFields =
  | 'inRecovery'
  | 'receiveLsn'
  | 'replayLsn'
  | 'receiverRuns'
  | 'heartbeatSeenAgeMs'
  | 'oldTransactionMs';
interface StandbyRow extends Pick<SqlView, StandbyFields> {
  receiver: string | null;
  host: string | null;
  received: number | null;
  startup: number | null;
  waits: string | null;
  beat: string | null;
  database: string;
}

/** The heartbeat's count (heartbeat.ts), as a standby shows it. */
const BEAT = `pg_sequence_last_value(to_regclass('${BEAT_SEQUENCE}'))::text`;

// $1: process id of the startup process; null: not known yet. All nodes run on one machine, so the ages come from one
// clock.
const standby = (beat: string) => `
SELECT ${beat} AS beat, current_database() AS database, pg_is_in_recovery() AS "inRecovery",
  pg_last_wal_receive_lsn()::text AS "receiveLsn", pg_last_wal_replay_lsn()::text AS "replayLsn",
  r.status AS receiver, r.sender_host AS host, r.received_tli AS received, s.pid AS startup, s.wait_event AS waits,
  r.status IS NOT NULL OR EXISTS (SELECT FROM pg_stat_get_activity(NULL) a WHERE a.backend_type = 'walreceiver')
    AS "receiverRuns",
  greatest(0, round(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000))::float8
    AS "heartbeatSeenAgeMs",
  ${OLD_MS} AS "oldTransactionMs"
FROM (VALUES (1)) one (n)
  LEFT JOIN LATERAL (SELECT * FROM pg_stat_get_wal_receiver() WHERE pid IS NOT NULL) r ON true
  LEFT JOIN LATERAL (SELECT pid, wait_event FROM pg_stat_get_activity($1::int) WHERE backend_type = 'startup' LIMIT 1) s ON true`;
const STANDBY = standby(BEAT);
const STANDBY_WITHOUT_BEAT = standby('NULL::text');

// Timeline of a standby that does not stream: the newest that it has reached or has to reach.
const TIMELINE = `
SELECT greatest((SELECT timeline_id FROM pg_control_checkpoint()),
  (SELECT min_recovery_end_timeline FROM pg_control_recovery())) AS timeline`;

/** The later of two timelines; null means not known. */
export function laterTimeline(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.max(a, b);
}

/** The replication slots of a running server. */
export const SLOTS = `
SELECT slot_name AS name, active, wal_status AS "walStatus",
  CASE WHEN restart_lsn IS NOT NULL THEN greatest(0, pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END, restart_lsn))::float8
  END AS "retainedBytes"
FROM pg_replication_slots WHERE NOT temporary ORDER BY slot_name LIMIT ${STATUS_ROWS_MAX}`;

/** After an error, the heartbeat's count is not read for this time, ms, because PostgreSQL logs each error. */
const BEAT_REST_MS = 1_000;

/** Facts about the server that are kept for a session between looks. */
interface Known {
  systemId: string;
  segmentBytes: number;
  inRecovery: boolean;
  /** Process id of the startup process. */
  startup: number | null;
  /** The timeline that the standby had reached or had to reach. */
  reached: number | null;
  beatFromMs: number;
}

const KNOWN = `
SELECT system_identifier::text AS "systemId", bytes_per_wal_segment AS "segmentBytes", pg_is_in_recovery() AS "inRecovery"
FROM pg_control_system(), pg_control_init()`;

const known = new WeakMap<Session, Known>();

async function knownOf(session: Session): Promise<Known> {
  const before = known.get(session);
  if (before !== undefined) return before;
  const row = await session.askOne<Pick<Known, 'systemId' | 'segmentBytes' | 'inRecovery'>>('known', KNOWN);
  const first = { ...row, startup: null, reached: null, beatFromMs: Number.NEGATIVE_INFINITY };
  known.set(session, first);
  return first;
}

/** What a running server tells, and what stays the same between looks. */
export interface Look extends Pick<Known, 'systemId' | 'segmentBytes' | 'startup'> {
  sql: SqlView;
}

/** Takes one look at a running server. Throws when it does not answer. */
export async function lookBySql(session: Session): Promise<Look> {
  const seen = await knownOf(session);
  let sql = seen.inRecovery ? await lookAtStandby(session, seen) : null;
  if (sql === null) {
    // It may have been promoted between two looks.
    seen.inRecovery = false;
    const row = await session.askOne<Pick<SqlView, LeaderFields>>('leader', LEADER);
    // The observer adds the heartbeat, which knows its own count (observer.ts).
    sql = { ...NOTHING_SEEN, inRecovery: false, ...row };
  }
  return { ...seen, sql };
}

/** Returns null when the server is out of recovery. */
async function lookAtStandby(session: Session, seen: Known): Promise<SqlView | null> {
  const { receiver, host, received, startup, waits, beat, database, ...row } = await standbyRow(session, seen);
  if (database !== session.database) {
    // A standby's session stays open when its database is renamed on the leader.
    session.destroy();
    throw new Error(`the database ${session.database} is called ${database} now`);
  }
  if (!row.inRecovery) return null;
  seen.startup = startup;
  // The control file lags behind (S12). While the standby streams, the file's first answer and the received timeline
  // are enough.
  if (receiver !== 'streaming' || seen.reached === null) {
    const { timeline } = await session.askOne<Pick<SqlView, 'timeline'>>('timeline', TIMELINE);
    // The file that the startup process reads or waits for. PostgreSQL gives the process id.
    const title = startup === null ? null : await commandLine(startup);
    seen.reached = laterTimeline(timeline, timelineOf(title ?? ''));
  }
  const count = Number(beat ?? Number.NaN);
  const heartbeatSeen = count >= 0 && count <= BEAT_MAX ? count : null;
  return {
    ...NOTHING_SEEN,
    ...row,
    timeline: laterTimeline(received, seen.reached),
    walReceiver: receiver === null ? null : { status: receiver, host },
    startupWaits: WAITS_FOR_WAL.has(waits ?? ''),
    heartbeatSeen,
    heartbeatSeenAgeMs: heartbeatSeen === null ? null : row.heartbeatSeenAgeMs,
  };
}

/**
 * Reads the standby's row. After an error it leaves out the heartbeat's count for a while: a session may hold the
 * sequence's lock, or the object may not be a sequence.
 */
async function standbyRow(session: Session, seen: Known): Promise<StandbyRow> {
  const rows = (name: string, text: string) => session.askOne<StandbyRow>(name, text, [seen.startup]);
  if (performance.now() >= seen.beatFromMs) {
    try {
      return await rows('standby', STANDBY);
    } catch (error) {
      if (sqlState(error) === null || !session.usable) throw error;
      seen.beatFromMs = performance.now() + BEAT_REST_MS;
    }
  }
  return rows('standby without beat', STANDBY_WITHOUT_BEAT);
}

// After a blind start, the `hot_standby` in force differs from the file. This does not matter on a leader
// (tunables.ts).
const PENDING = `
SELECT current_setting('${VERSION_NAME}', true) AS version,
  (SELECT coalesce(json_agg(json_build_object('name', name, 'setting', setting, 'least',
      CASE name WHEN 'max_prepared_transactions' THEN (SELECT count(*) FROM pg_prepared_xact()) END)), '[]')
    FROM pg_settings WHERE pending_restart AND name <> 'hot_standby') AS pending`;

/**
 * Returns the settings that wait for a restart, if this session has read this version of the files; null: it has not
 * yet.
 */
export async function lookForPending(session: Session, version: number): Promise<Pending[] | null> {
  const row = await session.askOne<{ version: string | null; pending: Pending[] }>('pending', PENDING);
  return row.version === String(version) ? row.pending : null;
}

/**
 * Whether replay is paused, by a person or because a setting is too low, and this server's values of such settings
 * (S23). The pause function throws on a leader, so it is not called there.
 */
export const HELD = `
SELECT pg_is_in_recovery() AND CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() = 'paused' END AS held,
  json_build_object(${FLOORED.map((name) => `'${name}', current_setting('${name}')::int`).join(', ')}) AS own`;

const CLEAN = new Set(['shut down', 'shut down in recovery']);
/**
 * States that only a primary writes. A standby's states end with "in recovery" (PostgreSQL's catalog/pg_control.h,
 * DBState).
 */
const PRIMARY = new Set(['in production', 'shutting down', 'shut down']);

const CONTROLDATA_LIMIT_MS = 5_000;

/** Reads the history that ends with a timeline; see {@link historyOf}. */
export async function readHistory(data: string, timeline: number): Promise<Stretch[]> {
  const text = await readFile(join(data, 'pg_wal', historyFile(timeline)), 'utf8').catch(() => null);
  return historyOf(timeline, text);
}

/** Reads the control file. Throws when pg_controldata fails, or does not show a value. */
export async function readControlFile(data: string) {
  const output = await run('pg_controldata', ['-D', data], { limitMs: CONTROLDATA_LIMIT_MS });
  const value = (name: string): string => {
    const line = output.split('\n').find((l) => l.startsWith(`${name}:`));
    if (line === undefined) throw new Error(`pg_controldata shows no "${name}"`);
    return line.slice(name.length + 1).trim();
  };
  const number = (name: string) => Number(value(name));
  const state = value('Database cluster state');
  // It says "xact" where the settings' names say "transaction".
  const floors = FLOORED.map((name) => [name, number(`${name.replace('transaction', 'xact')} setting`)]);
  return {
    systemId: value('Database system identifier'),
    segmentBytes: number('Bytes per WAL segment'),
    /** Position up to which a standby must replay before it is consistent. */
    consistentLsn: value('Minimum recovery ending location'),
    floors: Object.fromEntries(floors) as Floors,
    control: {
      clean: CLEAN.has(state),
      primary: PRIMARY.has(state),
      // Null for a standby: it writes no checkpoint of its own, and it may have received more WAL than it applied (S6).
      checkpointLsn: state === 'shut down' ? value('Latest checkpoint location') : null,
      timeline: Math.max(number("Latest checkpoint's TimeLineID"), number("Min recovery ending loc's timeline")),
    },
  };
}
