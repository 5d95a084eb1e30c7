/** Asks a running PostgreSQL, and the control file of a stopped one, for what the keeper has to know. */

import type { SlotView } from '../protocol';
import { VERSION_NAME } from './config-files';
import type { SqlView, View } from './ports';
import { commandLine, run } from './processes';
import type { Session } from './session';
import { timelineOf } from './titles';
import { FLOORED, type Floors, type Pending } from './tunables';

interface Row {
  recovery: boolean;
  system_id: string;
  timeline: number | null;
  receive: string | null;
  replay: string | null;
  flush: string | null;
  receiver: { status: string; host: string | null } | null;
  receiver_runs: boolean;
  startup: { pid: number; waits: string | null } | null;
  has_heartbeat: boolean;
  standbys: {
    name: string;
    state: string;
    syncState: string;
    flushLsn: string | null;
    replayLsn: string | null;
    flushLagMs: number | null;
  }[];
}

/** Wait events of a startup process that has applied all it has (S6). */
const WAITS_FOR_WAL = new Set(['RecoveryWalStream', 'RecoveryRetrieveRetryInterval']);

const WAL_TIMELINE = `('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int`;

/** The timeline that this server leads on, null while it is in recovery, and how far it has applied what it has. */
export const LED_TIMELINE = `SELECT CASE WHEN NOT pg_is_in_recovery() THEN ${WAL_TIMELINE} END AS timeline,
  pg_last_wal_replay_lsn()::text AS replay,
  pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::float8 AS behind`;

// A standby's timeline: the newest that it receives, reads or has to reach (the control file alone lags behind). A leader's: from its own position, because the
// control file lags behind a promotion (S12).
const LOOK = `
SELECT r.recovery, (SELECT system_identifier::text FROM pg_control_system()) AS system_id,
  CASE WHEN r.recovery THEN greatest(
      (SELECT timeline_id FROM pg_control_checkpoint()),
      (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
      (SELECT received_tli FROM pg_stat_wal_receiver))
    ELSE ${WAL_TIMELINE} END AS timeline,
  CASE WHEN r.recovery THEN pg_last_wal_receive_lsn()::text END AS receive,
  CASE WHEN r.recovery THEN pg_last_wal_replay_lsn()::text END AS replay,
  CASE WHEN NOT r.recovery THEN pg_current_wal_flush_lsn()::text END AS flush,
  (SELECT json_build_object('status', status, 'host', sender_host) FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) AS receiver,
  EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'walreceiver') AS receiver_runs,
  (SELECT json_build_object('pid', pid, 'waits', wait_event) FROM pg_stat_activity WHERE backend_type = 'startup' LIMIT 1)
    AS startup,
  to_regclass('failover.heartbeat') IS NOT NULL AS has_heartbeat,
  (SELECT coalesce(json_agg(json_build_object('name', application_name, 'state', state, 'syncState', sync_state,
      'flushLsn', flush_lsn::text, 'replayLsn', replay_lsn::text,
      'flushLagMs', CASE WHEN flush_lag IS NOT NULL THEN greatest(0, round(extract(epoch FROM flush_lag) * 1000, 1)) END)
      ORDER BY application_name), '[]')
    FROM (SELECT * FROM pg_stat_replication WHERE state IS NOT NULL AND application_name <> '' LIMIT 32) s) AS standbys
FROM (SELECT pg_is_in_recovery() AS recovery) r`;

/** Timeline of the WAL file that the startup process, named by PostgreSQL, reads or waits for; null when it shows none. */
async function readTimeline(pid: number | undefined): Promise<number | null> {
  const title = pid === undefined ? null : await commandLine(pid);
  return title === null ? null : timelineOf(title);
}

/** The later of two timelines; null counts as nothing known. */
export function laterTimeline(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.max(a, b);
}

// Ages are of one machine's clock: all nodes are on it.
const BEAT = `SELECT n::text AS n, greatest(0, round(extract(epoch FROM clock_timestamp() - at) * 1000))::float8 AS age
  FROM failover.heartbeat`;

