/**
 * Ends sessions that have to go, slot by slot. It ends no session of a slot while one of them still connects, because
 * HAProxy would then keep that one for good (docs/decisions/0017-a-slot-for-every-node.md).
 */
import type { Clock } from '../ports';
import { isOn, isOnTheWay, loadOf, mayHaveWaiting, type ServerState, type Session } from './haproxy-socket';
import type { Wish } from './wish';
import type { Look, Workers } from './workers';

/**
 * Sessions are ended by command only after their slot was seen closed for this long, ms. So their last answers can
 * still arrive, and it is longer than a connection attempt takes. When a leader dies or stops, its sessions end by
 * themselves some 30 ms later.
 */
const SETTLED_MS = 50;
/**
 * After this time the monitor ends the remaining sessions of a backend slot again, ms. HAProxy keeps the session of a
 * client that has left for `timeout server-fin`.
 */
const SHUTDOWN_AGAIN_MS = 300;
/** Maximum number of sessions of an old worker that one request ends, because a line to HAProxy may have 16 kB. */
const SHUTDOWN_BATCH = 200;

/** A slot whose sessions have to go. It is forgotten at the first look that shows none. */
interface Going {
  readonly row: ServerState;
  /** Since when the slot was seen closed with such sessions; null: the time begins with the next look. */
  sinceMs: number | null;
  /** When the sessions that are left may be ended again. */
  againMs: number;
  /** True when the list showed no session that still connects, so that the next look can end the sessions. */
  ripe: boolean;
}

export class SessionSweep {
  /** Slots with sessions that have to go, by worker and slot. */
  private going = new Map<string, Going>();
  private listing = false;

  /** `poke` is called when a slot is ripe, so that the next look comes at once and ends its sessions. */
  constructor(
    readonly workers: Workers,
    private readonly clock: Clock,
    private readonly poke: () => void,
  ) {}

  /** Called when HAProxy was silent or has a new worker: the time for which sessions have had to go begins again. */
  restart(): void {
    for (const going of this.going.values()) Object.assign(going, { sinceMs: null, ripe: false });
  }

  /** The commands that end the sessions of ripe slots that are still closed. */
  commands(wish: Wish): string[] {
    const ripe = new Set([...this.going.values()].filter((going) => going.ripe));
    for (const going of ripe) going.ripe = false;
    const againMs = this.clock.nowMs() + SHUTDOWN_AGAIN_MS;
    return this.workers.servers.flatMap((row) => {
      const going = this.going.get(keyOf('now', row));
      if (going === undefined || !ripe.has(going) || !row.maintenance || !wish.mustGo(row)) return [];
      going.againMs = againMs;
      return [`shutdown sessions server ${row.backend}/${row.server}`];
    });
  }

  /**
   * Ends sessions that have had to go for long enough. In the running worker it ends them slot by slot, once a list has
   * shown that no session connects there any more. In an old worker, which gets no new sessions, it ends them one by
   * one. Resolves with the lists of the old workers.
   */
  async end(wish: Wish): Promise<ReadonlyMap<number, readonly Session[]>> {
    const nowMs = this.clock.nowMs();
    const before = this.going;
    this.going = new Map();
    const lists = new Map<number, readonly Session[]>();
    for (const look of this.workers.looks) {
      const { worker } = look;
      const due = this.due(look, before, wish, nowMs);
      if (worker === 0) {
        if (due.length > 0) void this.findRipe(due);
        continue;
      }
      if (due.length === 0 && !(wish.misleadsWaiting(look) && mayHaveWaiting(look.loads))) continue;
      const { sessions } = await this.workers.list(worker);
      lists.set(worker, sessions);
      await this.endOneByOne(worker, due, sessions);
    }
    return lists;
  }

