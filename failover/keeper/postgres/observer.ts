/** Observes one running server, from its start to its end. */

import { messageOf } from '../../contract/errors';
import type { SlotView } from '../../contract/messages';
import { REPLICATION_ROLE } from '../../contract/naming';
import { derivedPassword } from '../../contract/proof';
import { KeeperError, type Source, type SqlView, type View } from '../ports';
import { FLOORED, type Floors, type Pending } from '../tunables';
import type { Configuration } from './configuration';
import type { DataFolder, Warning } from './data-folder';
import type { Heartbeat } from './heartbeat';
import { HELD, laterTimeline, lookBySql, lookForPending, readControlFile, SLOTS } from './look';
import type { NodeGate } from './node-gate';
import { LOCKED_OUT, type OwnSessions, SQL_LIMIT_MS } from './own-sessions';
import type { Place } from './place';
import type { Postmaster } from './postmaster';
import { Replication } from './replication';
import type { RoleList } from './role-list';
import type { Session } from './session';
import { ask, type Finding } from './stream-check';
import { StreamWatch } from './stream-watch';

const CONNECT_LIMIT_MS = 500;
/**
 * Interval at which a standby with a higher value than the stack asks for checks whether its leader has lowered it
 * (S23), ms.
 */
const FLOORS_EVERY_MS = 1_000;
/** Interval at which a standby is asked whether its replay is paused, ms. */
const PAUSE_EVERY_MS = 500;
/** Interval at which replication slots are read, ms. They are only for people, so not every look reads them. */
const SLOTS_EVERY_MS = 5_000;
/** Longest part of PostgreSQL's message in a warning, characters. */
const WORDS_MAX = 300;
/** Errors of a server that does not run, or not yet. */
const NOT_NOW = /ECONNREFUSED|ENOENT|starting up|not (yet )?accepting|shutting down/;

interface ObserverParts {
  place: Place;
  /** System identifier of the data on which the server runs. */
  systemId: string | null;
  postmaster: Postmaster;
  data: DataFolder;
  sessions: OwnSessions;
  files: Configuration;
  beats: Heartbeat;
  roles: RoleList;
  gate: NodeGate;
  warning: Warning;
}

