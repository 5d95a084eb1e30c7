/**
 * Lets clients of replication in (pg_basebackup, pg_receivewal, subscribers): on the opened leader, under a lease that
 * the monitor renews with its pings, as archiving.ts does. So a candidate that was never opened and a leader that was
 * asleep send no one their history.
 */
import type { MonitorFrame, NodeSettings } from '../contract/messages';
import type { AcceptedOrder } from './keeper-state';
import type { Leadership } from './leadership';
import type { ClientGate } from './ports';
import { SentAnswers } from './sent-answers';
import { sameSync } from './sync';

type Ping = Extract<MonitorFrame, { type: 'ping' }>;

/** What it needs from the keeper. */
export interface ReplicationHost {
  readonly settings: NodeSettings | null;
  readonly order: AcceptedOrder | null;
  /** The leadership that the present order gave; null: none, or this node is about to end it. */
  leadership(): Leadership | null;
}

export class ClientReplication {
  private readonly answers = new SentAnswers();
  /** The newest lease: in which term, and its end, boot time, ms. */
  private lease = { term: 0, untilMs: Number.NEGATIVE_INFINITY };

  constructor(
    private readonly gate: ClientGate,
    private readonly host: ReplicationHost,
  ) {}

  /** Takes a ping, right before it is answered. */
  pinged({ n, archive }: Ping): void {
    const replication = this.host.settings?.replication;
    if (replication !== undefined) {
      this.answers.add(n, this.gate.bootMs());
      const sentMs = archive === undefined ? undefined : this.answers.at(archive.heard);
      if (archive === undefined) this.lease.untilMs = Number.NEGATIVE_INFINITY;
      else if (sentMs !== undefined) this.lease = { term: archive.term, untilMs: sentMs + replication.leaseMs };
    }
    this.look();
  }

  /** The connection to the monitor is a new one: its pings count anew. */
  connected(): void {
    this.answers.clear();
  }

  /** Opens or shuts the gate. Call it whenever the order, the leadership or its synchronous configuration changes. */
  look(): void {
    if (this.mayEnter()) this.gate.open();
    else this.gate.shut();
  }

  private mayEnter(): boolean {
    const { host, lease, gate } = this;
    const leadership = host.leadership();
    const target = host.order?.target;
    if (host.settings?.replication === undefined || leadership === null || target?.kind !== 'lead') return false;
    if (leadership.term !== lease.term || lease.untilMs <= gate.bootMs()) return false;
    // What a consumer was sent must be on the nodes that count. Under another configuration, that is to be proven first.
    return sameSync(leadership.sync.inForce, target.sync) && sameSync(leadership.consumersUnder, target.sync);
  }
}
