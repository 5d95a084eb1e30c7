/**
 * Ends sessions that have to go, slot by slot, and never while one still connects (decision 17: such a session would stay
 * for good).
 */
import type { Clock } from '../ports';
import { isOn, isOnTheWay, loadOf, mayHaveWaiting, type ServerState, type Session } from './haproxy-socket';
import type { Wish } from './wish';
import type { Look, Workers } from './workers';

/**
 * Sessions that have to go are ended by command when their slot was seen closed for this long, ms: that much time their last
 * answers have, and more than a connection attempt takes. Those of a leader that died or was stopped are gone by themselves
 * some 30 ms after it.
 */
const SETTLED_MS = 50;
/** When a slot still has sessions after they were told to end (a client has left, `timeout server-fin`), they are told again, ms. */
const SHUTDOWN_AGAIN_MS = 300;
/** Sessions of an old worker that are ended with one request: a line of HAProxy's holds 16 kB. */
const SHUTDOWN_BATCH = 200;

/** A slot with sessions that have to go; it is forgotten with the first look that shows none. */
interface Going {
  /** Since when it was seen so; null: begins with the next look. */
  sinceMs: number | null;
  /** When its sessions may be ended again, if there still are some. */
  againMs: number;
  /** The list showed no session that connects: they can be ended with the next look. */
  ripe: boolean;
}

/** What one look showed of all workers. */
export interface Looks {
  looks: readonly Look[];
  /** Address that each worker's write slot leads to. */
  slots: readonly (string | null)[];
}

export class SessionSweep {
  readonly workers: Workers;
  private readonly clock: Clock;
  private readonly poke: () => void;
  /** By worker and slot. */
  private going = new Map<string, Going>();
  private listing = false;

  /** `poke`: a slot is ripe, and the next look ends its sessions. */
  constructor(workers: Workers, clock: Clock, poke: () => void) {
    this.workers = workers;
    this.clock = clock;
    this.poke = poke;
  }

  /** HAProxy was silent, or is another worker: how long sessions have had to go begins anew. */
  restart(): void {
    for (const going of this.going.values()) Object.assign(going, { sinceMs: null, ripe: false });
  }

  /** Commands that end the sessions of slots that were found ripe, as long as they are closed and have been since. */
  commands(rows: readonly ServerState[], wish: Wish): string[] {
    const ripe = new Set([...this.going.values()].filter((going) => going.ripe));
    for (const going of ripe) going.ripe = false;
    const againMs = this.clock.nowMs() + SHUTDOWN_AGAIN_MS;
    return rows.flatMap((row) => {
      const going = this.going.get(keyOf('now', row));
      if (going === undefined || !ripe.has(going) || !row.maintenance || !wish.mustGo(row)) return [];
      going.againMs = againMs;
      return [`shutdown sessions server ${row.backend}/${row.server}`];
    });
  }

  /**
   * Ends sessions that have had to go for long enough: in the running worker slot by slot, when a list has shown that no
   * session connects there any more; in an old one, which gets no new sessions, one by one. Resolves with the lists of the old
   * workers.
   */
  async end({ looks, slots }: Looks, wish: Wish): Promise<ReadonlyMap<number, readonly Session[]>> {
    const nowMs = this.clock.nowMs();
    const before = this.going;
    this.going = new Map();
    const lists = new Map<number, readonly Session[]>();
    for (const look of looks) {
      const { worker } = look;
      const due = this.due(look, before, wish, nowMs);
      if (worker === 0) {
        if (due.length > 0) void this.findRipe(due, looks);
        continue;
      }
      if (due.length === 0 && !(wish.isTrap(worker, slots[worker] ?? null) && mayHaveWaiting(look.loads))) continue;
      const { sessions } = await this.workers.list(worker, looks);
      lists.set(worker, sessions);
      await this.endOneByOne(worker, due, sessions, nowMs);
    }
    return lists;
  }

