/**
 * The failover rule as one ordered table: the first row that matches decides. `id` names the row. `code` is what log,
 * page, metrics and scenarios print; a plan may print the code of its cause instead. `why` is the row in one sentence.
 * `match` returns null or the plan. Transitions are in transitions.ts; orders and routes are derived in effects/.
 */
import * as adopt from './procedures/adopt';
import * as members from './procedures/members';
import * as override from './procedures/override';
import * as pause from './procedures/pause';
import * as promotion from './procedures/promotion';
import * as rebuild from './procedures/rebuild';
import * as restore from './procedures/restore';
import * as serving from './procedures/serving';
import * as settingsRoll from './procedures/settings-roll';
import * as switchover from './procedures/switchover';
import type { Rule } from './rule';

// biome-ignore format: a row is two lines, so that the table stays one page.
export const RULES: readonly Rule[] = [
  // A person pauses or resumes automatic changes of leader.
  { id: 'pause-begun', code: 'PAUSE_BEGUN', level: 'WARN', match: pause.pauseBegun,
    why: 'A person paused automatic changes of leader: a change that is under way still ends as usual; after that the leader changes only when a person asks for it.' },
  { id: 'pause-ended', code: 'PAUSE_ENDED', level: 'INFO', match: pause.pauseEnded,
    why: 'A person resumed, or the pause reached its time limit: the leader is changed automatically again.' },

  // A person accepts that writes are lost.
  { id: 'data-loss-accepted', code: 'DATA_LOSS_ACCEPTED', level: 'WARN', match: override.dataLossAccepted,
    why: 'A person named the next leader and accepts that the writes that it lacks are lost.' },

  // Is the stored state the newest one, and does a database exist?
  { id: 'store-old', code: 'STORE_OLD', level: 'WARN', match: adopt.storeOld,
    why: 'A keeper has a newer state than the store: no node is promoted until every declared node was heard.' },
  { id: 'slot-moved', code: 'SLOT_MOVED', level: 'INFO', match: adopt.slotMoved,
    why: 'HAProxy leads to a different node than this monitor opened: another monitor is at work, so this monitor’s state is old (S11).' },
  { id: 'adopt-wait', code: 'ADOPT_WAIT', level: 'INFO', match: adopt.adoptWait,
    why: 'The store is new, or may be old: no node is promoted or created until every declared node was heard.' },
  { id: 'adopt-forgotten', code: 'ADOPT_FORGOTTEN', level: 'INFO', match: adopt.adoptForgotten,
    why: 'A member of the newest known state came back empty or was removed from the config: it may have known of a later leader.' },
  { id: 'adopted', code: 'ADOPTED', level: 'INFO', match: adopt.adopted,
    why: 'Every declared node was heard: the monitor takes over the newest state that any of them has.' },
  { id: 'adopt-unknown', code: 'ADOPT_UNKNOWN', level: 'WARN', match: adopt.adoptUnknown,
    why: 'There is data, but no node has a state that describes it: a person has to say which node has the right data.' },
  { id: 'bootstrap-wait', code: 'BOOTSTRAP_WAIT', level: 'INFO', match: adopt.bootstrapWait,
    why: 'The first database is created only after every declared node was heard and has reported that it has no data.' },
  { id: 'bootstrap', code: 'BOOTSTRAP', level: 'INFO', match: adopt.bootstrap,
    why: 'No node has data: the first declared node creates the database.' },

  // Data directories, whatever the cluster is doing.
  { id: 'promoted-by-hand', code: 'PROMOTED_BY_HAND', level: 'INFO', match: members.promotedByHand,
    why: 'PostgreSQL on a node became a primary without an order: its data now has a history of its own, so it is stopped and copied anew.' },
  { id: 'leader-known', code: 'LEADER_KNOWN', level: 'INFO', match: members.leaderKnown,
    why: 'The recorded leader has the data that the ledger names, but is missing in the list of members: it becomes a member again.' },

  // The first database is made.
  { id: 'bootstrapped', code: 'BOOTSTRAPPED', level: 'INFO', match: promotion.bootstrapped,
    why: 'The first data directory exists: its node is recorded as the leader, without standbys.' },
  { id: 'bootstrapping', code: 'BOOTSTRAPPING', level: 'INFO', match: promotion.bootstrapping,
    why: 'A node is creating the first data directory.' },

  // A new leader is elected.
  { id: 'elected', code: 'ELECTED', level: 'INFO', match: promotion.elected,
    why: 'Enough members have promised: the most advanced of them is recorded as the leader and promoted.' },
  { id: 'elected-leader-back', code: 'LEADER_BACK', level: 'INFO', match: promotion.electedLeaderBack,
    why: 'There is no candidate, but the old leader is back with its data: it leads again in the new term.' },
  { id: 'electing', code: 'ELECTING', level: 'INFO', match: promotion.electing,
    why: 'The members are asked to promise that they no longer follow the old leader.' },

  // A new leader is promoted and opened.
  { id: 'open', code: 'OPEN', level: 'INFO', match: promotion.open,
    why: 'The new leader has passed the opening checks: its name is right, its sync configuration is in force, a synchronous commit succeeded, and no old session is left.' },
  { id: 'candidate-lost', code: 'CANDIDATE_LOST', level: 'WARN', match: promotion.candidateLost,
    why: 'The candidate failed before it was opened, and another node can take over: the candidate is marked to be rebuilt.' },
  { id: 'promote-again', code: 'PROMOTE_AGAIN', level: 'INFO', match: promotion.promoteAgain,
    why: 'The candidate restarted during its promotion and may lead only in a new term: it is recorded again.' },
  { id: 'promote-sync', code: 'PROMOTE_SYNC', level: 'INFO', match: promotion.promoteSync,
    why: 'A standby that was counted for the new leader is gone before the opening: it is no longer counted.' },
  { id: 'promoting', code: 'PROMOTING', level: 'INFO', match: promotion.promoting,
    why: 'The recorded candidate is being promoted; HAProxy’s write slot stays closed until the candidate is proven.' },

  // The leader stops, and another node takes over.
  { id: 'handover-aborted', code: 'SWITCHOVER_ABORTED', level: 'WARN', match: switchover.handoverAborted,
    why: 'The candidate is lost, or the leader did not stop in time, and the leader still works: it goes on leading.' },
  { id: 'handed-over', code: 'HANDED_OVER', level: 'INFO', match: switchover.handedOver,
    why: 'The old leader has shut down, or is gone: the candidate takes over.' },
  { id: 'handing-over', code: 'HANDING_OVER', level: 'INFO', match: switchover.handingOver,
    why: 'The leader was told to stop: it shuts down cleanly first, and new connections are held.' },

  // The leader restarts for its settings.
  { id: 'restarted', code: 'SETTINGS_RESTART', level: 'INFO', match: settingsRoll.restarted,
    why: 'The leader has stopped for its settings: it starts, leads again in a new term, and passes the same opening checks.' },
  { id: 'restart-aborted', code: 'SETTINGS_ABORTED', level: 'INFO', match: settingsRoll.restartAborted,
    why: 'The leader was lost while it stopped for its settings, or did not stop in time: the usual rules apply.' },
  { id: 'restarting', code: 'SETTINGS_RESTART', level: 'INFO', match: settingsRoll.restarting,
    why: 'The leader shuts down cleanly to start again with new settings; new connections are held.' },

  // The leader's data are replaced by a restore in place.
  { id: 'restored', code: 'RESTORED', level: 'WARN', match: restore.restored,
    why: 'The leader has the restored data in their place: it leads with them in a new generation, and all other nodes are copied anew.' },
  { id: 'restore-failed', code: 'RESTORE_FAILED', level: 'WARN', match: restore.restoreFailed,
    why: 'The data could not be made, so the leader leads again with its former data, which were not touched.' },
  { id: 'restore-lost', code: 'RESTORE_FAILED', level: 'WARN', match: restore.restoreLost,
    why: 'The leader was lost before its data were swapped: the former data count, and the usual rules apply.' },
  { id: 'restore-stopped', code: 'RESTORING', level: 'INFO', match: restore.restoreStopped,
    why: 'The leader has stopped cleanly: the other nodes stop too, and its keeper makes the data beside the present ones.' },
  { id: 'restore-made', code: 'RESTORING', level: 'INFO', match: restore.restoreMade,
    why: 'The data are complete: they take the place of the present ones, which are kept.' },
  { id: 'restoring', code: 'RESTORING', level: 'INFO', match: restore.restoring,
    why: 'PostgreSQL is down while the data are made and swapped.' },

  // The leader serves, or should: its health.
  { id: 'stop-held-back', code: 'PAUSED', level: 'WARN', match: serving.stopHeldBack,
    why: 'The leader was told to stop during a pause (or with failoverMode observe): a person who stops it then wants it back, so it stops and no node takes over.' },
  { id: 'handover-begun', code: 'HANDING_OVER', level: 'INFO', match: serving.handoverBegun,
    why: 'The leader was told to stop, and a counted standby can take over: the leader shuts down cleanly first.' },
  { id: 'leader-stopping', code: 'LEADER_STOPPING', level: 'WARN', match: serving.leaderStopping,
    why: 'The leader was told to stop, and no standby could take over in time: it stops, and writes wait for its return.' },
  { id: 'leader-lost', code: 'LEADER_DEAD', level: 'WARN', match: serving.leaderLost,
    why: 'The leader is dead, hung or down, and a standby can take over without losing an acknowledged write.' },
  { id: 'leader-back', code: 'LEADER_BACK', level: 'INFO', match: serving.leaderBack,
    why: 'The leader restarted, and no other node can lead: it leads again in a new term and passes the same opening checks.' },
  { id: 'failover-held-back', code: 'PAUSED', level: 'WARN', match: serving.failoverHeldBack,
    why: 'The leader is gone during a pause (or with failoverMode observe), and a standby could take over: the log names it and says what a person can do.' },
  { id: 'no-candidate', code: 'NO_CANDIDATE', level: 'WARN', match: serving.noCandidate,
    why: 'The leader is gone, and no other node has all acknowledged writes: writes wait, and the log says which node to start.' },
  { id: 'leader-unsure', code: 'LEADER_LATE', level: 'WARN', match: serving.leaderUnsure,
    why: 'The leader is late or its connection broke: new connections are held until it answers or is confirmed dead.' },
  { id: 'haproxy-cut-off', code: 'HAPROXY_CUT_OFF', level: 'WARN', match: serving.haproxyCutOff,
    why: 'The leader works, but HAProxy cannot reach it and reaches a standby that can take over: the leader hands over.' },

  // A switchover is under way.
  { id: 'switchover-aborted', code: 'SWITCHOVER_ABORTED', level: 'WARN', match: switchover.switchoverAborted,
    why: 'The candidate can no longer take over, or a step takes too long: the switchover is called off and the leader goes on.' },
  { id: 'switchover-hold', code: 'SWITCHOVER_HOLD', level: 'INFO', match: switchover.switchoverHold,
    why: 'The leader has written its checkpoint: new connections are held from now on.' },
  { id: 'switchover-stop', code: 'SWITCHOVER_STOP', level: 'INFO', match: switchover.switchoverStop,
    why: 'New connections are held and the candidate is level: the leader lets its clients finish and stops.' },

  // A restore in place is prepared.
  { id: 'restore-called-off', code: 'RESTORE_FAILED', level: 'WARN', match: restore.restoreCalledOff,
    why: 'A step before the stop takes too long, or the leader is not well: the restore is called off and the leader goes on.' },
  { id: 'restore-prepared', code: 'RESTORE_BEGUN', level: 'INFO', match: restore.restorePrepared,
    why: 'The leader has written its checkpoint: new connections are held, then it lets its clients finish and stops.' },

  // What acknowledged writes wait for, and which nodes belong to the cluster.
  { id: 'sync-proven', code: 'SYNC_PROVEN', level: 'INFO', match: serving.syncProven,
    why: 'The ordered sync configuration is proven in force: the former ones no longer count.' },
  { id: 'sync-change', code: 'SYNC_CHANGE', level: 'INFO', match: serving.syncChange,
    why: 'A counted standby is gone, or a streaming standby is not counted yet: a new sync configuration is recorded beside the present one.' },
  { id: 'member-joined', code: 'MEMBER_JOINED', level: 'INFO', match: members.memberJoined,
    why: 'A node has carried out its order with a data directory that was not recorded: it becomes a member.' },
  { id: 'member-removed', code: 'MEMBER_REMOVED', level: 'INFO', match: members.memberRemoved,
    why: 'A node was removed from the config and is counted nowhere: the monitor forgets it.' },
  { id: 'leader-leaving', code: 'LEADER_LEAVING', level: 'WARN', match: serving.leaderLeaving,
    why: 'The leader was told to stop, and no standby can take over yet: it goes on serving for some seconds, in which a standby may become ready.' },

  // A standby is copied anew.
  { id: 'rebuild-asked', code: 'REBUILD_ASKED', level: 'INFO', match: rebuild.rebuildAsked,
    why: 'A person wants a standby copied anew: first it leaves the sync configuration, so that no write waits for it.' },
  { id: 'rebuild-begun', code: 'REBUILD_BEGUN', level: 'INFO', match: rebuild.rebuildBegun,
    why: 'No write waits for the standby any more: its data no longer counts, and it is copied anew.' },
  { id: 'rebuild-dropped', code: 'REBUILD_DROPPED', level: 'WARN', match: rebuild.rebuildDropped,
    why: 'The standby that was to be copied was removed from the config, or cannot leave the sync configuration: it is not copied.' },
  { id: 'rebuild-failed', code: 'REBUILD_FAILED', level: 'WARN', match: rebuild.rebuildFailed,
    why: 'The copy that a person asked for failed again and again: the standby’s old data is sound and is used again.' },

  // The data from before a restore are kept until a person decides.
  { id: 'restore-confirmed', code: 'RESTORE_CONFIRMED', level: 'WARN', match: restore.restoreConfirmed,
    why: 'A person confirmed a restore in place: the data from before it are removed.' },
  { id: 'restore-kept-gone', code: 'RESTORE_CONFIRMED', level: 'INFO', match: restore.keptGone,
    why: 'The data from before a restore in place are gone, with a confirmation or with their volume: the monitor forgets them.' },

  // A node restarts for its settings.
  { id: 'settings-aborted', code: 'SETTINGS_ABORTED', level: 'INFO', match: settingsRoll.settingsAborted,
    why: 'The node that was to restart for its settings is gone, or the leader cannot stop now: the restart is called off.' },
  { id: 'settings-standby-restarts', code: 'SETTINGS_STANDBY', level: 'INFO', match: settingsRoll.settingsStandbyRestarts,
    why: 'No write waits for the standby any more: it restarts with the new settings.' },
  { id: 'settings-applied', code: 'SETTINGS_APPLIED', level: 'INFO', match: settingsRoll.settingsApplied,
    why: 'The standby is back, with the new settings or, if PostgreSQL did not start with them, with the former ones.' },
  { id: 'restart-prepared', code: 'SETTINGS_RESTART', level: 'INFO', match: settingsRoll.restartPrepared,
    why: 'The leader has written its checkpoint: new connections are held, then it lets its clients finish and stops.' },

  // A planned change begins, when nothing else is to be done.
  { id: 'leader-removed', code: 'LEADER_REMOVED', level: 'INFO', match: switchover.leaderRemoved,
    why: 'The leader was removed from the config and works: it hands over by a planned switchover.' },
  { id: 'switchover-begun', code: 'SWITCHOVER_BEGUN', level: 'INFO', match: switchover.switchoverBegun,
    why: 'A person asked for another leader, and that node is a counted standby that has caught up.' },
  { id: 'restore-begun', code: 'RESTORE_BEGUN', level: 'WARN', match: restore.restoreBegun,
    why: 'A person asked for a restore in place, or for its way back, and nothing else is under way: the leader writes a checkpoint first.' },
  { id: 'settings-standby-leaves', code: 'SETTINGS_STANDBY', level: 'INFO', match: settingsRoll.settingsStandbyLeaves,
    why: 'Settings need a restart, and all nodes are well: the first standby that needs one leaves the sync configuration.' },
  { id: 'settings-switchover', code: 'SETTINGS_SWITCHOVER', level: 'INFO', match: settingsRoll.settingsSwitchover,
    why: 'All standbys have the new settings, and the leader needs a restart for them: it hands over and becomes a standby.' },
  { id: 'restart-begun', code: 'SETTINGS_RESTART', level: 'INFO', match: settingsRoll.restartBegun,
    why: 'The leader needs a restart and has no standby, or lowers a setting whose value on a standby must be at least the leader’s (S23).' },
  { id: 'switchback-put-off', code: 'SWITCHBACK_PUT_OFF', level: 'INFO', match: switchover.switchbackPutOff,
    why: 'The first declared node could have the lead back, but transactions ran all the time: the next switchback waits longer.' },
  { id: 'switchback', code: 'SWITCHBACK', level: 'INFO', match: switchover.switchback,
    why: 'The preferred node has been a caught-up standby for long enough: it gets the lead back.' },
  { id: 'switchback-kept', code: 'SWITCHBACK_KEPT', level: 'INFO', match: switchover.switchbackKept,
    why: 'The preferred node has kept the lead for long enough: the next switchback waits only for `switchbackAfter` again.' },
  { id: 'switching-over', code: 'SWITCHING_OVER', level: 'INFO', match: switchover.switchingOver,
    why: 'A switchover is being prepared; the leader serves meanwhile.' },

  // Nothing is to be changed.
  { id: 'reopening', code: 'REOPENING', level: 'INFO', match: serving.reopening,
    why: 'HAProxy or the monitor restarted: the leader passes the opening checks again before the slot is opened.' },
  { id: 'steady', code: 'STEADY', level: 'INFO', match: serving.steady,
    why: 'The leader serves and there is nothing to change.' },
];