  /**
   * How many sessions still have to end before another leader may be opened: all write sessions that have to go, and
   * the read sessions on the node that led last (`ledTo`; null when unknown), which could write there if that node
   * wakes up and is still a primary. Read sessions on other nodes are ended too, but not waited for, because those
   * nodes are standbys.
   */
  left(wish: Wish, lists: ReadonlyMap<number, readonly Session[]>, ledTo: string | null): number {
    let left = 0;
    for (const look of this.workers.looks) {
      const { worker, servers, loads } = look;
      for (const row of servers.filter((r) => wish.mustGo(r))) {
        const mayWrite = row.address !== wish.keep && (ledTo === null || row.address === ledTo);
        if (row.backend === 'read' && !mayWrite) continue;
        // A slot whose number is unknown may still have sessions. A session may reach an open read slot after this
        // look.
        left += loadOf(loads, row)?.sessions ?? 1;
        if (row.backend === 'read' && worker === 0 && !row.maintenance) left += 1;
      }
      if (!wish.misleadsWaiting(look)) continue;
      left += lists.get(worker)?.filter((s) => s.backend === 'write' && isOnTheWay(s)).length ?? 0;
    }
    return left;
  }

  /** Slots of a worker whose sessions have had to go for long enough and were not ended lately. */
  private due(look: Look, before: ReadonlyMap<string, Going>, wish: Wish, nowMs: number): Going[] {
    return look.servers.flatMap((row) => {
      const closed = look.worker > 0 || row.maintenance;
      if (!wish.mustGo(row) || !closed || loadOf(look.loads, row)?.sessions === 0) return [];
      const key = keyOf(look.name, row);
      const going = before.get(key) ?? { row, sinceMs: null, againMs: 0, ripe: false };
      going.sinceMs ??= nowMs;
      this.going.set(key, going);
      return nowMs - going.sinceMs >= SETTLED_MS && nowMs >= going.againMs ? [going] : [];
    });
  }

  /**
   * Finds slots whose sessions can be ended all at once: the slot is closed, all its sessions have to go, and none
   * still connects. A session that is ended while it connects stays for good, with its client, and does nothing any
   * more (docs/decisions/0017-a-slot-for-every-node.md). The sessions are not ended by id, because HAProxy's id is an
   * address in memory, which a later connection of any frontend may get. The list may be long, so the looks go on
   * meanwhile. The next look that finds the slot still closed ends its sessions.
   */
  private async findRipe(due: readonly Going[]): Promise<void> {
    if (this.listing) return;
    this.listing = true;
    const since = due.map((going) => going.sinceMs);
    let found = false;
    try {
      const { sessions, loads } = await this.workers.list(0);
      for (const [i, going] of due.entries()) {
        const { row } = going;
        const on = sessions.filter((s) => isOn(s, row) && s.state !== 'ended');
        // The numbers were requested after the list, so a higher number means that the list did not show all sessions.
        const shown = on.length >= (loadOf(loads, row)?.sessions ?? Number.POSITIVE_INFINITY);
        if (!shown || on.some((s) => s.state !== 'established')) continue;
        found = true;
        going.ripe = going.sinceMs === since[i];
      }
    } catch {
      // The regular looks notice when HAProxy is silent. The slot is due again as long as it has sessions.
    } finally {
      this.listing = false;
      if (found) this.poke();
    }
  }

  private async endOneByOne(worker: number, due: readonly Going[], sessions: readonly Session[]): Promise<void> {
    const commands = sessions
      .filter((s) => s.state === 'established' && due.some(({ row }) => isOn(s, row)))
      .slice(0, SHUTDOWN_BATCH)
      .map((s) => `shutdown session ${s.id}`);
    if (commands.length === 0) return;
    const againMs = this.clock.nowMs() + SHUTDOWN_AGAIN_MS;
    // If not all sessions fit into one command, the next look ends the rest.
    if (commands.length < SHUTDOWN_BATCH) for (const going of due) going.againMs = againMs;
    await this.workers.tell(worker, commands);
  }
}

function keyOf(worker: string, { backend, server }: ServerState): string {
  return `${worker} ${backend}/${server}`;
}
