/**
 * How many clients each slot takes (S24): HAProxy's `maxconn`, which is changed at run time. A node's two slots share
 * the connections that its PostgreSQL has for clients (failover/contract/budget.ts). The slot that needs more gets
 * more. A crowd is let in by steps. Clients for which there is no place are led to PostgreSQL a few at a time, so that
 * they hear its own "too many clients". Why so: docs/decisions/0030-places-for-clients.md.
 */
import type { Budget } from '../../contract/budget';
import { isPort, isSlot, loadOf, type ServerState } from './haproxy-socket';
import type { Look } from './workers';

/** A client that has waited this long for a place, at an open slot, is led to PostgreSQL's refusal, ms. */
export const PATIENCE_MS = 1_500;
/** PostgreSQL refuses for this long, ms. Then free places are given out for as long: see {@link Places}. */
export const TELL_MS = 250;
/**
 * A slot gets {@link Budget.step} more clients in this time, ms: on two cores that many logins take half of it and
 * more.
 */
export const STEP_MS = 500;
/** Places that a port without waiting clients keeps free beside one with waiting clients. */
const SPARE = 8;

type Backend = 'write' | 'read';

interface Slot {
  readonly row: ServerState;
  readonly open: boolean;
  readonly sessions: number;
  /** HAProxy's limit as it was read back. */
  readonly limit: number;
  /** True when clients wait in the queue of the slot's backend. */
  readonly wanted: boolean;
}

/**
 * Estimates how long the first client of a backend's queue has waited, which HAProxy does not report. The queue is
 * first in, first out. So that client came at the first look at which the number of arrivals exceeded the number of
 * clients that have got a place by now. Clients that gave up make the estimate too long.
 */
class Queue {
  private looks: { atMs: number; come: number }[] = [];
  private gone = 0;

  /** @param gone number of sessions that got a place so far. */
  see(atMs: number, gone: number, waiting: number): void {
    // HAProxy counts from 0 again after a reload.
    if (waiting === 0 || gone < this.gone) this.looks = [];
    this.gone = gone;
    if (waiting === 0) return;
    const come = gone + waiting;
    this.looks = this.looks.filter((look) => look.come > gone);
    const newest = this.looks.at(-1);
    if (newest === undefined || come > newest.come) this.looks.push({ atMs, come });
  }

  forget(): void {
    this.looks = [];
  }

  waitedMs(nowMs: number): number {
    const [first] = this.looks;
    return first === undefined ? 0 : nowMs - first.atMs;
  }
}

/**
 * PostgreSQL 17 counts a login that it is about to refuse among the connections in use. As long as some are under way
 * it gives no place to another client. So the time for refusals ({@link TELL_MS}) alternates with a time in which
 * places that have become free are given out.
 */
export class Places {
  private readonly queues: Record<Backend, Queue> = { write: new Queue(), read: new Queue() };
  /** Until when PostgreSQL refuses on a node, and from when it may again, by the slot's name; monotonic ms. */
  private readonly telling = new Map<string, { untilMs: number; againMs: number }>();

  /** How many sessions a slot had when its last step began, by backend and slot. */
  private readonly steps = new Map<string, { sessions: number; atMs: number }>();
  private someWait = false;

  constructor(private readonly budget: Budget) {}

  /** True while clients wait at full slots, so that the next look should come soon. */
  get busy(): boolean {
    return this.someWait;
  }

  /** The commands that set the limits. Also makes HAProxy look at a queue whose slot has free places (decision 19). */
  commands(looks: readonly Look[], nowMs: number): string[] {
    const [now, ...old] = looks;
    if (now === undefined) return [];
    this.see(now, nowMs);
    const names = new Set(now.servers.filter((row) => isPort(row.backend) && isSlot(row)).map((row) => row.server));
    return [...names].flatMap((name) => {
      const write = this.slot(now, 'write', name);
      const read = this.slot(now, 'read', name);
      if (write === null || read === null) return [];
      const before = sessionsIn(old, write.row.address);
      for (const slot of [write, read]) this.step(slot, nowMs);
      const limits = this.limits(write, read, this.budget.clients - before);
      this.tell(name, [write, read], limits, this.budget.clients - before, nowMs);
      return [write, read].flatMap((slot, i) => {
        const limit = limits[i] ?? slot.limit;
        const overlooked = slot.open && slot.wanted && slot.sessions < limit;
        if (limit === slot.limit && !overlooked) return [];
        return [`set maxconn server ${slot.row.backend}/${name} ${limit}`];
      });
    });
  }

