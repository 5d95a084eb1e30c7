/**
 * All codes that the failover prints in log, page, metrics and API. The tables in docs/operations.md are generated from
 * these texts, so a link in them leads to a part of that document. A code that is missing here does not compile.
 */
import { z } from 'zod';

/** Codes of the monitor's decisions: of a row of the rule table, or of the cause that a row stands for. */
export const RULE_CODES = {
  STEADY: 'The leader serves and there is nothing to change.',

  LEADER_LATE: 'The leader has not answered for a quarter of `hangTimeout`: new connections are held until it answers.',
  LEADER_BROKEN: 'The connection to the leader broke: new connections are held until its state is known.',
  LEADER_APART: 'The monitor does not reach the keeper of the leader, and the leader works: no failover.',
  MONITOR_APART: 'No node answers the monitor, which may be cut off itself: no failover, the leader goes on serving.',
  LEADER_AWAITED: 'The stack has just started: the monitor waits for the recorded leader, for `startGrace` at most.',

  LEADER_DEAD: 'The leader’s connection broke and its PostgreSQL does not answer.',
  LEADER_HUNG: 'The leader has not answered for `hangTimeout`, and no heartbeat was seen on a standby.',
  LEADER_WEDGED: 'The keeper of the leader answers, and its PostgreSQL has answered no heartbeat for `hangTimeout`.',
  LEADER_DOWN: 'The keeper of the leader reports that PostgreSQL does not run as the primary any more.',
  LEADER_WIPED: 'The leader came back without the cluster’s data; it no longer leads and is copied anew.',
  LEADER_ABSENT: 'The recorded leader has not come back since the monitor started.',
  LEADER_CUT_OFF: 'Neither the monitor nor HAProxy reaches the leader.',
  LEADER_REMOVED: 'The leader is not declared any more: it hands over, or is replaced when it is gone.',
  NO_CANDIDATE: 'No leader works, and every connected node may lack an acknowledged write: writes wait.',
  LEADER_RESTS: 'PostgreSQL on the leader ended again and again, and no other node can take over.',
  LEADER_BACK: 'The old leader is back and no other node can lead: it leads again in a new term.',

  ELECTING: 'The counted nodes promise the new term before one of them is promoted.',
  ELECTED: 'Enough nodes have promised: the one with the newest data is promoted.',
  PROMOTING: 'The new leader is promoted and has to pass the checks before its route is opened.',
  PROMOTE_AGAIN: 'The node restarted during its promotion: it is recorded again, in a new term.',
  PROMOTE_SYNC: 'A standby that was counted for the new leader failed before the opening: it is no longer counted.',
  CANDIDATE_LOST: 'The new leader failed before its route was opened, and another node can take over.',
  OPEN: 'The new leader has passed the checks: its route is opened.',
  REOPENING: 'HAProxy or the monitor restarted: the leader is checked again before its route is opened.',

  LEADER_LEAVING: 'The leader was told to stop and no standby can take over yet: it goes on serving for some seconds.',
  LEADER_STOPPING: 'The leader was told to stop and no standby could take over in time: writes wait for its return.',
  HANDING_OVER: 'The leader shuts down cleanly first; new connections are held.',
  HANDED_OVER: 'The old leader has shut down, or is gone: the next one takes over.',
  HAPROXY_CUT_OFF: 'HAProxy does not reach the leader, which works: it hands over to a standby that HAProxy reaches.',

  SWITCHOVER_BEGUN: 'A person asked for another leader, and that node is counted and has caught up.',
  SWITCHING_OVER: 'A switchover is being prepared; the leader serves meanwhile.',
  SWITCHOVER_HOLD: 'The leader has written its checkpoint: new connections are held.',
  SWITCHOVER_STOP: 'The next leader is level: the present one lets its clients finish and stops.',
  SWITCHOVER_ABORTED: 'The next leader is lost or a step took too long: the present one goes on leading.',
  SWITCHBACK_PUT_OFF: 'Transactions ran all the time in which the first declared node could have got the lead back.',
  SWITCHBACK: 'The first declared node has caught up for `switchbackAfter`: it gets the lead back.',
  SWITCHBACK_KEPT: 'The first declared node has kept the lead: the next switchback waits only for `switchbackAfter`.',

  PAUSE_BEGUN: 'A person paused automatic changes of leader.',
  PAUSE_ENDED: 'The leader is changed automatically again.',
  PAUSED: 'The leader stops or is gone, and automatic failover is paused.',
  OBSERVED: 'The leader stops or is gone, and `failoverMode` is observe.',
  PROMOTE_ASKED: 'In a pause a person named the next leader, which has every acknowledged write.',
  DATA_LOSS_ACCEPTED: 'A person named the next leader and accepts that the writes that it lacks are lost.',

  SYNC_CHANGE: 'The standbys that a write waits for change, because one failed or joined.',
  SYNC_PROVEN: 'It is proven that the leader uses the changed sync configuration.',
  MEMBER_JOINED: 'A node has joined as a standby, with data that was not recorded before.',
  MEMBER_REMOVED: 'The monitor forgets a node that is not declared any more and that no write waits for.',
  PROMOTED_BY_HAND: 'PostgreSQL on a node became a primary without an order. It is stopped and copied anew.',
  LEADER_KNOWN:
    'The leader was missing in the list of members, which 0.1.0 could shorten too far. It is a member again.',

  REBUILD_ASKED: 'A person wants a standby copied anew: first it leaves the sync configuration.',
  REBUILD_BEGUN: 'No write waits for the standby any more: it is copied anew.',
  REBUILD_DROPPED: 'The standby is not declared any more, or cannot leave the sync configuration: it is not copied.',
  REBUILD_FAILED: 'A copy that a person asked for failed three times; the former data is sound and is used again.',

  SETTINGS_STANDBY: 'A standby leaves the sync configuration, then it restarts with the new settings.',
  SETTINGS_APPLIED: 'The standby is back, with the new settings or, if it does not start with those, the former ones.',
  SETTINGS_SWITCHOVER: 'All standbys have the new settings: the leader hands over and becomes a standby.',
  SETTINGS_RESTART: 'The leader restarts for its settings; new connections are held meanwhile.',
  SETTINGS_REFUSED: 'PostgreSQL did not start with the new settings and goes on with the former ones.',
  SETTINGS_ABORTED: 'The restart for new settings was called off; the line says why.',

  RESTORE_BEGUN: 'A person asked for a restore in place: the leader writes a checkpoint, then it stops.',
  RESTORING: 'A restore in place is under way: PostgreSQL is down, and clients wait or are refused.',
  RESTORE_FAILED: 'A restore in place did not succeed: the former data serve again. The line has the reason.',
  RESTORED: 'The leader has the restored data and leads with them; all other nodes are copied anew.',
  RESTORE_UNDONE: 'The data from before the restore are back; all other nodes are copied anew.',
  RESTORE_CONFIRMED: 'A person confirmed the restore: the data from before it are removed.',

  BOOTSTRAP_WAIT: 'The first database is made only when every declared node has reported that it has no data.',
  BOOTSTRAP: 'Every declared node has reported that it has no data: the first one makes a database.',
  BOOTSTRAPPING: 'The first database is being made.',
  BOOTSTRAPPED: 'The first database is made: its node becomes the leader.',
  ADOPT_WAIT: 'The monitor’s store is new or old: the monitor waits until every declared node has reported.',
  ADOPT_FORGOTTEN: 'A node that may have known a later leader lost its copy of the state or is not declared any more.',
  ADOPT_UNKNOWN: 'There is data, and no node remembers its history.',
  ADOPTED: 'The newest state that the nodes remember is taken over.',
  STORE_OLD: 'The monitor’s store may be an old one or a copy: every declared node is asked first.',
  SLOT_MOVED:
    'HAProxy leads to another node than this monitor opened: another monitor is at work. This one asks every node.',
} as const satisfies Record<string, string>;