const SLOTS = `
SELECT slot_name AS name, active, wal_status AS "walStatus",
  CASE WHEN restart_lsn IS NOT NULL THEN greatest(0, pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END, restart_lsn))::float8
  END AS "retainedBytes"
FROM pg_replication_slots WHERE NOT temporary ORDER BY slot_name LIMIT 32`;

/** The replication slots of a running server. Throws when it does not answer. */
export async function lookAtSlots(session: Session): Promise<SlotView[]> {
  return session.ask<SlotView>('slots', SLOTS);
}

/** One look at a running server. Throws when it does not answer. */
export async function lookBySql(session: Session): Promise<SqlView & { systemId: string }> {
  const [row] = await session.ask<Row>('look', LOOK);
  if (row === undefined) throw new Error('PostgreSQL gave no row');
  const [beat] = row.has_heartbeat ? await session.ask<{ n: string; age: number }>('beat', BEAT) : [];
  return {
    systemId: row.system_id,
    inRecovery: row.recovery,
    timeline: row.recovery ? laterTimeline(row.timeline, await readTimeline(row.startup?.pid)) : row.timeline,
    receiveLsn: row.receive,
    replayLsn: row.replay,
    flushLsn: row.flush,
    walReceiver: row.receiver,
    receiverRuns: row.receiver_runs,
    startupWaits: WAITS_FOR_WAL.has(row.startup?.waits ?? ''),
    heartbeatSeen: beat === undefined ? null : Number(beat.n),
    heartbeatSeenAgeMs: beat?.age ?? null,
    standbys: row.standbys,
  };
}

// A blind start leaves `hot_standby` as it is not in the file, which matters to nobody on a leader (tunables.ts).
const PENDING = `
SELECT current_setting('${VERSION_NAME}', true) AS version,
  (SELECT coalesce(json_agg(json_build_object('name', name, 'setting', setting)), '[]')
    FROM pg_settings WHERE pending_restart AND name <> 'hot_standby') AS pending`;

/** Settings that wait for a restart, by a session that has read this version of the files; null: it has not yet. */
export async function lookForPending(session: Session, version: number): Promise<Pending[] | null> {
  const [row] = await session.ask<{ version: string | null; pending: Pending[] }>('pending', PENDING);
  return row?.version === String(version) ? row.pending : null;
}

// The function throws on a leader, so it is not called there.
const HELD = `
SELECT pg_is_in_recovery() AND CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() = 'paused' END AS held,
  json_build_object(${FLOORED.map((name) => `'${name}', current_setting('${name}')::int`).join(', ')}) AS own`;

/** Whether replay is paused, by a person or for want of parameters, and what this server has of those (S23). */
export async function lookForPause(session: Session): Promise<{ held: boolean; own: Floors } | null> {
  const [row] = await session.ask<{ held: boolean; own: Floors }>('held', HELD);
  return row ?? null;
}

const CLEAN = new Set(['shut down', 'shut down in recovery']);

/** Reads the control file of a stopped server. Throws when pg_controldata does. */
export async function lookAtControlFile(
  data: string,
): Promise<{ systemId: string; control: NonNullable<View['control']>; floors: Floors }> {
  const output = await run('pg_controldata', ['-D', data], { limitMs: 5_000 });
  const value = (name: string): string => {
    const line = output.split('\n').find((l) => l.startsWith(`${name}:`));
    if (line === undefined) throw new Error(`pg_controldata shows no "${name}"`);
    return line.slice(name.length + 1).trim();
  };
  const minimumTimeline = Number(value("Min recovery ending loc's timeline"));
  return {
    systemId: value('Database system identifier'),
    floors: {
      max_connections: Number(value('max_connections setting')),
      max_worker_processes: Number(value('max_worker_processes setting')),
      max_wal_senders: Number(value('max_wal_senders setting')),
      max_prepared_transactions: Number(value('max_prepared_xacts setting')),
      max_locks_per_transaction: Number(value('max_locks_per_xact setting')),
    },
    control: {
      clean: CLEAN.has(value('Database cluster state')),
      // A standby writes no checkpoint of its own, and what it received may go further than what it applied (S6).
      checkpointLsn: value('Database cluster state') === 'shut down' ? value('Latest checkpoint location') : null,
      timeline: Math.max(Number(value("Latest checkpoint's TimeLineID")), minimumTimeline),
    },
  };
}