  private see(now: Look, nowMs: number): void {
    this.someWait = false;
    for (const backend of ['write', 'read'] as const) {
      const open = now.servers.filter((row) => row.backend === backend && isSlot(row) && !row.maintenance);
      const waiting = loadOf(now.loads, { backend, server: 'BACKEND' })?.queued ?? 0;
      // While no slot is open clients are held, which is another wait (S19).
      if (open.length === 0) {
        this.queues[backend].forget();
        continue;
      }
      const placed = now.loads.filter((load) => load.backend === backend && /^node\d+$/.test(load.server));
      const gone = placed.reduce((sum, load) => sum + load.total, 0);
      this.queues[backend].see(nowMs, gone, waiting);
      const full = open.every((row) => {
        const { sessions = 0, limit = 0 } = loadOf(now.loads, row) ?? {};
        return sessions >= (limit ?? 0);
      });
      if (waiting > 0 && full) this.someWait = true;
    }
  }

  private slot({ servers, loads }: Look, backend: Backend, server: string): Slot | null {
    const row = servers.find((one) => one.backend === backend && one.server === server);
    const load = loadOf(loads, { backend, server });
    if (row === undefined || load === undefined) return null;
    const wanted = (loadOf(loads, { backend, server: 'BACKEND' })?.queued ?? 0) > 0;
    const { sessions, limit } = load;
    return { row, open: !row.maintenance, sessions, limit: limit ?? this.budget.clients, wanted };
  }

  private step({ row, sessions }: Slot, nowMs: number): void {
    const key = `${row.backend}/${row.server}`;
    const last = this.steps.get(key);
    const isOver = last === undefined || nowMs - last.atMs >= STEP_MS;
    this.steps.set(key, isOver ? { sessions, atMs: nowMs } : { ...last, sessions: Math.min(last.sessions, sessions) });
  }

  /** Returns the limits of a node's two slots. `places`: how many clients the node takes on both ports together. */
  private limits(write: Slot, read: Slot, places: number): [write: number, read: number] {
    const free = Math.max(0, places - write.sessions - read.sessions);
    const [forWrite, forRead] = this.parts(write, read, free);
    return [this.limit(write, read, forWrite, places), this.limit(read, write, forRead, places)];
  }

  /** Who gets how many of the free places. A closed slot gets what an open one does not take at once. */
  private parts(write: Slot, read: Slot, free: number): [number, number] {
    if (write.open !== read.open || !write.open) return [free, free];
    if (write.wanted === read.wanted) return [Math.ceil(free / 2), Math.floor(free / 2)];
    const spare = Math.min(SPARE, Math.floor(free / 2));
    return write.wanted ? [free - spare, spare] : [spare, free - spare];
  }

  /**
   * A slot is raised only to what the other slot of the node cannot take meanwhile. 0 would be no limit for HAProxy.
   */
  private limit(slot: Slot, other: Slot, part: number, places: number): number {
    const { step } = this.budget;
    const taken = other.open ? Math.max(other.limit, other.sessions) : other.sessions;
    const most = Math.max(1, places - taken);
    const begun = this.steps.get(`${slot.row.backend}/${slot.row.server}`)?.sessions ?? slot.sessions;
    const target = Math.max(1, Math.min(slot.sessions + part, begun + step, most));
    // A closed slot has the places of the first step, for when it opens.
    if (!slot.open) return Math.max(1, Math.min(most, begun + step, Math.max(slot.limit, step)));
    const room = slot.limit - slot.sessions;
    // A limit that is nearly right stays, so that not each session that comes or goes changes it.
    const enough = !slot.wanted && room >= Math.min(part, step) / 2;
    if (target > slot.limit && enough) return slot.limit;
    const harmless = slot.limit <= most && room <= 2 * step && !(other.open && other.wanted);
    return target < slot.limit && harmless ? slot.limit : target;
  }

  /** Widens one full slot of a node by those whom PostgreSQL refuses. */
  private tell(name: string, slots: readonly Slot[], limits: number[], places: number, nowMs: number): void {
    const { untilMs, againMs } = this.telling.get(name) ?? { untilMs: 0, againMs: 0 };
    const full = slots.map((slot, i) => {
      const patience = this.queues[slot.row.backend as Backend].waitedMs(nowMs) >= PATIENCE_MS;
      return slot.open && slot.wanted && patience && slot.sessions >= (limits[i] ?? 0);
    });
    const at = full.indexOf(true);
    if (at < 0 || (nowMs >= untilMs && nowMs < againMs)) return;
    if (nowMs >= againMs) this.telling.set(name, { untilMs: nowMs + TELL_MS, againMs: nowMs + 2 * TELL_MS });
    const other = slots[1 - at];
    const taken = other === undefined ? 0 : Math.max(other.sessions, other.open ? (limits[1 - at] ?? 0) : 0);
    limits[at] = Math.max(limits[at] ?? 1, places + this.budget.refusals - taken);
  }
}

/** Sessions on a node in the workers that finish old sessions. */
function sessionsIn(old: readonly Look[], address: string): number {
  return old.reduce((sum, { servers, loads }) => {
    const rows = servers.filter((row) => isPort(row.backend) && isSlot(row) && row.address === address);
    return sum + rows.reduce((inner, row) => inner + (loadOf(loads, row)?.sessions ?? 0), 0);
  }, 0);
}
