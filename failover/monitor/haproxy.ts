/**
 * HAProxy's slots, kept at what the loop wants. Every command is read back; nothing counts that was not (S15). After a
 * reload the workers that finish old sessions are treated like the new one (S2). Sessions that have to go are ended by slot,
 * and never while one still connects (PEERS trap 1: that leaks it).
 */
import { join } from 'node:path';
import type { HaproxyView } from '../core/types';
import {
  ANSWER_LIMIT_MS,
  ask,
  CLOSED_PORT,
  parseEpoch,
  parseOldWorkers,
  parseServers,
  parseSessions,
  type ServerState,
  type Session,
} from './haproxy-socket';
import type { Clock, Log, Router } from './ports';

/** Two scans that prove that no session is left lie at least this far apart: more than HAProxy's `timeout connect` (S2). */
const SCAN_GAP_MS = 25;
/** With nothing to do HAProxy is looked at this often, ms. That a worker started is told at once: see {@link Haproxy.poke}. */
const IDLE_MS = 500;
/** While something is to be changed or proven, ms. */
const BUSY_MS = 4;
const UNREACHABLE_MS = 50;
/**
 * A session that has to go is ended by command when it was seen established for this long, ms: that much time its last
 * answers have. Those of a leader that died or was stopped are gone by themselves some 30 ms after it.
 */
