/**
 * HAProxy's slots, kept at what the loop wants. Every command is read back; nothing counts that was not (S15). After a
 * reload the workers that finish old sessions are treated like the new one (S2). Sessions that have to go are ended by slot,
 * and never while one still connects (decision 17: such a session would stay for good).
 *
 * The proof is the number of sessions of each slot, an answer of one size however many clients are held. The list of
 * all sessions is asked for only when a closed slot has sessions that do not go by themselves, beside the looks.
 */
import { join } from 'node:path';
import type { HaproxyView } from '../../core/state/cluster';
import type { Clock, Log, Router } from '../ports';
import {
  ANSWER_LIMIT_MS,
  ask,
  askLines,
  CLOSED_PORT,
  type Load,
  parseEpoch,
  parseLoads,
  parseOldWorkers,
  parseServers,
  parseSession,
  type ServerState,
  type Session,
} from './haproxy-socket';

/** Two scans that prove that no session is left lie at least this far apart: more than HAProxy's `timeout connect` (S2). */
const SCAN_GAP_MS = 25;
/** With nothing to do HAProxy is looked at this often, ms. That a worker started is told at once: see {@link Haproxy.poke}. */
const IDLE_MS = 500;
/** While something is to be changed or proven, ms. */
const BUSY_MS = 4;
const UNREACHABLE_MS = 50;
/**
 * Sessions that have to go are ended by command when their slot was seen closed for this long, ms: that much time their last
 * answers have, and more than a connection attempt takes. Those of a leader that died or was stopped are gone by themselves
 * some 30 ms after it.
 */
const SETTLED_MS = 50;
/** When a slot still has sessions after they were told to end (a client has left, `timeout server-fin`), they are told again, ms. */
const SHUTDOWN_AGAIN_MS = 300;
/** Kinds of rows that `show stat` is asked for, added: 2 backends, 4 servers. */
const BACKENDS_AND_SERVERS = 6;
/** Sessions of an old worker that are ended with one request: a line of HAProxy's holds 16 kB. */
const SHUTDOWN_BATCH = 200;
/** Silence of HAProxy that is logged, ms. */
const SILENCE_TOLD_MS = 1_000;
/** While there are workers that finish old sessions the master is asked for them this often, ms. */
const OLD_WORKERS_MS = 1_000;
/** While there are none. New ones are asked for at once, because the worker that they gave way to has another epoch. */
const NO_OLD_WORKERS_MS = 5_000;

interface Wanted {
  /** Address of the write slot; null: closed. */
  slot: string | null;
  /** Sessions of this address stay; null: none. */
  keep: string | null;
}

/** One worker's answers in one look. */
interface Look {
  servers: readonly ServerState[];
  loads: readonly Load[];
}

export interface HaproxyOptions {
  /** Folder of `admin.sock` and `master.sock`. */
  sockets: string;
  port: number;
  /** Addresses of the declared nodes: read slot `node<i+1>` belongs to the i-th. */
  addresses: readonly string[];
  clock: Clock;
  log: Log;
  onChange: () => void;
  /** How often the process was found to have stood still up to now: what was wanted before is not told any more (S11). */
  stalls: () => number;
}

export class Haproxy implements Router {
  private readonly options: HaproxyOptions;
  private wanted: Wanted | null = null;
  private readWanted: readonly string[] | null = null;
  private current: HaproxyView = {
    reachable: false,
    epoch: null,
    slot: null,
    closed: false,
    keeping: null,
    clean: false,
  };
  private readAddresses: string[] = [];
  private cleanSinceMs: number | null = null;
  private readSettled = false;
  /** The worker's servers as last seen, and their sessions; none while HAProxy is silent. */
  private rows: readonly ServerState[] = [];
  private loads: readonly Load[] = [];
  /** The numbers of the two ports' backends in each worker: another configuration has others. */
  private backendIds: ReadonlyMap<string, readonly string[]> = new Map();
  /** Address that the write slot was last seen open on; null: never yet. */
  private ledTo: string | null = null;
  private oldWorkers: string[] = [];
  private oldWorkersAtMs = Number.NEGATIVE_INFINITY;
  private ended = false;
  private nudge: (() => void) | null = null;
  private waiters = new Set<() => void>();
  private generation = 0;
  /** Since when each slot was seen with sessions that have to go, by worker and slot. */
  private goesSinceMs = new Map<string, number>();
  /** When the sessions of a slot may be ended again, if there still are some. */
  private againMs = new Map<string, number>();
  /** Closed slots on which the list showed no session that connects, with the time of {@link goesSinceMs} that held then. */
  private ripe = new Map<string, number>();
  private listing = false;
  /** Epoch of the worker that was last seen, also while HAProxy is silent. */
  private lastEpoch: string | null = null;
  private silentSinceMs: number | null = null;
  private silenceTold = false;
  private stallsSeen = 0;
  /** Nothing is changed before the next look (S11). */
  private onlyLooks = false;
  private lookers = new Set<() => void>();

