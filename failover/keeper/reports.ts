/** Reports to the monitor: this node's status, and lines for people. */
import type { LogCode } from '../contract/codes';
import type { KeeperFrame, SlotView, Status } from '../contract/messages';
import type { Clock, Link } from './ports';
import type { NoteLevel } from './pursuit-host';
import { buildStatus, type Counts, type Facts } from './status';

const CRASH_WINDOW_MS = 60_000;
const NOTE_MAX = 2_000;
/** The fields of a leader's status that change with every heartbeat. */
const NO_BEAT = { heartbeat: 0, heartbeatAgeMs: 0, commitMs: null };

/** State of one connection to the monitor. */
class Connection {
  /** The monitor has sent its settings over this connection, so the stored ones are its newest. */
  settingsAreNew = false;
  statusCount = 0;
  slotsSent: SlotView[] | undefined;
  /** The last status that was sent, without counts and positions. */
  reported = '';
}

interface ReportParts {
  clock: Clock;
  link: Link;
  /** Writes one line to the container's log; absent: nothing is logged. */
  log?(message: string): void;
  facts(): Facts;
}

export class Reports {
  /** Time of the last change of the status in more than counts and positions, or of other activity of the node, ms. */
  changedAtMs = Number.NEGATIVE_INFINITY;
  private connection = new Connection();
  private crashedAtMs: number[] = [];
  private readonly begunMs: number;

  constructor(private readonly parts: ReportParts) {
    this.begunMs = parts.clock.nowMs();
  }

  /** The handshake succeeded. The monitor's settings arrive after it; until then their state is unknown. */
  connected(): void {
    this.connection = new Connection();
  }

  /** The monitor has sent its settings over this connection. */
  settingsCame(): void {
    this.connection.settingsAreNew = true;
  }

  /** The node is not at rest. */
  busy(): void {
    this.changedAtMs = this.parts.clock.nowMs();
  }

  crashed(): void {
    this.crashedAtMs.push(this.parts.clock.nowMs());
  }

  /** Sends one line for people, which this container's log and the monitor's show. */
  note(level: NoteLevel, code: LogCode, text: string): void {
    const message = text.slice(0, NOTE_MAX);
    this.parts.log?.(`${code} ${message}`);
    this.parts.link.send({ type: 'note', level, code, message });
  }

  /**
   * Sends the status, after the frames in `before`. It is sent if something changed, or always with `always`. A node at
   * rest (`calm`) sends it without the comparison, which costs processor time; its next look compares.
   */
  report(always = false, before: readonly KeeperFrame[] = [], calm = false): void {
    const { connection } = this;
    const { link } = this.parts;
    const facts = this.parts.facts();
    const { slots } = facts.view;
    const status = buildStatus({ ...facts, ...this.counts(), slotsAreNew: slots !== connection.slotsSent });
    if (!calm) {
      const text = stable(status);
      if (!always && text === connection.reported) return;
      if (text !== connection.reported) this.busy();
      connection.reported = text;
    }
    connection.statusCount += 1;
    if (link.connected) connection.slotsSent = slots;
    link.send(...before, status);
  }

  private counts(): Omit<Counts, 'slotsAreNew'> {
    const { statusCount: n, settingsAreNew } = this.connection;
    const nowMs = this.parts.clock.nowMs();
    this.crashedAtMs = this.crashedAtMs.filter((at) => at > nowMs - CRASH_WINDOW_MS);
    return { n, settingsAreNew, upMs: Math.round(nowMs - this.begunMs), crashes: this.crashedAtMs.length };
  }
}

/** A status without the fields that change all the time. */
function stable(status: Status): string {
  return JSON.stringify({
    ...status,
    n: 0,
    upMs: 0,
    slots: null,
    lead: status.lead && {
      ...{ ...status.lead, ...NO_BEAT, flushLsn: null },
      standbys: status.lead.standbys.map((s) => `${s.name} ${s.state} ${s.syncState}`),
    },
    postgres: {
      ...{ ...status.postgres, replayLsn: null, heartbeatSeen: null, heartbeatSeenAgeMs: null },
      lsn: status.postgres.lsn === null,
    },
  });
}