  /**
   * How many sessions stand in the way of another leader: all write sessions that have to go, and the read sessions on the node
   * that led last (`ledTo`; null: not known), which may write there when it wakes and is a primary still. Those on other nodes
   * are ended, too, but not waited for: they are standbys.
   */
  left(
    { looks, slots }: Looks,
    wish: Wish,
    lists: ReadonlyMap<number, readonly Session[]>,
    ledTo: string | null,
  ): number {
    let left = 0;
    for (const { worker, servers, loads } of looks) {
      for (const row of servers.filter((r) => wish.mustGo(r))) {
        const mayWrite = row.address !== wish.keep && (ledTo === null || row.address === ledTo);
        if (row.backend === 'read' && !mayWrite) continue;
        // A slot without a number may still have sessions. A session that comes to an open read slot comes after this look.
        left += loadOf(loads, row)?.sessions ?? 1;
        if (row.backend === 'read' && worker === 0 && !row.maintenance) left += 1;
      }
      if (!wish.isTrap(worker, slots[worker] ?? null)) continue;
      left += lists.get(worker)?.filter((s) => s.backend === 'write' && isOnTheWay(s)).length ?? 0;
    }
    return left;
  }

  /** Slots of a worker that have had sessions that have to go for long enough, and were not told lately. */
  private due(look: Look, before: ReadonlyMap<string, Going>, wish: Wish, nowMs: number): Due[] {
    return look.servers.flatMap((row) => {
      const closed = look.worker > 0 || row.maintenance;
      if (!wish.mustGo(row) || !closed || loadOf(look.loads, row)?.sessions === 0) return [];
      const key = keyOf(look.name, row);
      const going = before.get(key) ?? { sinceMs: null, againMs: 0, ripe: false };
      going.sinceMs ??= nowMs;
      this.going.set(key, going);
      return nowMs - going.sinceMs >= SETTLED_MS && nowMs >= going.againMs ? [{ row, going }] : [];
    });
  }

  /**
   * HAProxy names a session by its address in memory, which a later connection of any frontend may get, and a session that is
   * ended while it connects stays for good, with its client, and does nothing any more (decision 17). So no session is ended by
   * name: a slot is emptied as a whole when it is closed, all its sessions have to go and none connects any more. The list may
   * be long: the looks go on meanwhile, and the next one that finds the slot still closed ends its sessions.
   */
  private async findRipe(due: readonly Due[], looks: readonly Look[]): Promise<void> {
    if (this.listing) return;
    this.listing = true;
    const since = due.map(({ going }) => going.sinceMs);
    let found = false;
    try {
      const { sessions, loads } = await this.workers.list(0, looks);
      for (const [i, { row, going }] of due.entries()) {
        const on = sessions.filter((s) => isOn(s, row) && s.state !== 'ended');
        // The numbers were asked for after the list: a higher number means that the list did not show all sessions.
        const shown = on.length >= (loadOf(loads, row)?.sessions ?? Number.POSITIVE_INFINITY);
        if (!shown || on.some((s) => s.state !== 'established')) continue;
        found = true;
        going.ripe = going.sinceMs === since[i];
      }
    } catch {
      // The looks tell when HAProxy is silent. As long as the slot has sessions it is due again.
    } finally {
      this.listing = false;
      if (found) this.poke();
    }
  }

  private async endOneByOne(
    worker: number,
    due: readonly Due[],
    sessions: readonly Session[],
    nowMs: number,
  ): Promise<void> {
    const told = sessions
      .filter((s) => s.state === 'established' && due.some(({ row }) => isOn(s, row)))
      .slice(0, SHUTDOWN_BATCH);
    if (told.length === 0) return;
    // Sessions that did not fit into one command are ended with the next look.
    if (told.length < SHUTDOWN_BATCH) for (const { going } of due) going.againMs = nowMs + SHUTDOWN_AGAIN_MS;
    await this.workers.tell(
      worker,
      told.map((s) => `shutdown session ${s.id}`),
    );
  }
}

interface Due {
  row: ServerState;
  going: Going;
}

function keyOf(worker: string, { backend, server }: ServerState): string {
  return `${worker} ${backend}/${server}`;
}