  constructor(options: HaproxyOptions) {
    this.options = options;
  }

  view(): HaproxyView {
    return this.current;
  }

  /** Addresses whose read slots were seen open, for the status page. */
  readView(): readonly string[] {
    return this.readAddresses;
  }

  write(address: string | null, keep: string | null): void {
    if (this.wanted !== null && this.wanted.slot === address && this.wanted.keep === keep) return;
    const keepChanged = this.wanted?.keep !== keep;
    this.wanted = { slot: address, keep };
    this.generation += 1;
    if (keepChanged) this.unproven();
    this.poke();
  }

  read(addresses: readonly string[]): void {
    const sorted = [...addresses].sort();
    if (this.readWanted !== null && sorted.join() === this.readWanted.join()) return;
    this.readWanted = sorted;
    this.readSettled = false;
    this.poke();
  }

  async closed(limitMs: number): Promise<boolean> {
    const deadline = this.options.clock.nowMs() + limitMs;
    while (!(this.current.reachable && this.current.closed)) {
      const leftMs = deadline - this.options.clock.nowMs();
      if (leftMs <= 0) return false;
      await this.toldTo(this.waiters, leftMs);
    }
    return true;
  }

  async look(limitMs: number): Promise<void> {
    this.forgetWanted();
    this.onlyLooks = true;
    this.poke();
    await this.toldTo(this.lookers, limitMs);
    this.onlyLooks = false;
  }