/** Failures that a keeper reports in its status (`failure`) and in the log. The monitor decides by some of them. */
export const FAILURE_CODES = {
  POSTGRES_CRASHED:
    'PostgreSQL ended without an order; the line has its exit code or signal and its own message. A ' +
    'standby starts again after 1, 2, 4 … 60 s; after six times in a row its data is replaced, and kept until the ' +
    'copy is complete.',
  POSTGRES_SILENT: 'PostgreSQL runs and does not answer its keeper.',
  MUST_COPY: 'The node has no data, data with a history of its own, or data without the folder of a tablespace.',
  STREAM_IMPOSSIBLE: 'The leader no longer has the write-ahead log that the node needs, or has another history.',
  REWIND_FAILED: '`pg_rewind` failed, so the data is half changed.',
  SETTLE_FAILED: 'The crash recovery before a rewind failed; it is tried three times, then the node is copied.',
  DISK_TOO_SMALL: 'The disk has no room for a copy, or became full while the copy was made.',
  TABLESPACE_IN_USE:
    'The folder of a tablespace cannot be made, is not empty, is used by the old data, or would be removed with it.',
  WAL_MISSING: 'Write-ahead log that a copy needs was not received in time; the copy is tried again.',
  COPY_REPEATED: 'The node did not stream with a copy that was complete and verified; it is copied again later.',
  LEADER_UNREACHABLE: 'The node does not reach the PostgreSQL of its leader, and tries again.',
  PROMOTION_HANGS: 'Replay has stood at the same place for a minute, so the promotion was given up.',
  SYNC_UNPROVEN: 'It is not proven yet that writes wait for the counted standbys; the check is repeated.',
  FURNISH_FAILED: 'An object that the failover needs in the database is missing or changed, and cannot be made again.',
  SUPERUSER_LOCKED_OUT: 'PostgreSQL lets in neither role `postgres` nor `failover_keeper`.',
  TOOL_FAILED: 'A program of PostgreSQL, for example `pg_basebackup`, ended with an error; the line has it.',
  RESTORE_IMPOSSIBLE: 'The repository cannot bring back what is asked for; the line says how far it reaches.',
  STEP_FAILED: 'A step failed for another reason, which the line names; it is tried again.',
  MUST_NOT_LEAD: 'The node may not lead with this order; the monitor gives another one.',
  NO_DATA: 'The node was told to lead or to start, and has no data.',
  DATA_EXISTS: 'A new database was ordered where there is data; the data is left as it is.',
  ORDER_WRONG: 'The order does not fit the settings of this node.',
  STOPPING: 'The container is being stopped.',
  OTHER: 'The code of another release, which this release does not know; the message begins with it.',
} as const satisfies Record<string, string>;