const SETTLED_MS = 50;
/** One that was told to end and is still there (its client has left, it waits for `timeout server-fin`) is told again, ms. */
const SHUTDOWN_AGAIN_MS = 300;
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
  /** The worker's servers as last seen; none while HAProxy is silent. */
  private rows: readonly ServerState[] = [];
  private oldWorkers: string[] = [];
  private oldWorkersAtMs = Number.NEGATIVE_INFINITY;
  private ended = false;
  private nudge: (() => void) | null = null;
  private waiters = new Set<() => void>();
  private generation = 0;
  /** When each session that has to go was first seen established, by the scan that goes on and by the one before. */
  private firstSeenMs = new Map<string, number>();
  private seenBefore = new Map<string, number>();
  /** When a session may be ended again, if it is still there. */
  private againMs = new Map<string, number>();
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
      const commands = this.commands();
      const scan = this.wantsScan();
      const [first, ...others] = await this.everywhere(commands, [
        'show info',
        'show servers state',
        ...(scan ? ['show sess all'] : []),
      ]);
      if (first === undefined) throw new Error('no worker answered');
      const epoch = parseEpoch(first);
      if (epoch === null) throw new Error('HAProxy answered with something else than its state');
      const servers = [first, ...others].map(parseServers);
      this.rows = servers[0] ?? [];
      const sessions = scan ? [first, ...others].map(parseSessions) : null;
      // A worker came or went: ask the master which old ones there are before anything counts as proven.
      if (epoch !== this.current.epoch || servers.some((s) => s.length === 0))
        this.oldWorkersAtMs = Number.NEGATIVE_INFINITY;
      if (generation === this.generation) await this.learn(epoch, servers, sessions, startMs);
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

  /** Address of the node that a slot belongs to; undefined when none is declared for it. */
  private addressOf(slot: ServerState): string | undefined {
    return this.options.addresses[Number(slot.server.replace('node', '')) - 1];
  }

  private slotIsRight(): boolean {
    if (!this.current.reachable || this.wanted === null) return false;
    return this.wanted.slot === null ? this.current.closed : this.current.slot === this.wanted.slot;
  }

  private wantsScan(): boolean {
    const writeScan = this.wanted !== null && !(this.slotIsRight() && this.current.clean);
    return writeScan || (this.wanted !== null && this.wanted.slot === null) || !this.readSettled;
  }

  private settled(): boolean {
    return this.slotIsRight() && (this.current.clean || this.wanted?.slot !== null) && this.readSettled;
  }

  private async learn(
    epoch: string,
    servers: ServerState[][],
    sessions: Session[][] | null,
    startMs: number,
  ): Promise<void> {
    // A new worker starts closed and stays so until the loop has made its checks again (S15).
    if (this.lastEpoch !== null && this.lastEpoch !== epoch && this.wanted !== null) this.wanted.slot = null;
    const wanted = this.wanted?.slot ?? null;
    const slots = servers.map((rows) => slotOf(rows, wanted));
    const closed = this.rows.length > 0 && openForWrites(this.rows).length === 0;
    const slot = slots[0] ?? null;
    // Moved by somebody else: not moved back until the loop has found out whether another monitor works (S11).
    if (this.slotIsRight() && wanted !== null && slot !== null && slot !== wanted) this.wanted = null;
    const keeping = this.wanted?.keep ?? null;
    if (sessions !== null) this.forgetGone(sessions);
    this.learnRead(servers, sessions);
    const sameWorkers = epoch === this.current.epoch && servers.every((s) => s.length > 0);
    // A scan counts only when it was made with the slot already closed (or on the kept address): nobody comes after it.
    const safe = sameWorkers && (closed || slot === keeping);
    if (!safe) this.cleanSinceMs = null;
    let clean = this.current.clean && safe;
    if (sessions !== null && this.wanted !== null) {
      const left = await this.endStrangers(servers, sessions, slots, keeping);
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

  /** Begins a scan: who has to go no more, or is gone, is forgotten. */
  private forgetGone(sessions: readonly Session[][]): void {
    this.seenBefore = this.firstSeenMs;
    this.firstSeenMs = new Map();
    const there = new Set(sessions.flatMap((list, worker) => list.map((s) => this.keyOf(worker, s))));
    for (const key of this.againMs.keys()) if (!there.has(key)) this.againMs.delete(key);
  }

  private keyOf(worker: number, session: Session): string {
    return `${worker === 0 ? 'now' : this.oldWorkers[worker - 1]} ${session.serial}`;
  }

  /** Ends established write sessions of other addresses than the kept one; returns how many have to go still. */
  private async endStrangers(
    servers: readonly ServerState[][],
    sessions: readonly Session[][],
    slots: readonly (string | null)[],
    keep: string | null,
  ): Promise<number> {
    let left = 0;
    for (const [worker, list] of sessions.entries()) {
      const slot = slots[worker] ?? null;
      // The slot of an old worker cannot be moved any more. Where it leads to a stranger, sessions that still wait in that
      // worker would get there: they are waited for, too (at most `holdTimeout`).
      const trapped = worker > 0 && slot !== null && slot !== keep;
      const strangers = list.filter(
        (s) => s.backend === 'write' && isAlive(s) && (s.server === null ? trapped : s.server !== keep),
      );
      left += strangers.length;
      await this.end(worker, servers[worker] ?? [], list, strangers);
    }
    return left;
  }

  private learnRead(servers: ServerState[][], sessions: Session[][] | null): void {
    if (this.readWanted === null) return;
    const wanted = this.readWanted;
    const open = this.rows.filter((s) => s.backend === 'read' && isSlot(s) && !s.maintenance);
    this.readAddresses = open.map((s) => s.address);
    const right = [...this.readAddresses].sort().join() === wanted.join();
    let left = 0;
    for (const [worker, list] of (sessions ?? []).entries()) {
      const strangers = list.filter(
        (s) => s.backend === 'read' && s.server !== null && !wanted.includes(s.server) && isAlive(s),
      );
      left += strangers.length;
      this.end(worker, servers[worker] ?? [], list, strangers).catch(() => undefined);
    }
    this.readSettled = right && left === 0 && (sessions !== null || this.readSettled);
  }

  private goesSinceMs(key: string, nowMs: number): number {
    const sinceMs = this.seenBefore.get(key) ?? nowMs;
    this.firstSeenMs.set(key, sinceMs);
    return sinceMs;
  }

  /** Ends those that have had to go for long enough: slot by slot, in an old worker one by one, because nobody new comes there. */
  private async end(
    worker: number,
    servers: readonly ServerState[],
    sessions: readonly Session[],
    strangers: readonly Session[],
  ): Promise<void> {
    const nowMs = this.options.clock.nowMs();
    const due = strangers
      .filter((s) => s.state === 'EST')
      .filter((s) => nowMs - this.goesSinceMs(this.keyOf(worker, s), nowMs) >= SETTLED_MS)
      .filter((s) => nowMs >= (this.againMs.get(this.keyOf(worker, s)) ?? 0));
    const slots = servers.filter((slot) => mayBeEmptied(slot, sessions, strangers));
    const told = worker > 0 ? due.slice(0, SHUTDOWN_BATCH) : due.filter((s) => slots.some((slot) => isOn(s, slot)));
    if (told.length === 0) return;
    for (const s of told) this.againMs.set(this.keyOf(worker, s), nowMs + SHUTDOWN_AGAIN_MS);
    const commands =
      worker > 0
        ? told.map((s) => `shutdown session ${s.id}`)
        : slots
            .filter((slot) => told.some((s) => isOn(s, slot)))
            .map((slot) => `shutdown sessions server ${slot.backend}/${slot.server}`);
    await this.tell(worker, commands);
  }

  /** Asks the worker and every old one; their answers in this order. Only the running one takes changes. */
  private everywhere(changes: readonly string[], questions: readonly string[]): Promise<string[]> {
    const workers = Array.from({ length: this.oldWorkers.length + 1 }, (_, worker) => worker);
    return Promise.all(workers.map((w) => this.tell(w, w === 0 ? [...changes, ...questions] : questions)));
  }

  /** Worker 0 is the running one; the others finish old sessions and are reached through the master. */
  private tell(worker: number, commands: readonly string[]): Promise<string> {
    if (worker === 0) return this.ask('admin.sock', commands.join(';'));
    const pid = this.oldWorkers[worker - 1] ?? '0';
    return this.ask('master.sock', commands.map((c) => `@!${pid} ${c}`).join(';'));
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

/**
 * HAProxy names a session by its memory, which the next connection gets, of whatever frontend, and one that is ended while
 * it connects stays for good, deaf, with its client (PEERS trap 1). So nobody is ended by name: a slot is emptied as a
 * whole when it is closed, all its sessions have to go and none connects any more.
 */
function mayBeEmptied(slot: ServerState, sessions: readonly Session[], strangers: readonly Session[]): boolean {
  return (
    slot.maintenance &&
    sessions.filter((s) => isOn(s, slot) && isAlive(s)).every((s) => s.state === 'EST' && strangers.includes(s))
  );
}

function isOn(session: Session, slot: ServerState): boolean {
  return session.backend === slot.backend && session.slot === slot.server;
}

/** Ended sessions linger for a moment in the list; they can do nothing any more. */
function isAlive(session: Session): boolean {
  return session.state !== 'CLO' && session.state !== 'DIS';
}