  /** Resolves when those in the set are told, or after `limitMs`. */
  private toldTo(set: Set<() => void>, limitMs: number): Promise<void> {
    return new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        set.delete(done);
        resolve();
      };
      const timer = setTimeout(done, limitMs);
      set.add(done);
    });
  }

  /** Works until {@link stop}; never throws. */
  async run(): Promise<void> {
    while (!this.ended) {
      const restMs = await this.pass();
      if (this.ended) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, restMs);
        this.nudge = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.nudge = null;
    }
  }

  stop(): void {
    this.ended = true;
    this.poke();
  }

  /** Ends the rest before the next look, for example because HAProxy's sockets changed, as they do when a worker starts. */
  poke(): void {
    this.nudge?.();
  }

  private unproven(): void {
    this.cleanSinceMs = null;
    this.current = { ...this.current, clean: false, keeping: this.wanted?.keep ?? null };
  }

  /** One look at HAProxy and one step towards what is wanted; resolves with the time until the next, ms. */
  private async pass(): Promise<number> {
    const generation = this.generation;
    try {
      this.stayAwake();
      const startMs = this.options.clock.nowMs();
      await this.findOldWorkers();
      const [first, ...others] = await this.everywhere(this.commands());
      if (first === undefined) throw new Error('no worker answered');
      const epoch = parseEpoch(first);
      if (epoch === null) throw new Error('HAProxy answered with something else than its state');
      const looks = [first, ...others].map((answer) => ({ servers: parseServers(answer), loads: parseLoads(answer) }));
      this.rows = looks[0]?.servers ?? [];
      this.loads = looks[0]?.loads ?? [];
      this.backendIds = new Map(looks.map((look, worker) => [this.nameOf(worker), idsOf(look.servers)]));
      // A worker came or went: ask the master which old ones there are before anything counts as proven.
      if (epoch !== this.current.epoch || looks.some((look) => look.servers.length === 0))
        this.oldWorkersAtMs = Number.NEGATIVE_INFINITY;
      if (generation === this.generation) await this.learn(epoch, looks, startMs);
      return this.settled() ? IDLE_MS : BUSY_MS;
    } catch (error) {
      this.tellSilence(error);
      this.update({
        reachable: false,
        epoch: this.lastEpoch,
        slot: null,
        closed: false,
        keeping: this.wanted?.keep ?? null,
        clean: false,
      });
      this.rows = [];
      this.loads = [];
      this.goesSinceMs.clear();
      this.cleanSinceMs = null;
      this.readSettled = false;
      return UNREACHABLE_MS;
    }
  }

  /** A busy machine misses an answer now and then: only lasting silence is worth a line. */
  private tellSilence(error: unknown): void {
    const nowMs = this.options.clock.nowMs();
    this.silentSinceMs ??= nowMs;
    if (this.silenceTold || nowMs - this.silentSinceMs < SILENCE_TOLD_MS) return;
    this.silenceTold = true;
    this.options.log.write('WARN', 'haproxy', 'HAPROXY_SILENT', error instanceof Error ? error.message : String(error));
  }

  /** Commands that bring the slots to what is wanted; none where they are seen right. */
  private commands(): string[] {
    if (this.onlyLooks) return [];
    const write = this.wanted && (this.wanted.slot === null ? [] : [this.wanted.slot]);
    return [
      ...this.emptyCommands(),
      ...this.queueCommands(),
      ...this.slotCommands('write', write),
      ...this.slotCommands('read', this.readWanted),
      // HAProxy's own connects go to all declared nodes.
      ...this.slotCommands('reach', this.options.addresses),
    ];
  }

  /**
   * Opens the slots of these addresses and no other; null: as they are. A slot gets its address while it is closed, and is
   * opened when the address was seen there, because an answer does not mean that it is in force (S15). The line that opens
   * one closes all others: carried out late it still leaves one route.
   */
  private slotCommands(backend: string, wanted: readonly string[] | null): string[] {
    const { port } = this.options;
    const rows = this.rows.filter((row) => row.backend === backend && isSlot(row));
    const isRight = (row: ServerState) => row.address === this.addressOf(row) && row.port === port;
    const move = rows
      .filter((row) => row.maintenance && this.addressOf(row) !== undefined && !isRight(row))
      .map((row) => `set server ${backend}/${row.server} addr ${this.addressOf(row)} port ${port}`);
    if (wanted === null) return move;
    const open = rows.filter((row) => isRight(row) && wanted.includes(row.address));
    const opens = open.filter((row) => row.maintenance);
    const closes = rows.filter((row) => !open.includes(row) && (opens.length > 0 || !row.maintenance));
    const state = (row: ServerState, is: string) => `set server ${backend}/${row.server} state ${is}`;
    return [...move, ...closes.map((row) => state(row, 'maint')), ...opens.map((row) => state(row, 'ready'))];
  }

  /** Ends the sessions of slots that were found ripe, as long as they are closed and have been since. */
  private emptyCommands(): string[] {
    const ripe = this.ripe;
    this.ripe = new Map();
    const nowMs = this.options.clock.nowMs();
    return this.rows
      .filter((row) => row.maintenance && this.mustGo(row))
      .filter((row) => {
        const key = this.keyOf(0, row);
        return ripe.has(key) && ripe.get(key) === this.goesSinceMs.get(key);
      })
      .map((row) => {
        this.againMs.set(this.keyOf(0, row), nowMs + SHUTDOWN_AGAIN_MS);
        return `shutdown sessions server ${row.backend}/${row.server}`;
      });
  }

  /**
   * Has HAProxy look again at the queue of a backend that has an open slot with places left. HAProxy itself does so when a
   * session ends; a client that was queued in the moment in which the slot opened would wait for that, perhaps for ever.
   */
  private queueCommands(): string[] {
    return this.rows
      .filter((row) => isPort(row.backend) && isSlot(row) && !row.maintenance)
      .flatMap((row) => {
        const slot = loadOf(this.loads, row);
        const queued = loadOf(this.loads, { backend: row.backend, server: 'BACKEND' })?.queued ?? 0;
        if (queued === 0 || slot === undefined || slot.limit === null || slot.sessions >= slot.limit) return [];
        return [`set maxconn server ${row.backend}/${row.server} ${slot.limit}`];
      });
  }

  /** Address of the node that a slot belongs to; undefined when none is declared for it. */
  private addressOf(slot: ServerState): string | undefined {
    return this.options.addresses[Number(slot.server.replace('node', '')) - 1];
  }

  private slotIsRight(): boolean {
    if (!this.current.reachable || this.wanted === null) return false;
    return this.wanted.slot === null ? this.current.closed : this.current.slot === this.wanted.slot;
  }

  private settled(): boolean {
    return this.slotIsRight() && (this.current.clean || this.wanted?.slot !== null) && this.readSettled;
  }

  private async learn(epoch: string, looks: readonly Look[], startMs: number): Promise<void> {
    // A new worker starts closed and stays so until the loop has made its checks again (S15).
    if (this.lastEpoch !== epoch) {
      if (this.lastEpoch !== null && this.wanted !== null) this.wanted.slot = null;
      this.goesSinceMs.clear();
    }
    const wanted = this.wanted?.slot ?? null;
    const slots = looks.map((look) => slotOf(look.servers, wanted));
    const closed = this.rows.length > 0 && openForWrites(this.rows).length === 0;
    const slot = slots[0] ?? null;
    if (slot !== null) this.ledTo = slot;
    // Moved by somebody else: not moved back until the loop has found out whether another monitor works (S11).
    if (this.slotIsRight() && wanted !== null && slot !== null && slot !== wanted) this.wanted = null;
    const keeping = this.wanted?.keep ?? null;
    const lists = await this.end(looks, slots);
    this.learnRead(looks);
    const sameWorkers = epoch === this.current.epoch && looks.every((look) => look.servers.length > 0);
    // A look counts only when it was made with the slot already closed (or on the kept address): no session comes after it.
    const safe = sameWorkers && (closed || slot === keeping);
    if (!safe) this.cleanSinceMs = null;
    let clean = this.current.clean && safe;
    if (this.wanted !== null) {
      const left = this.left(looks, slots, lists);
      if (left > 0) this.cleanSinceMs = null;
      else if (safe) this.cleanSinceMs ??= this.options.clock.nowMs();
      clean = this.cleanSinceMs !== null && (clean || startMs - this.cleanSinceMs >= SCAN_GAP_MS);
    }
    this.update({ reachable: true, epoch, slot, closed, keeping, clean, unreached: this.unreached(startMs) });
  }

  /** Addresses that HAProxy's own connects do not reach, each with the time of the first look that told so. */
  private unreached(nowMs: number): Record<string, number> {
    const before = this.current.unreached ?? {};
    const down = this.rows.filter(
      (s) => s.backend === 'reach' && !s.maintenance && s.down && s.port === this.options.port,
    );
    return Object.fromEntries(down.map((s) => [s.address, before[s.address] ?? nowMs]));
  }

  private nameOf(worker: number): string {
    return worker === 0 ? 'now' : (this.oldWorkers[worker - 1] ?? '');
  }

  private keyOf(worker: number, slot: ServerState): string {
    return `${this.nameOf(worker)} ${slot.backend}/${slot.server}`;
  }

  /** The sessions of this slot have to go: those of the write port that are not kept, those of the read port that are not wanted. */
  private mustGo(slot: ServerState): boolean {
    if (!isSlot(slot)) return false;
    if (slot.backend === 'write') return this.wanted !== null && slot.address !== this.wanted.keep;
    return slot.backend === 'read' && this.readWanted !== null && !this.readWanted.includes(slot.address);
  }

  /**
   * How many sessions stand in the way of another leader: all write sessions that have to go, and the read sessions on the node
   * that led last, which may write there when it wakes and is a primary still. Those on other nodes are ended, too, but
   * not waited for: they are standbys.
   */
  private left(
    looks: readonly Look[],
    slots: readonly (string | null)[],
    lists: ReadonlyMap<number, readonly Session[]>,
  ): number {
    let left = 0;
    for (const [worker, { servers, loads }] of looks.entries()) {
      for (const row of servers.filter((r) => this.mustGo(r))) {
        if (row.backend === 'read' && !this.mayWriteByRead(row)) continue;
        // A slot without a number may still have sessions. A session that comes to an open read slot comes after this look.
        left += loadOf(loads, row)?.sessions ?? 1;
        if (row.backend === 'read' && worker === 0 && !row.maintenance) left += 1;
      }
      if (!this.traps(worker, slots[worker] ?? null)) continue;
      const waiting = lists.get(worker)?.filter((s) => s.backend === 'write' && isOnTheWay(s)) ?? [];
      left += waiting.length;
    }
    return left;
  }

  private mayWriteByRead(row: ServerState): boolean {
    return row.address !== this.wanted?.keep && (this.ledTo === null || row.address === this.ledTo);
  }

  /**
   * The slots of an old worker cannot be moved any more. Where its write slot leads to another node, sessions that still wait
   * in that worker would get there: they are waited for, too (at most `holdTimeout`).
   */
  private traps(worker: number, slot: string | null): boolean {
    return worker > 0 && this.wanted !== null && slot !== null && slot !== this.wanted.keep;
  }

  private learnRead(looks: readonly Look[]): void {
    if (this.readWanted === null) return;
    const open = this.rows.filter((s) => s.backend === 'read' && isSlot(s) && !s.maintenance);
    this.readAddresses = open.map((s) => s.address);
    const right = [...this.readAddresses].sort().join() === this.readWanted.join();
    const left = looks.some(({ servers, loads }) =>
      servers.some((row) => row.backend === 'read' && this.mustGo(row) && loadOf(loads, row)?.sessions !== 0),
    );
    this.readSettled = right && !left;
  }

  /**
   * Ends sessions that have had to go for long enough: in the running worker slot by slot, when a list has shown that no
   * session connects there any more; in an old one, which gets no new sessions, one by one. Resolves with the lists of the old
   * workers.
   */
  private async end(
    looks: readonly Look[],
    slots: readonly (string | null)[],
  ): Promise<ReadonlyMap<number, readonly Session[]>> {
    const nowMs = this.options.clock.nowMs();
    const before = this.goesSinceMs;
    this.goesSinceMs = new Map();
    const lists = new Map<number, readonly Session[]>();
    for (const [worker, look] of looks.entries()) {
      const due = this.due(worker, look, before, nowMs);
      if (worker === 0) {
        if (due.length > 0) void this.findRipe(due);
        continue;
      }
      if (due.length === 0 && !(this.traps(worker, slots[worker] ?? null) && mayHaveWaiting(look))) continue;
      const list = await this.list(worker);
      lists.set(worker, list.sessions);
      await this.endOneByOne(worker, due, list.sessions, nowMs);
    }
    for (const key of this.againMs.keys()) if (!this.goesSinceMs.has(key)) this.againMs.delete(key);
    return lists;
  }

  /** Slots of a worker that have had sessions that have to go for long enough, and were not told lately. */
  private due(worker: number, look: Look, before: ReadonlyMap<string, number>, nowMs: number): ServerState[] {
    return look.servers.filter((row) => {
      const goes = this.mustGo(row) && (worker > 0 || row.maintenance) && loadOf(look.loads, row)?.sessions !== 0;
      if (!goes) return false;
      const key = this.keyOf(worker, row);
      const sinceMs = before.get(key) ?? nowMs;
      this.goesSinceMs.set(key, sinceMs);
      return nowMs - sinceMs >= SETTLED_MS && nowMs >= (this.againMs.get(key) ?? 0);
    });
  }

  /**
   * HAProxy names a session by its address in memory, which a later connection of any frontend may get, and a session that is
   * ended while it connects stays for good, with its client, and does nothing any more (decision 17). So no session is ended by
   * name: a slot is emptied as a whole when it is closed, all its sessions have to go and none connects any more. The list may
   * be long: the looks go on meanwhile, and the next one that finds the slot still closed ends its sessions.
   */
  private async findRipe(due: readonly ServerState[]): Promise<void> {
    if (this.listing) return;
    this.listing = true;
    const sinceMs = due.map((row) => this.goesSinceMs.get(this.keyOf(0, row)));
    try {
      const { sessions, loads } = await this.list(0);
      for (const [i, row] of due.entries()) {
        const on = sessions.filter((s) => isOn(s, row) && s.state !== 'ended');
        // The numbers were asked for after the list: a higher number means that the list did not show all sessions.
        const shown = on.length >= (loadOf(loads, row)?.sessions ?? Number.POSITIVE_INFINITY);
        const since = sinceMs[i];
        if (shown && since !== undefined && on.every((s) => s.state === 'established'))
          this.ripe.set(this.keyOf(0, row), since);
      }
    } catch {
      // The looks tell when HAProxy is silent. As long as the slot has sessions it is due again.
    } finally {
      this.listing = false;
      if (this.ripe.size > 0) this.poke();
    }
  }

  private async endOneByOne(
    worker: number,
    due: readonly ServerState[],
    sessions: readonly Session[],
    nowMs: number,
  ): Promise<void> {
    const told = sessions
      .filter((s) => s.state === 'established' && due.some((row) => isOn(s, row)))
      .slice(0, SHUTDOWN_BATCH);
    if (told.length === 0) return;
    // Sessions that did not fit into one command are ended with the next look.
    if (told.length < SHUTDOWN_BATCH)
      for (const row of due) this.againMs.set(this.keyOf(worker, row), nowMs + SHUTDOWN_AGAIN_MS);
    await this.tell(
      worker,
      told.map((s) => `shutdown session ${s.id}`),
    );
  }

  /** All sessions of a worker on the PostgreSQL ports, and then how many each slot has. */
  private async list(worker: number): Promise<{ sessions: Session[]; loads: Load[] }> {
    const sessions: Session[] = [];
    const rows: string[] = [];
    this.stayAwake();
    const [socket, line] = this.lineFor(worker, ['show sess', ...this.loadQuestions(worker)]);
    await askLines(
      join(this.options.sockets, socket),
      line,
      (one) => {
        const session = parseSession(one);
        if (session === null) rows.push(one);
        else if (session.backend === 'write' || session.backend === 'read') sessions.push(session);
      },
      ANSWER_LIMIT_MS,
      () => this.options.stalls() === this.stallsSeen,
    );
    this.stayAwake();
    return { sessions, loads: parseLoads(rows.join('\n')) };
  }

  /** Asks how many sessions the slots have: by the numbers of the backends, because a frontend has the same name. */
  private loadQuestions(worker: number): string[] {
    const known = this.backendIds.get(this.nameOf(worker)) ?? [];
    return (known.length === 0 ? ['-1'] : known).map((id) => `show stat ${id} ${BACKENDS_AND_SERVERS} -1`);
  }

  /** Asks the worker and every old one how they are; their answers in this order. Only the running one takes changes. */
  private everywhere(changes: readonly string[]): Promise<string[]> {
    const workers = Array.from({ length: this.oldWorkers.length + 1 }, (_, worker) => worker);
    const questions = (w: number) => ['show info', 'show servers state', ...this.loadQuestions(w)];
    return Promise.all(workers.map((w) => this.tell(w, w === 0 ? [...changes, ...questions(w)] : questions(w))));
  }

  private tell(worker: number, commands: readonly string[]): Promise<string> {
    return this.ask(...this.lineFor(worker, commands));
  }

  /** Worker 0 is the running one; the others finish old sessions and are reached through the master. */
  private lineFor(worker: number, commands: readonly string[]): [socket: string, line: string] {
    if (worker === 0) return ['admin.sock', commands.join(';')];
    const pid = this.oldWorkers[worker - 1] ?? '0';
    return ['master.sock', commands.map((c) => `@!${pid} ${c}`).join(';')];
  }

  private async ask(socket: string, line: string): Promise<string> {
    this.stayAwake();
    const { sockets, stalls } = this.options;
    const answer = await ask(join(sockets, socket), line, ANSWER_LIMIT_MS, () => stalls() === this.stallsSeen);
    this.stayAwake();
    return answer;
  }

  /** Throws when the process stood still: what was wanted may be long outdated, so the loop has to want it anew. */
  private stayAwake(): void {
    const stalls = this.options.stalls();
    if (stalls === this.stallsSeen) return;
    this.stallsSeen = stalls;
    this.forgetWanted();
    throw new Error('the monitor stood still');
  }

  private forgetWanted(): void {
    this.wanted = null;
    this.readWanted = null;
    this.readSettled = false;
    this.generation += 1;
  }

  /** Old workers are asked for again in intervals and whenever the running one has changed. */
  private async findOldWorkers(): Promise<void> {
    const nowMs = this.options.clock.nowMs();
    const everyMs = this.oldWorkers.length === 0 ? NO_OLD_WORKERS_MS : OLD_WORKERS_MS;
    if (nowMs - this.oldWorkersAtMs < everyMs && this.current.reachable) return;
    const answer = await this.ask('master.sock', 'show proc');
    this.oldWorkers = parseOldWorkers(answer);
    this.oldWorkersAtMs = nowMs;
  }

  private tellSeen(next: HaproxyView): void {
    const { log } = this.options;
    const isFirst = this.lastEpoch === null;
    if (isFirst || this.silenceTold) log.write('INFO', 'haproxy', 'HAPROXY_SEEN', 'HAProxy answers');
    if (!isFirst && this.lastEpoch !== next.epoch) {
      log.write('INFO', 'haproxy', 'HAPROXY_RELOADED', 'HAProxy has a new worker, its slots start closed');
    }
    this.lastEpoch = next.epoch;
    this.silentSinceMs = null;
    this.silenceTold = false;
  }

  private update(next: HaproxyView): void {
    const before = this.current;
    this.current = next;
    if (next.reachable) this.tellSeen(next);
    if (next.reachable && next.closed) for (const done of [...this.waiters]) done();
    if (next.reachable) for (const done of [...this.lookers]) done();
    if (JSON.stringify(before) !== JSON.stringify(next)) this.options.onChange();
  }
}

