/** Reports to the monitor: this node's status, and lines for people. */
import type { LogCode } from '../contract/codes';
import type { KeeperFrame, SlotView, Status } from '../contract/messages';
import type { Clock, Link, LinkEvents } from './ports';
import type { NoteLevel } from './pursuit-host';
import { buildStatus, type Facts } from './status';

const CRASH_WINDOW_MS = 60_000;
const NOTE_MAX = 2_000;
/** The fields of a leader's status that change with every heartbeat. */
const NO_BEAT = { oldTransactionMs: null, oldTransactions: 0, heartbeat: 0, heartbeatAgeMs: 0, commitMs: null };

/** State of one connection to the monitor. */
class Connection {
  /** The monitor has sent its settings over this connection, so the stored ones are its newest. */
  settingsAreNew = false;
  statusCount = 0;
  slotsSent: SlotView[] | undefined;
  clientSlotsSent: Status['clientSlots'];
  /** Versions of the repositories that were sent. */
  repositorySent: number | undefined;
  s3Sent: number | undefined;
  /** The last status that was sent, without counts and positions. */
  reported = '';
}

export class Reports {
  /** Time of the last change of the status in more than counts and positions, or of other activity of the node, ms. */
  changedAtMs = Number.NEGATIVE_INFINITY;
  private connection = new Connection();
  private crashedAtMs: number[] = [];
  private readonly begunMs: number;

  constructor(
    private readonly node: Facts & Pick<LinkEvents, 'log'>,
    private readonly clock: Clock,
    private readonly link: Link,
  ) {
    this.begunMs = clock.nowMs();
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
    this.changedAtMs = this.clock.nowMs();
  }

  crashed(): void {
    this.crashedAtMs.push(this.clock.nowMs());
  }

  /** Sends one line for people, which this container's log and the monitor's show. */
  note(level: NoteLevel, code: LogCode, text: string): void {
    const message = text.slice(0, NOTE_MAX);
    this.node.log(`${code} ${message}`);
    this.link.send({ type: 'note', level, code, message });
  }

  /**
   * Sends the status, after the frames in `before`. It is sent if something changed, or always with `always`. A node at
   * rest (`calm`) sends it without the comparison, which costs processor time; its next look compares.
   */
  report(always = false, before: readonly KeeperFrame[] = [], calm = false): void {
    const { connection, clock, link, node } = this;
    const { statusCount, settingsAreNew } = connection;
    const { slots } = node.view;
    const { backup, s3, clientSlots } = node;
    const nowMs = clock.nowMs();
    this.crashedAtMs = this.crashedAtMs.filter((at) => at > nowMs - CRASH_WINDOW_MS);
    const status = buildStatus(node, {
      ...{ n: statusCount, upMs: Math.round(nowMs - this.begunMs), crashes: this.crashedAtMs.length },
      ...{ settingsAreNew, slotsAreNew: slots !== connection.slotsSent },
      clientSlotsAreNew: clientSlots !== connection.clientSlotsSent,
      repositoryIsNew: backup?.version !== connection.repositorySent,
      s3IsNew: s3?.backup?.version !== connection.s3Sent,
    });
    if (!calm) {
      const text = stable(status);
      if (!always && text === connection.reported) return;
      if (text !== connection.reported) this.busy();
      connection.reported = text;
    }
    connection.statusCount += 1;
    if (link.connected) {
      connection.slotsSent = slots;
      connection.clientSlotsSent = clientSlots;
      connection.repositorySent = backup?.version;
      connection.s3Sent = s3?.backup?.version;
    }
    link.send(...before, status);
  }
}

/** A status without the fields that change all the time. */
function stable(status: Status): string {
  return JSON.stringify({
    ...status,
    n: 0,
    upMs: 0,
    slots: null,
    clientSlots: null,
    freeBytes: null,
    ...stableBackups(status),
    s3: status.s3 && stableBackups(status.s3),
    lead: status.lead && {
      ...{ ...status.lead, ...NO_BEAT, flushLsn: null },
      standbys: status.lead.standbys.map((s) => `${s.name} ${s.state} ${s.syncState}`),
    },
    postgres: {
      ...{ ...status.postgres, replayLsn: null, heartbeatSeen: null, heartbeatSeenAgeMs: null, oldReadMs: null },
      lsn: status.postgres.lsn === null,
    },
  });
}

function stableBackups({ archive, backup }: Pick<Status, 'archive' | 'backup'>) {
  return {
    archive: archive && { gaps: archive.gaps, problem: archive.problem },
    backup: backup && { ...{ ...backup, archivedMs: null, repository: null }, job: backup.job?.id },
  };
}