/** Codes of the other log lines of the monitor and the keepers. */
export const NOTE_CODES = {
  OPENED: 'Writes go to a new leader; the line has each step of the change in milliseconds.',
  CHECK_WAITS: 'The new leader has not passed all checks yet; the line has what is missing.',
  STARTED: 'The monitor has started.',
  STOPPED: 'The monitor was stopped: the leader goes on serving, but there is no failover meanwhile.',
  SIGNAL_IGNORED: 'The monitor got a signal that it ignores.',
  STALLED: 'The monitor’s process stood still for a while: it forgets what it saw and looks at everything anew.',
  CYCLE_FAILED: 'The monitor could not decide or store its decision; it tries again.',
  LISTEN_FAILED: 'The monitor cannot accept the keepers’ connections.',
  CONNECTED: 'The keeper of a node is connected.',
  DISCONNECTED: 'The connection to the keeper of a node broke.',
  KEY_WRONG: 'A keeper has another cluster key and was refused.',
  NODE_UNKNOWN: 'A keeper of a node that is not declared in this stack was refused.',
  HAPROXY_SEEN: 'HAProxy answers.',
  HAPROXY_SILENT: 'HAProxy does not answer the monitor.',
  HAPROXY_RELOADED: 'HAProxy has a new worker, whose backend slots start closed.',
  POOLER_SEEN: 'The pooler is connected to the monitor, which can pause it during planned changes.',
  POOLER_LOST: 'The connection to the pooler broke: its clients may see errors in a planned change.',
  POOLER_REFUSED: 'A pooler has another key and was refused.',
  POOLER_LATE: 'A transaction through the pooler did not end in time: a planned change goes on without waiting for it.',
  LOG_DROPPED: 'Lines of the log were not written, because the disk did not keep up.',
  LOG_FAILED: 'The log cannot be written; its lines go to stdout.',
  CERTIFICATE: 'The nodes get a certificate for TLS with clients; the line says until when it is valid.',
  CERTIFICATE_REFUSED: 'A certificate for TLS with clients cannot be used; the last good one stays.',
  NOTIFY_FAILED: 'The webhook did not take a notification; it is tried again.',
  NOTIFY_GIVEN_UP: 'The webhook did not take a notification.',
  NOTIFY_DROPPED: 'The webhook does not keep up: the oldest notification was dropped.',

  COPY_BEGUN: 'A node begins to copy the data of the leader.',
  COPY_PROGRESS: 'How far the copy is.',
  RESTORE_PROGRESS: 'How far a restore in place is.',
  COPY_DONE: 'The data of the leader is copied and verified.',
  RESTORE_DONE: 'The first node has restored the data of another cluster; the line says up to which commit.',
  OLD_DATA_REMOVED: 'With `rebuildInPlace` the old data was removed first: there was no room for both.',
  REWIND_BEGUN: 'A former leader is brought back to the history of the present one.',
  REWIND_DONE: 'The former leader has the history of the present one.',
  PROMOTION_REPLAYS:
    'A node that is being promoted applies the write-ahead log that it has; the line says how much is left.',
  MENDED: 'Something that the failover needs inside the database was removed or changed, and was made again.',
  SLOT_DROPPED:
    'A replication slot was dropped: of a node that is not declared any more, of a former leader, which gets the new leader’s, or the copy of one that a person dropped.',
  SLOT_GAP: 'A new leader does not keep all write-ahead log that the former one kept for a slot that a person made.',
  SLOT_LOST: 'A slot that a person made was on the former leader and cannot be made again on the new one.',
  SLOT_PROBLEM: 'The slots that people made cannot be kept on a node now; it is tried again.',
  ARCHIVE_PROBLEM:
    'The repository of the backups takes no write-ahead log, for the reason that follows; it is tried again.',
  ARCHIVE_GAP: 'Write-ahead log is in no backup: the archive took nothing for too long, or the files were lost.',
  BACKUP_BEGUN: 'The leader begins a job for the backups.',
  BACKUP_DONE: 'The job for the backups is done; the line has what was made or found.',
  BACKUP_STOPPED: 'A job for the backups was stopped, because the leadership ended; it is repeated.',
  BACKUP_FAILED: 'A job for the backups failed; a scheduled one is tried again after a rest.',
  BACKUP_DAMAGED:
    'Files of the repository are damaged or missing; the line names them. Or it has lost all that it had.',
  BACKUP_OLD: 'The backups are older than one and a half intervals of the schedule.',
  RESTORE_TEST_BEGUN: 'The newest backup is restored beside the stack, to test it.',
  RESTORE_TEST_DONE: 'The tested backup can be restored; the line has which one, and how long it took.',
  RESTORE_TEST_FAILED: 'The tested backup could not be restored, or its copy is not sound; the line has the cause.',
  RESTORE_TEST_STOPPED: 'A test of a restore was ended before its end; it is begun again later.',
  RESTORE_TEST_OLD: 'No restore was tested with success for two intervals.',
  CHECKER_SEEN: 'The container that tests restores is connected to the monitor.',
  CHECKER_LOST: 'The connection to the container that tests restores broke.',
  CHECKER_REFUSED: 'A container that tests restores has another key and was refused.',
  CHECKPOINT_FAILED: 'The checkpoint before a switchover or a stop, or after a promotion, failed.',
  POSTGRES_STOPPED: 'PostgreSQL of a leader shut down as it was told to; the line has how long it took.',
  POSTGRES_WARNING: 'A warning for people about this PostgreSQL.',
  STATE_NOT_STORED: 'The keeper cannot store its state on the disk.',
  ORDER_REFUSED: 'The keeper refused an order, because it had accepted a newer one.',
} as const satisfies Record<string, string>;