/** A node's slot; `hold` is none. */
function isSlot(row: ServerState): boolean {
  return row.server !== 'hold';
}

/** The slots of a worker's write backend that are open. */
function openForWrites(servers: readonly ServerState[]): ServerState[] {
  return servers.filter((row) => row.backend === 'write' && isSlot(row) && !row.maintenance);
}

/** Address that a worker's write backend leads to, the one that is not wanted where it leads to several; null when it is closed. */
function slotOf(servers: readonly ServerState[], wanted: string | null): string | null {
  const open = openForWrites(servers).filter((row) => row.port !== CLOSED_PORT);
  return (open.find((row) => row.address !== wanted) ?? open[0])?.address ?? null;
}

function isPort(backend: string): boolean {
  return backend === 'write' || backend === 'read';
}

function idsOf(servers: readonly ServerState[]): string[] {
  return [...new Set(servers.filter((row) => isPort(row.backend)).map((row) => row.backendId))];
}

function isOn(session: Session, slot: { backend: string; server: string }): boolean {
  return session.backend === slot.backend && session.slot === slot.server;
}

/** The session is not with a server yet, and may get to one. A client in `hold` has a second session, which is listed itself. */
function isOnTheWay(session: Session): boolean {
  return session.state === 'waits' || session.state === 'connects';
}

function loadOf(loads: readonly Load[], slot: { backend: string; server: string }): Load | undefined {
  return loads.find((load) => load.backend === slot.backend && load.server === slot.server);
}

/** A backend also counts sessions that have ended on the server's side and whose clients have not noticed: then only a list tells. */
function mayHaveWaiting({ loads }: Look): boolean {
  const all = loadOf(loads, { backend: 'write', server: 'BACKEND' });
  const placed = loads.filter((load) => load.backend === 'write' && load.server !== 'BACKEND');
  return all === undefined || all.sessions > placed.reduce((sum, load) => sum + load.sessions, 0);
}
