/**
 * Keeps HAProxy's slots as the loop wants them. A command counts only when its effect was read back (S15). After a
 * reload the workers that finish old sessions are treated like the new one (S2). Sessions that have to go are ended
 * slot by slot, and never while one of them still connects, because HAProxy would then keep it for good
 * (docs/decisions/0017-a-slot-for-every-node.md).
 *
 * The number of sessions of each slot proves that no session is left, because the size of that answer does not depend
 * on the number of held clients. The list of all sessions is long. It is requested only when a closed slot has sessions
 * that do not end by themselves, and the regular looks do not wait for it.
 */

import { type Budget, budgetFor } from '../../contract/budget';
import { messageOf } from '../../contract/errors';
import { PORTS } from '../../contract/layout';
import type { DeclaredNode } from '../../core/state/cluster';
import type { HaproxyView } from '../../core/state/observation';
import type { ClientPlaces, Events, MonitorPorts, Router } from '../ports';
import { isSlot, loadOf, openSlots, type ServerState } from './haproxy-socket';
import { Places } from './places';
import { SessionSweep } from './sweep';
import { Wish } from './wish';
import { Workers } from './workers';

/**
 * The two scans that prove that no session is left are at least this far apart, ms: more than HAProxy's `timeout
 * connect` (S2).
 */
const SCAN_GAP_MS = 25;
/**
 * Time between two looks at HAProxy when there is nothing to do, ms. A new worker is reported at once: see {@link
 * Haproxy.poke}.
 */
const IDLE_MS = 500;
/** Time between two looks while something has to be changed or proven, ms. */
const BUSY_MS = 4;
/** Time between two looks while clients wait for a place at an open slot, ms. */
const WAITING_MS = 50;
const UNREACHABLE_MS = 50;
/** HAProxy's silence is logged when it has lasted this long, ms. */
const SILENCE_LOGGED_MS = 1_000;
/** What is known of a HAProxy that does not answer. */
const SILENT = { reachable: false, slot: null, closed: false, clean: false };

export class Haproxy implements Router {
  /** The i-th address belongs to the slot `node<i+1>`. */
  private readonly addresses: readonly string[];
  private readonly workers: Workers;
  private readonly sweep: SessionSweep;
  private readonly places: Places;
  private wish = new Wish();
  private current: HaproxyView = { ...SILENT, epoch: null, keeping: null };
  private cleanSinceMs: number | null = null;
  /** Address to which the write slot was last seen open; null when it was never seen open. */
  private ledTo: string | null = null;
  private ended = false;
  /** Ends the rest between two looks at once; null while there is no rest. */
  private endRest: (() => void) | null = null;
  /** Callers that wait for a look that shows a closed slot, or for any look. */
  private readonly waiters = new Map<(isShown: boolean) => void, 'closed' | 'look'>();
  /** Epoch of the worker that was last seen, also while HAProxy is silent. */
  private lastEpoch: string | null = null;
  /** The present silence of HAProxy, from its first missing answer; null while it answers. */
  private silence: { sinceMs: number; logged: boolean } | null = null;

  constructor(
    private readonly ports: Pick<MonitorPorts, 'sockets' | 'clock' | 'log'>,
    nodes: readonly DeclaredNode[],
    private readonly loop: Pick<Events, 'wake' | 'stalls'>,
    private readonly budget: Budget = budgetFor({}),
  ) {
    this.places = new Places(budget);
    this.addresses = nodes.map((node) => node.address);
    this.workers = new Workers(ports, loop, () => this.forgetWanted());
    this.sweep = new SessionSweep(this.workers, ports.clock, () => this.poke());
  }

  view(): HaproxyView {
    return this.current;
  }

  /** As the running worker last showed it. */
  clientPlaces(): ClientPlaces | undefined {
    const [look] = this.workers.looks;
    const [open] = openSlots(look?.servers ?? [], 'write');
    if (look === undefined || open === undefined) return undefined;
    const load = (backend: string, server = open.server) => loadOf(look.loads, { backend, server });
    const used = (load('write')?.sessions ?? 0) + (load('read')?.sessions ?? 0);
    return { used, of: this.budget.clients, waiting: load('write', 'BACKEND')?.queued ?? 0 };
  }

  write(address: string | null, keep: string | null): void {
    const { write, read, readSettled } = this.wish;
    if (write !== null && write.slot === address && write.keep === keep) return;
    this.wish = new Wish({ slot: address, keep }, read, readSettled);
    if (write?.keep !== keep) {
      this.cleanSinceMs = null;
      this.current = { ...this.current, clean: false, keeping: keep };
    }
    this.poke();
  }

