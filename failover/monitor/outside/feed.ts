/**
 * The answers for readers of the API, made once for all readers. The status is made at most four times a second, and
 * not at all while there is no reader. During a change of leader it is made less often, because it would delay the
 * change. All buffers are bounded.
 */
import type { Failover, LogEvent, Sample } from '../../contract/api';
import type { Clock } from '../ports';
import { Listeners } from './listeners';
import type { StatusView } from './status-view';

/** Shortest time between two statuses, ms. */
const STATUS_EVERY_MS = 250;
/** Shortest time between two statuses during a change of leader, ms. */
const BUSY_EVERY_MS = 1_000;
/** If only positions have grown, a status is sent at most this often, ms. */
const POSITIONS_EVERY_MS = 1_000;
const EVENTS_KEPT = 1_000;
/** Number of events that the status itself carries. */
const EVENTS_SHOWN = 100;
export const SAMPLE_EVERY_MS = 1_000;
const SAMPLES_KEPT = 3_600;
const FAILOVERS_KEPT = 100;

interface Made {
  /** JSON of the status without its events. */
  text: string;
  /** The part of the status whose change is sent at once. */
  essence: string;
  atMs: number;
}

export class Feed {
  readonly listeners = new Listeners();
  private readonly events: { id: number; text: string }[] = [];
  private readonly samples: string[] = [];
  private readonly failovers: Failover[] = [];
  /** The answer of `/history`, kept until the next sample, because it has some hundred kB. */
  private historyText: string | null = null;
  private lastId = 0;
  private made: Made | null = null;
  /** The status that was last sent to the listeners. */
  private sent = { essence: '', atMs: Number.NEGATIVE_INFINITY };

  constructor(
    /** Null until the first cycle. */
    private readonly status: () => StatusView | null,
    /** True while a change of leader is under way. */
    private readonly busy: () => boolean,
    private readonly clock: Clock,
  ) {}

  /** Adds a line of the log. */
  log(line: Omit<LogEvent, 'id'>): void {
    this.lastId += 1;
    const event = { id: this.lastId, text: JSON.stringify({ id: this.lastId, ...line }) };
    this.events.push(event);
    if (this.events.length > EVENTS_KEPT) this.events.shift();
    this.listeners.send('log', event.text, event.id);
  }

  /** Adds a finished change of leader. It replaces the newest one if that is the same change with fewer steps. */
  failover(failover: Failover): void {
    if (this.lastFailover?.term === failover.term) this.failovers.pop();
    this.failovers.push(failover);
    if (this.failovers.length > FAILOVERS_KEPT) this.failovers.shift();
    this.listeners.send('failover', JSON.stringify(failover));
  }

  sample(sample: Sample): void {
    const text = JSON.stringify(sample);
    this.samples.push(text);
    if (this.samples.length > SAMPLES_KEPT) this.samples.shift();
    this.historyText = null;
    this.listeners.send('sample', text);
  }

  /** Called after each cycle. Sends changes to the listeners; does nothing while there are none. */
  tick(): void {
    if (this.listeners.count === 0) return;
    const made = this.make();
    if (made === null) return;
    const { essence } = made;
    const nowMs = this.clock.nowMs();
    if (essence === this.sent.essence && nowMs - this.sent.atMs < POSITIONS_EVERY_MS) return;
    this.sent = { essence, atMs: nowMs };
    this.listeners.send('cluster', withEvents(made, []));
  }

  /** Drops the kept status, so that the next reader sees the result of a command. */
  stale(): void {
    this.made = null;
  }

  /** JSON of the whole status; null until the first cycle. */
  cluster(): string | null {
    const made = this.make();
    return made === null ? null : withEvents(made, this.events.slice(-EVENTS_SHOWN));
  }

  /**
   * The answer of `/events`: the events with a higher id, oldest first; if there are more than `limit`, the newest
   * ones.
   */
  eventsAfter(after: number, limit: number): string {
    return `{${listOf(this.since(after).slice(-limit))}}`;
  }

  get lastFailover(): Failover | null {
    return this.failovers.at(-1) ?? null;
  }

  /** The answer of `/failovers`. */
  allFailovers(): string {
    return JSON.stringify({ failovers: this.failovers });
  }

  history(): string {
    this.historyText ??= `{"everyMs":${SAMPLE_EVERY_MS},"samples":[${this.samples.join(',')}]}`;
    return this.historyText;
  }

  /**
   * Adds a listener. It first gets the status and the log events with an id above `after` (null: no earlier events).
   * Returns null when there are too many listeners.
   */
  listen(after: number | null): ReadableStream<Uint8Array> | null {
    const made = this.make();
    const missed = after === null ? [] : this.since(after);
    return this.listeners.open([
      ...(made === null ? [] : [{ name: 'cluster', data: withEvents(made, []) }]),
      ...missed.map((e) => ({ name: 'log', data: e.text, id: e.id })),
    ]);
  }

  /**
   * The events after an id. An id that this start of the monitor has not given yet comes from an earlier start. Then
   * all events are new.
   */
  private since(after: number): { id: number; text: string }[] {
    return after > this.lastId ? [...this.events] : this.events.filter((e) => e.id > after);
  }

  private make(): Made | null {
    const { made } = this;
    const nowMs = this.clock.nowMs();
    const everyMs = this.busy() ? BUSY_EVERY_MS : STATUS_EVERY_MS;
    // Cycles may come a little early, hence the tolerance.
    if (made !== null && nowMs - made.atMs < everyMs * 0.9) return made;
    const next = this.status();
    if (next === null) return null;
    this.made = { text: JSON.stringify(next), essence: essenceOf(next), atMs: nowMs };
    return this.made;
  }
}

/** Joins texts, because making the JSON anew for each reader would take processor time from the loop. */
function withEvents({ text }: Made, events: readonly { text: string }[]): string {
  return `${text.slice(0, -1)},${listOf(events)}}`;
}

function listOf(events: readonly { text: string }[]): string {
  return `"events":[${events.map((e) => e.text).join(',')}]`;
}

/** The status without the fields that change with every write. */
function essenceOf(status: StatusView): string {
  const nodes = status.nodes.map((n) => ({ ...n, lsn: null, lagBytes: null, lagSeconds: null, slots: null }));
  return JSON.stringify({ ...status, at: '', nodes });
}