export class Observer {
  private readonly watch = new StreamWatch((leader) => this.askWhy(leader));
  /** The node that this server has to follow; null: no node. */
  upstream: Source | null = null;
  /** The newest timeline on which the server was seen. */
  private received: number | null = null;
  /** The last view of the server as a leader. */
  private leader: View | null = null;
  /** Why no superuser role can log in; undefined: one can. */
  private lockedOut: string | undefined;
  /** Whether replay is paused because a setting is too low, and when that was last checked. */
  private pause = { held: false, atMs: Number.NEGATIVE_INFINITY, replayLsn: null as string | null };
  private slots: SlotView[] | undefined;
  private slotsAtMs = Number.NEGATIVE_INFINITY;
  /** The settings that wait for a restart under the files of `version`. */
  private pending: { version: number; settings: Pending[] } | null = null;
  /** When the control file was last read for the leader's settings. */
  private floorsAtMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly parts: ObserverParts) {}

  /** The server is about to be promoted. */
  promotes(): void {
    this.upstream = null;
    this.watch.forget();
  }

  /** Takes one look. Returns null when the server has ended. */
  async look(): Promise<View | null> {
    const { systemId, postmaster, data, sessions, warning } = this.parts;
    const view: View = {
      ...{ systemId, dataExists: true, running: true, control: null, sql: null, settings: null },
      streamImpossible: this.watch.impossible,
      blind: postmaster.blind,
      paused: this.pause.held,
      catchingUp: data.catchesUp,
      warning: warning.text,
    };
    try {
      return await this.ask(view, await sessions.common(CONNECT_LIMIT_MS));
    } catch (error) {
      if (postmaster.isGone) return null;
      this.tellSilence(error);
      if (this.leader === null) this.watch.seen(null, this.upstream);
      // A leader that hangs is still the leader. The heartbeat reports how long it hangs (S27).
      const seen: View =
        this.leader === null ? { ...view, starved: (await postmaster.stillMs()) > 0 } : { ...this.leader, stale: true };
      return { ...seen, warning: warning.text, lockedOut: this.lockedOut };
    }
  }

  /** Asks the server for its state. Throws when it does not answer. */
  private async ask(view: View, session: Session): Promise<View> {
    const { sql, systemId } = await lookBySql(session);
    this.lockedOut = undefined;
    // Kept here, because the walreceiver's timeline disappears with its process, and that is when the timeline is
    // needed to choose a candidate.
    if (sql.inRecovery) sql.timeline = this.received = laterTimeline(this.received, sql.timeline);
    // A leader knows its heartbeat without a query.
    const { count, ageMs } = this.parts.beats.read();
    if (!sql.inRecovery && count > 0) Object.assign(sql, { heartbeatSeen: count, heartbeatSeenAgeMs: ageMs });
    const settings = await this.lookAtSettings(session, sql.inRecovery);
    if (performance.now() - this.slotsAtMs >= SLOTS_EVERY_MS) {
      this.slotsAtMs = performance.now();
      this.slots = await session.ask('slots', SLOTS);
      this.parts.gate.slots = this.slots;
    }
    await this.lookAtPause(session, sql);
    // A standby's clients come only after its first look. A leader must not wait.
    await this.parts.roles.look(session, sql.inRecovery);
    await this.parts.gate.look(session);
    this.watch.seen(sql, this.upstream);
    const seen = {
      ...view,
      ...{ systemId, sql, settings, slots: this.slots, paused: this.pause.held },
      streamImpossible: this.watch.impossible,
    };
    this.leader = sql.inRecovery ? null : seen;
    return seen;
  }

  /**
   * Whether the running server has the stack's settings. PostgreSQL is asked once after each change of the settings in
   * the files.
   */
  private async lookAtSettings(session: Session, inRecovery: boolean): Promise<View['settings']> {
    const { files, place } = this.parts;
    const { tunables, wanted, version } = files;
    tunables.answered();
    const known = this.pending?.version === version ? this.pending : null;
    const due = tunables.isFloored(wanted) && performance.now() - this.floorsAtMs >= FLOORS_EVERY_MS;
    // Decided by the server's state, not by the keeper's steps: a promotion may have succeeded although its answer was
    // lost.
    if (!inRecovery) tunables.promoted();
    else if (known === null || due) {
      this.floorsAtMs = performance.now();
      tunables.floorsAre((await readControlFile(place.data)).floors);
    }
    // The files will soon be written again, so an answer now says nothing.
    if (!files.isWritten) return null;
    const settings = known?.settings ?? (await lookForPending(session, version));
    if (settings === null) return null;
    // Asked again while transactions are prepared, because they end.
    if (!settings.some(({ least }) => (least ?? 0) > 0)) this.pending = { version, settings };
    return { wanted: JSON.stringify(wanted), status: tunables.status(wanted, settings, !inRecovery) };
  }

  /**
   * Detects a replay that is paused because the control file has a higher value than this server: the leader's WAL
   * brought that value, and only a restart helps (S23). The keeper does not end a pause that only a person caused.
   */
  private async lookAtPause(session: Session, { inRecovery, replayLsn }: SqlView): Promise<void> {
    const { pause } = this;
    // Replay that went on since the last look is not paused. That is the usual case, and it costs no query.
    const goesOn = replayLsn !== pause.replayLsn;
    pause.replayLsn = replayLsn;
    if (!inRecovery || goesOn) pause.held = false;
    if (!inRecovery || goesOn || performance.now() - pause.atMs < PAUSE_EVERY_MS) return;
    pause.atMs = performance.now();
    const seen = await session.askOne<{ held: boolean; own: Floors }>('held', HELD);
    const floors = seen.held ? (await readControlFile(this.parts.place.data)).floors : seen.own;
    pause.held = FLOORED.some((name) => seen.own[name] < floors[name]);
  }

  /** Asks the leader why this standby does not stream from it. */
  private askWhy(leader: Source): Promise<Finding> {
    const { place, sessions } = this.parts;
    const { clusterKey, node, data, port } = place;
    return ask({
      leader,
      ...{ node, data, timeline: this.received },
      openSession: () => sessions.home(),
      openReplication: () =>
        Replication.open({
          ...{ host: leader.address, port, user: REPLICATION_ROLE, applicationName: `${node}-check` },
          ...{ password: derivedPassword(clusterKey, 'replication'), limitMs: SQL_LIMIT_MS },
        }),
    });
  }

  /** Reports an unusual failure to answer. A server that does not run, or not yet, is not reported. */
  private tellSilence(error: unknown): void {
    const message = messageOf(error);
    if (error instanceof KeeperError && error.code === LOCKED_OUT) this.lockedOut = message;
    else if (!NOT_NOW.test(message)) {
      this.parts.warning.text = `PostgreSQL does not answer as it should: ${message.slice(0, WORDS_MAX)}`;
    }
  }
}