  read(open: readonly string[], stay: readonly string[] = []): void {
    const { wish } = this;
    const read = { open: [...open].sort(), stay: [...stay].sort() };
    if (JSON.stringify(wish.read) === JSON.stringify(read)) return;
    wish.read = read;
    wish.readSettled = false;
    this.poke();
  }

  async closed(limitMs: number): Promise<boolean> {
    const { reachable, closed } = this.current;
    return (reachable && closed) || this.shown('closed', limitMs);
  }

  async look(limitMs: number): Promise<void> {
    this.forgetWanted();
    this.poke();
    await this.shown('look', limitMs);
  }

  /** Resolves with true when a look has shown what is waited for, and with false after `limitMs`. */
  private shown(what: 'closed' | 'look', limitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const done = (isShown: boolean) => {
        clearTimeout(timer);
        this.waiters.delete(done);
        resolve(isShown);
      };
      const timer = setTimeout(() => done(false), limitMs);
      this.waiters.set(done, what);
    });
  }

  /** Works until {@link stop}; never throws. */
  async run(): Promise<void> {
    while (!this.ended) {
      const restMs = await this.pass();
      if (this.ended) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, restMs);
        this.endRest = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.endRest = null;
    }
  }

  stop(): void {
    this.ended = true;
    this.poke();
  }

  /**
   * Makes the next look at once, for example because HAProxy's sockets have changed, as they do when a worker starts.
   */
  poke(): void {
    this.endRest?.();
  }

  /** Makes one look at HAProxy and one step towards what is wanted. Resolves with the time until the next look, ms. */
  private async pass(): Promise<number> {
    const { workers, wish } = this;
    try {
      workers.throwAfterStall();
      const startMs = this.ports.clock.nowMs();
      await workers.findOldOnes(this.current.reachable);
      const epoch = await workers.look(this.commands());
      // A worker started or ended, so the master is asked for the old workers before anything counts as proven.
      const isSame = epoch === this.current.epoch && workers.looks.every((look) => look.servers.length > 0);
      if (!isSame) workers.askForOldOnes();
      if (wish === this.wish) await this.learn(epoch, isSame, startMs);
      if (!this.settled()) return BUSY_MS;
      return this.places.busy ? WAITING_MS : IDLE_MS;
    } catch (error) {
      this.logSilence(error);
      this.update({ ...SILENT, epoch: this.lastEpoch, keeping: this.wish.keep, read: this.current.read });
      workers.forget();
      this.sweep.restart();
      this.cleanSinceMs = null;
      this.wish.readSettled = false;
      return UNREACHABLE_MS;
    }
  }

  /** Logs only a lasting silence, because on a busy machine a single answer may be late. */
  private logSilence(error: unknown): void {
    const nowMs = this.ports.clock.nowMs();
    this.silence ??= { sinceMs: nowMs, logged: false };
    if (this.silence.logged || nowMs - this.silence.sinceMs < SILENCE_LOGGED_MS) return;
    this.silence.logged = true;
    this.ports.log.write('WARN', 'haproxy', 'HAPROXY_SILENT', messageOf(error));
  }

  /** The commands that bring the slots to what is wanted; none for a slot that is right already. */
  private commands(): string[] {
    // Nothing may be changed before the loop has seen the present routes (S11).
    if ([...this.waiters.values()].includes('look')) return [];
    const { write, read } = this.wish;
    return [
      ...this.sweep.commands(this.wish),
      ...this.places.commands(this.workers.looks, this.ports.clock.nowMs()),
      ...this.slotCommands('write', write && (write.slot === null ? [] : [write.slot])),
      // A slot whose sessions stay is closed like any other, as on the write port (S19): it gets no new session.
      ...this.slotCommands('read', read?.open ?? null),
      // HAProxy makes its own health checks on all declared nodes.
      ...this.slotCommands('reach', this.addresses),
    ];
  }

  /**
   * Commands that open the slots of these addresses and close all others; null leaves them as they are. A slot gets its
   * address while it is closed, and is opened only when that address was read back, because HAProxy's answer to a
   * command does not prove that it is in force (S15). The line that opens a slot also closes all others, so that one
   * route is left even if HAProxy carries the line out late.
   */
  private slotCommands(backend: string, wanted: readonly string[] | null): string[] {
    const rows = this.workers.servers.filter((row) => row.backend === backend && isSlot(row));
    const isRight = (row: ServerState) => row.address === this.addressOf(row) && row.port === PORTS.postgres;
    const move = rows
      .filter((row) => row.maintenance && this.addressOf(row) !== undefined && !isRight(row))
      .map((row) => `set server ${backend}/${row.server} addr ${this.addressOf(row)} port ${PORTS.postgres}`);
    if (wanted === null) return move;
    const open = rows.filter((row) => isRight(row) && wanted.includes(row.address));
    const opens = open.filter((row) => row.maintenance);
    const closes = rows.filter((row) => !open.includes(row) && (opens.length > 0 || !row.maintenance));
    const state = (row: ServerState, is: string) => `set server ${backend}/${row.server} state ${is}`;
    return [...move, ...closes.map((row) => state(row, 'maint')), ...opens.map((row) => state(row, 'ready'))];
  }

  /** Address of the node that the slot belongs to; undefined when no node is declared for it. */
  private addressOf(slot: ServerState): string | undefined {
    return this.addresses[Number(slot.server.replace('node', '')) - 1];
  }

  private slotIsRight(): boolean {
    const { write } = this.wish;
    if (!this.current.reachable || write === null) return false;
    return write.slot === null ? this.current.closed : this.current.slot === write.slot;
  }

  private settled(): boolean {
    const { write, readSettled } = this.wish;
    return this.slotIsRight() && (this.current.clean || write?.slot !== null) && readSettled;
  }

  /** Learns from the newest look. `isSame`: the same workers have answered as in the look before. */
  private async learn(epoch: string, isSame: boolean, startMs: number): Promise<void> {
    const { servers, looks } = this.workers;
    if (this.lastEpoch !== epoch) {
      // A new worker starts with a closed write slot, which stays closed until the loop has repeated the opening checks
      // (S15).
      if (this.lastEpoch !== null && this.wish.write !== null) this.wish.write.slot = null;
      this.sweep.restart();
    }
    const wanted = this.wish.write?.slot ?? null;
    const closed = servers.length > 0 && openSlots(servers, 'write').length === 0;
    const slot = looks[0] === undefined ? null : this.wish.slotOf(looks[0]);
    if (slot !== null) this.ledTo = slot;
    if (this.slotIsRight() && wanted !== null && slot !== null && slot !== wanted) this.wish.giveWay();
    const { keep: keeping } = this.wish;
    const lists = await this.sweep.end(this.wish);
    const read = this.learnRead();
    // Only a look at a slot that was already closed (or on the kept address) counts, because no session can arrive
    // after it.
    const safe = isSame && (closed || slot === keeping);
    if (!safe) this.cleanSinceMs = null;
    let clean = this.current.clean && safe;
    if (this.wish.write !== null) {
      const left = this.sweep.left(this.wish, lists, this.ledTo);
      if (left > 0) this.cleanSinceMs = null;
      else if (safe) this.cleanSinceMs ??= this.ports.clock.nowMs();
      clean = this.cleanSinceMs !== null && (clean || startMs - this.cleanSinceMs >= SCAN_GAP_MS);
    }
    this.update({ reachable: true, epoch, slot, closed, keeping, clean, unreached: this.unreached(startMs), read });
  }

  /** Address that HAProxy's own health checks do not reach → time of the first look that showed that, monotonic ms. */
  private unreached(nowMs: number): Record<string, number> {
    const before = this.current.unreached ?? {};
    const down = this.workers.servers.filter(
      (s) => s.backend === 'reach' && !s.maintenance && s.down && s.port === PORTS.postgres,
    );
    return Object.fromEntries(down.map((s) => [s.address, before[s.address] ?? nowMs]));
  }

  /** Records whether the read slots are as wanted. Returns the addresses that they lead to. */
  private learnRead(): string[] | undefined {
    const { wish } = this;
    if (wish.read === null) return this.current.read;
    const open = openSlots(this.workers.servers, 'read').map((row) => row.address);
    const right = [...open].sort().join() === wish.read.open.join();
    const left = this.workers.looks.some(({ servers, loads }) =>
      servers.some((row) => row.backend === 'read' && wish.mustGo(row) && loadOf(loads, row)?.sessions !== 0),
    );
    wish.readSettled = right && !left;
    return open;
  }

  private forgetWanted(): void {
    this.wish = new Wish();
  }

  private logSeen(next: HaproxyView): void {
    const { log } = this.ports;
    const isFirst = this.lastEpoch === null;
    if (isFirst || this.silence?.logged === true) log.write('INFO', 'haproxy', 'HAPROXY_SEEN', 'HAProxy answers');
    if (!isFirst && this.lastEpoch !== next.epoch) {
      log.write('INFO', 'haproxy', 'HAPROXY_RELOADED', 'HAProxy has a new worker, its slots start closed');
    }
    this.lastEpoch = next.epoch;
    this.silence = null;
  }

  private update(next: HaproxyView): void {
    const before = this.current;
    this.current = next;
    if (next.reachable) this.logSeen(next);
    for (const [done, what] of [...this.waiters]) {
      if (next.reachable && (next.closed || what === 'look')) done(true);
    }
    if (JSON.stringify(before) !== JSON.stringify(next)) this.loop.wake();
  }
}