const codesOf = <C extends string>(table: Readonly<Record<C, string>>) => z.enum(Object.keys(table) as C[]);

export const RuleCode = codesOf(RULE_CODES);
export type RuleCode = z.infer<typeof RuleCode>;
/**
 * Code of the cause of a change of leader. A code that only another release knows, in a state that it stored, is read
 * as OTHER.
 */
export const Cause = z.string().pipe(z.enum([...RuleCode.options, 'OTHER']).catch('OTHER'));
export type Cause = z.infer<typeof Cause>;
export const FailureCode = codesOf(FAILURE_CODES);
export type FailureCode = z.infer<typeof FailureCode>;
export const NoteCode = codesOf(NOTE_CODES);
export type NoteCode = z.infer<typeof NoteCode>;
/** Any code that a log line may carry. */
export const LogCode = z.enum([...RuleCode.options, ...FailureCode.options, ...NoteCode.options]);
export type LogCode = z.infer<typeof LogCode>;

/** What a person has to do. A code without an entry needs nothing. */
export const TODOS: Readonly<Partial<Record<LogCode, string>>> = {
  LEADER_LATE: 'Nothing. If it happens often, the machine or its network is too slow for `hangTimeout`.',
  LEADER_APART: 'Mend the network between the containers.',
  MONITOR_APART: 'Mend the network of `failover-monitor`.',
  LEADER_AWAITED: 'Wait, or start the leader.',
  LEADER_DEAD: '`docker start <node>`, and find out why it died.',
  LEADER_HUNG: 'Look at its container and machine; `docker restart <node>` if it does not go on.',
  LEADER_WEDGED: 'Look at its disk.',
  LEADER_DOWN: '`docker logs --tail 50 <node>` says why.',
  LEADER_ABSENT: '`docker start <node>`.',
  LEADER_CUT_OFF: 'Mend the network of that node.',
  NO_CANDIDATE:
    'Start the node that the line names. After `startGrace` it also names the `promote … --accept-data-loss` that ' +
    'would go on without it.',
  LEADER_RESTS: '[The leader rests](#the-leader-rests)',
  CANDIDATE_LOST: '`docker logs --tail 50 <node>` says why it failed; it is copied anew.',
  LEADER_STOPPING: '`docker start <node>`.',
  HAPROXY_CUT_OFF: 'Mend the network between HAProxy and that node.',
  SWITCHOVER_ABORTED: 'Remove the cause that is named, and ask again.',
  PAUSE_BEGUN: '`npm run failover -- resume` when it is over.',
  PAUSED: 'Start the leader, `promote` the node that is named, or `npm run failover -- resume`.',
  OBSERVED: 'Start the leader, `promote` the node that is named, or set `failoverMode` to automatic.',
  PROMOTED_BY_HAND: 'Find what promoted it, and stop that.',
  RESTORE_FAILED: 'Remove the cause that is named, and ask again.',
  RESTORED: 'Look at the data, then `restore --confirm` or `restore --undo`.',
  REBUILD_FAILED: 'Remove the cause that is named, then `npm run failover -- rebuild <node>` again.',
  SETTINGS_REFUSED: 'Correct `postgresSettings` as PostgreSQL’s message says, and `npm run up`.',
  BOOTSTRAP_WAIT: 'Start every declared node.',
  ADOPT_WAIT: 'Start every declared node.',
  ADOPT_FORGOTTEN: 'Put its volume back, or `promote` as the line says.',
  ADOPT_UNKNOWN: 'Say which node is right: `npm run failover -- promote <node>`.',
  ARCHIVE_PROBLEM: 'Remove the cause that is named: mostly the repository is full or cannot be written.',
  ARCHIVE_GAP: 'Mend the repository. Restores to a moment in the gap are not possible.',
  BACKUP_FAILED: 'Remove the cause that the line names: mostly the repository is full or cannot be written.',
  BACKUP_DAMAGED: '`npm run failover -- backup now --full`: the next full backup depends on none of these files.',
  BACKUP_OLD: '`npm run failover -- backup status` says why there is no newer one.',
  RESTORE_TEST_FAILED:
    'Remove the cause that the line names, then `npm run failover -- backup check`. If files are damaged: `backup now --full`.',
  RESTORE_TEST_OLD: '`npm run failover -- backup status` says how the last one ended.',
  SLOT_MOVED: 'Stop all monitors but one.',
  SLOT_GAP: '[Replication slots](replication.md#replication-slots)',
  SLOT_LOST: '[Replication slots](replication.md#replication-slots)',
  SLOT_PROBLEM: 'As the line says, most often too many slots.',
  CERTIFICATE_REFUSED:
    'Correct the files of `tlsCertificate` and `tlsKey` as the line says; they are read again by themselves.',
  POSTGRES_CRASHED: 'Remove the cause that the message names, most often a full disk or too little memory.',
  MUST_COPY: '[A node has to be copied](#a-node-has-to-be-copied)',
  STREAM_IMPOSSIBLE: '[A node has to be copied](#a-node-has-to-be-copied)',
  REWIND_FAILED: '[A node has to be copied](#a-node-has-to-be-copied)',
  SETTLE_FAILED: 'See `POSTGRES_CRASHED`.',
  DISK_TOO_SMALL: '[A copy has no room](#a-copy-has-no-room)',
  TABLESPACE_IN_USE: 'Do what the message says about the folder: make it, empty it, or set `rebuildInPlace`.',
  WAL_MISSING: 'If it repeats, look at the network between the nodes.',
  COPY_REPEATED: '`docker logs --tail 50 <node>` says why it does not start or stream.',
  LEADER_UNREACHABLE: 'If it repeats, look at the network between the nodes.',
  PROMOTION_HANGS: '`SELECT pg_get_wal_replay_pause_state(), pg_last_wal_replay_lsn()` on that node; look at its disk.',
  FURNISH_FAILED:
    '[What the failover makes](#what-the-failover-makes-in-your-database-and-what-happens-when-it-is-removed)',
  SUPERUSER_LOCKED_OUT: '[No superuser gets in](#no-superuser-gets-in)',
  RESTORE_IMPOSSIBLE: 'Ask for a moment, timeline or backup that the line names.',
  TOOL_FAILED: 'Remove the cause that is named; it is tried again.',
  OTHER: 'Finish the upgrade.',
  STOPPED: '`docker start failover-monitor`.',
  STALLED: 'If it repeats, look at the load of the machine.',
  CYCLE_FAILED: 'Look at its disk.',
  LISTEN_FAILED: '`docker restart failover-monitor`.',
  DISCONNECTED: 'If the keeper stays away, `docker start <node>`.',
  KEY_WRONG: '`npm run up`.',
  HAPROXY_SILENT: '`docker start haproxy`, or restart it.',
  POOLER_LOST: 'If it stays away, `docker restart pooler`.',
  POOLER_REFUSED: '`npm run up`.',
  LOG_FAILED: 'Look at the disk of the log folder.',
  NOTIFY_GIVEN_UP: 'Look at `notifyWebhook`.',
  PROMOTION_REPLAYS: 'Wait.',
  MENDED: '[What the failover makes](#what-the-failover-makes-in-your-database-and-what-happens-when-it-is-removed)',
  POSTGRES_WARNING: 'As the line says.',
  STATE_NOT_STORED: 'Look at the disk of that node.',
};

/** Accepts messages of other releases: a code that is not known here becomes OTHER, and the message begins with it. */
export function known<C extends LogCode>(codes: z.ZodType<C>) {
  return <T extends { code: string; message: string }>(given: T): T & { code: C | 'OTHER' } => {
    const { data } = codes.safeParse(given.code);
    return data === undefined
      ? { ...given, code: 'OTHER', message: `${given.code}: ${given.message}` }
      : { ...given, code: data };
  };
}
