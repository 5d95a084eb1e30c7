/**
 * The monitor's loop: everything that is seen wakes it, one cycle decides, the state is stored before anything of the
 * decision is done. Only this file executes actions.
 */
import type { Answer, Failover } from '../contract/api';
import { compareOrders, PING_INTERVAL_MS, PINGS_A_STATUS, type StateCopy } from '../contract/messages';
import { decide } from '../core/decide';
import { hearsNobody, withoutDeafness } from '../core/facts/hearing';
import { Situation } from '../core/facts/situation';
import { newWatch, nextWatch } from '../core/facts/watch';
import { isRetired } from '../core/procedures/members';
import {
  type Action,
  type Certificate,
  type ClusterState,
  type Decision,
  type DeclaredNode,
  emptyState,
  type Observation,
  type Policy,
  type Request,
  type Watch,
} from '../core/state/cluster';
import { parseState, printState } from '../core/state/stored';
import { suspected } from '../core/transitions';
import type { Clock, Keepers, Log, Opening, Router, Store } from './ports';
import { Requests } from './requests';
import { Timeline } from './timeline';

/** A cycle is made at least this often, ms; as often as statuses come while all is well and every keeper answers. */
const TICK_MS = PING_INTERVAL_MS / 2;
/** A ping is due when the last one is older than this, ms: timers fire late, and a little early. */
const PING_DUE_MS = 1.5 * TICK_MS;
/** A loop that stood still for longer than this trusts nothing that it saw before (S11), ms. */
const GAP_MS = 500;
/** Closing the slot is waited for before orders go out, but no longer than this: HAProxy may be down, ms. */
const CLOSE_LIMIT_MS = 100;
/** After standing still HAProxy is looked at before anything is decided, for as long as this at most: it may be down, ms. */
const LOOK_LIMIT_MS = 1_000;
const ERROR_REST_MS = 200;
/** All is well for this long before it is told, ms. */
const STEADY_MS = 1_000;

export interface LoopOptions {
  /** Declared nodes, and behind them the leader that is not declared any more, when there is one. */
  nodes: readonly DeclaredNode[];
  /** Name of that leader. */
  retiring?: string;
  policy: Policy;
  keepers: Keepers;
  router: Router;
  opening: Opening;
  store: Store;
  clock: Clock;
  log: Log;
  /** Called after each cycle. */
  onDecision: (decision: Decision, observation: Observation) => void;
  /** Told of each finished change of leader, and again when its former leader follows. */
  onFailover?: (failover: Failover) => void;
  /** Wall clock, ms: only for the end of a pause. @default Date.now */
  wallMs?: () => number;
}

export class Loop {
  private readonly options: LoopOptions;
  private readonly timeline: Timeline;
  private readonly requests: Requests;
  private nodes: readonly DeclaredNode[];
  private retiring: string | undefined;
  private state: ClusterState;
  private watch: Watch;
  private certificate: Certificate | null = null;
  private sinceMs: number;
  /** Since when no node is heard. */
  private deafSinceMs: number | null = null;
  private wanted = true;
  private ended = false;
  private sleeping: (() => void) | null = null;
  private told = '';
  private asked: string | null = null;
  private closing = false;
  private higher = 0;
  private suspected = false;
  /** When the ticker ran last, and how often the loop was found to have stood still. */
  private tickedMs = 0;
  private stalls = 0;
  private ticker: NodeJS.Timeout | undefined;
  private pingedMs = Number.NEGATIVE_INFINITY;
  private pings = 0;
  /** The last cycle found nothing to do. */
  private calm = false;
  /** Up to which of them HAProxy was looked at anew. */
  private lookedAfter = 0;
  private copy: StateCopy | null = null;
  private steady: { words: string; sinceMs: number } | null = null;

  constructor(options: LoopOptions) {
    this.options = options;
    this.state = (options.store.loaded === null ? null : parseState(options.store.loaded)) ?? emptyState();
    this.nodes = options.nodes;
    this.retiring = options.retiring;
    this.sinceMs = options.clock.nowMs();
    this.tickedMs = this.sinceMs;
    this.timeline = new Timeline(options.clock, options.log, options.onFailover);
    this.watch = newWatch(this.sinceMs);
    const { clock, policy } = options;
    this.requests = new Requests({ clock, policy, wake: () => this.wake() });
  }

  /** Carries out what a person asks for; see {@link Requests.ask}. */
  ask(request: Request): Promise<Answer> {
    return this.requests.ask(request);
  }

  /** What would come of it; see {@link Requests.dryRun}. */
  dryRun(request: Request): Answer {
    return this.requests.dryRun(request);
  }

  /** Positions went on: whoever waits for one looks at once, else the ticker is early enough. */
  advanced(): void {
    if (!this.calm) this.wake();
  }

  /** Something was seen. */
  wake(): void {
    this.wanted = true;
    this.sleeping?.();
  }

  /** The opening checks were passed. */
  certified(node: string, term: number): void {
    this.certificate = { node, term, epoch: this.options.router.view().epoch };
    this.timeline.mark('first commit');
    this.wake();
  }

  /** A keeper has accepted orders of another monitor, of this or a higher incarnation; the next cycle deals with it. */
  outranked(incarnation: number): void {
    this.higher = Math.max(this.higher, incarnation);
    this.wake();
  }

  /** Takes an incarnation above the one that was met and asks everybody anew: this store may be an old one (S10, S11). */
  private async rise(): Promise<void> {
    const { store, keepers, log } = this.options;
    if (this.higher < store.incarnation) return;
    const words = `a keeper accepted orders of start ${this.higher} of the monitor that this one, start ${store.incarnation}, did not give`;
    log.write('WARN', 'monitor', 'STORE_OLD', words);
    await this.suspect();
    keepers.restart(await store.raiseAbove(this.higher));
  }

  /**
   * Two monitors on copies of one store may start with the same incarnation. A keeper then has accepted an order of this
   * one's that is newer than anything that this one has stored (S11).
   */
  private noticeTwin(observation: Observation): void {
    const { incarnation } = this.options.store;
    const { term, seq } = this.state;
    const newest = { incarnation, term, seq };
    const accepted = Object.values(observation.nodes).map(({ status }) => status?.accepted ?? null);
    if (accepted.some((id) => id !== null && compareOrders(id, newest) > 0)) this.outranked(incarnation);
  }

  /** The store is a copy: the newest state may be elsewhere, so everybody is asked first (S10). */
  private async adoptCopy(): Promise<void> {
    const { store, log } = this.options;
    if (store.moved !== true || this.suspected) return;
    log.write('WARN', 'monitor', 'STORE_OLD', 'the store is a copy of another one, perhaps an old one');
    await this.suspect();
    this.suspected = true;
  }

  /** Stores that this state may not be the newest one. */
  private async suspect(): Promise<void> {
    const state = suspected(this.state);
    await this.options.store.save(printState(state));
    this.state = state;
  }

  /** Runs until {@link stop}. */
  async run(): Promise<void> {
    const { clock, log } = this.options;
    this.tickedMs = clock.nowMs();
    this.tickAfter(TICK_MS);
    while (!this.ended) {
      this.wanted = false;
      try {
        await this.cycle();
      } catch (error) {
        const words = error instanceof Error ? error.message : String(error);
        if (words !== this.told) log.write('ERROR', 'monitor', 'CYCLE_FAILED', words);
        this.told = words;
        await new Promise((resolve) => setTimeout(resolve, ERROR_REST_MS));
      }
      if (!this.wanted && !this.ended) {
        await new Promise<void>((resolve) => {
          this.sleeping = resolve;
        });
        this.sleeping = null;
      }
    }
    clearTimeout(this.ticker);
  }

  private tickAfter(ms: number): void {
    clearTimeout(this.ticker);
    this.ticker = setTimeout(() => this.tick(), ms);
  }

  /** One timer for pings and cycles, because most of what the monitor costs at rest is being woken. */
  private tick(): void {
    this.noticeStall();
    this.tickedMs = this.options.clock.nowMs();
    let well = this.calm;
    if (this.tickedMs - this.pingedMs > PING_DUE_MS) {
      this.pingedMs = this.tickedMs;
      this.pings += 1;
      well = this.options.keepers.ping(this.pings) && well;
    }
    this.tickAfter(well ? PING_INTERVAL_MS : TICK_MS);
    if (!well || this.pings % PINGS_A_STATUS === 0) this.wake();
  }

  /**
   * After standing still nothing that was seen before counts (S11). Called wherever the loop goes on after waiting, because
   * what woke first after a stall need not be the ticker.
   */
  private noticeStall(): void {
    const { clock, keepers, log } = this.options;
    const nowMs = clock.nowMs();
    const stillMs = Math.round(nowMs - this.tickedMs);
    if (stillMs <= GAP_MS + TICK_MS) return;
    const words = `the monitor stood still for ${stillMs} ms and looks at everything anew`;
    log.write('WARN', 'monitor', 'STALLED', words);
    this.tickedMs = nowMs;
    this.stalls += 1;
    this.sinceMs = nowMs;
    this.certificate = null;
    keepers.forget(nowMs);
  }

  /** How often the process was found to have stood still, looked at now (S11). */
  countStalls(): number {
    this.noticeStall();
    return this.stalls;
  }

  /** Whether another monitor opened the slot meanwhile is seen before anything is decided (S11). */
  private async lookAnew(): Promise<void> {
    while (this.lookedAfter !== this.stalls && !this.ended) {
      this.lookedAfter = this.stalls;
      await this.options.router.look(LOOK_LIMIT_MS);
      this.noticeStall();
    }
  }

  /** Finished changes of leader with their steps, oldest first, the newest hundred. */
  failovers(): readonly Failover[] {
    return this.timeline.finished;
  }

  stop(): void {
    this.ended = true;
    this.wake();
  }

  private observe(nowMs: number): Observation {
    const { keepers, router } = this.options;
    const nodes = keepers.views(nowMs);
    if (hearsNobody(nodes, nowMs)) {
      this.deafSinceMs ??= nowMs;
      this.sinceMs = nowMs;
    } else this.deafSinceMs = null;
    return {
      sinceMs: this.sinceMs,
      deafMs: this.deafSinceMs === null ? 0 : nowMs - this.deafSinceMs,
      declared: [...this.nodes],
      retiring: this.retiring,
      nodes: withoutDeafness(nodes, this.sinceMs, nowMs),
      haproxy: router.view(),
      certificate: this.certificate,
      watch: this.watch,
      request: null,
    };
  }

  /** What is seen now, with what is remembered of before and what was asked for. */
  private observeAll(nowMs: number): Observation {
    const { policy } = this.options;
    const seen = this.observe(nowMs);
    this.watch = nextWatch(new Situation(this.state, seen, nowMs, policy));
    const watched = { ...seen, watch: this.watch };
    const asked = this.requests.before(this.state, watched, nowMs);
    return { ...watched, request: this.expired() ?? asked };
  }

  /** The end of a pause that has one: the core knows no wall clock. */
  private expired(): Request | null {
    const { pause, adopting } = this.state;
    const untilMs = pause?.untilWallMs ?? null;
    const wallMs = this.options.wallMs ?? Date.now;
    return untilMs !== null && !adopting && wallMs() >= untilMs ? { kind: 'resume', by: 'expired' } : null;
  }

  /** One cycle. A changed state is followed by another one at once. */
  private async cycle(): Promise<void> {
    const { clock, policy, store } = this.options;
    await this.adoptCopy();
    await this.rise();
    this.noticeStall();
    await this.lookAnew();
    const { stalls } = this;
    const nowMs = clock.nowMs();
    const observation = this.observeAll(nowMs);
    this.noticeTwin(observation);
    if (this.higher >= store.incarnation) return;
    const before = this.state;
    const decision = decide(before, observation, nowMs, policy);
    this.timeline.observe(before, decision, observation);
    if (decision.state !== before) {
      await store.save(printState(decision.state));
      this.state = decision.state;
      this.timeline.stored(before, decision);
      this.wanted = true;
      // Between the decision and what follows from it somebody else may have taken over.
      this.noticeStall();
      if (this.stalls !== stalls) return;
    }
    this.retire();
    this.tell(decision, nowMs);
    this.remember();
    await this.execute(decision.actions);
    this.requests.after(decision, observation, nowMs);
    this.options.onDecision(decision, observation);
    const calm = decision.code === 'STEADY' && decision.state === before;
    if (this.calm && !calm) this.tickAfter(TICK_MS);
    this.calm = calm;
  }

  /** Forgets the former leader that is not declared any more, once nothing depends on it. */
  private retire(): void {
    const node = this.retiring;
    if (node === undefined || !isRetired(this.state, node)) return;
    this.retiring = undefined;
    this.nodes = this.nodes.filter((n) => n.name !== node);
    this.options.keepers.retire(node);
    this.wanted = true;
  }

  /** Every keeper keeps a copy of the newest state, also one that comes later (S10). */
  private remember(): void {
    const { term, seq, adopting } = this.state;
    if (adopting) return;
    if (this.copy?.seq !== seq) this.copy = { term, seq, blob: printState(this.state) };
    this.options.keepers.remember(this.copy);
  }

  /**
   * A line whenever the decision changes; a growing number of milliseconds is no change. That all is well is told when it
   * has been so for a moment, because small things come and go.
   */
  private tell(decision: Decision, nowMs: number): void {
    const words = `${decision.code} ${decision.reason.replaceAll(/\d+ ms/g, '')}`;
    if (decision.code !== 'STEADY') this.steady = null;
    else if (this.steady?.words !== words) this.steady = { words, sinceMs: nowMs };
    if (this.steady !== null && nowMs - this.steady.sinceMs < STEADY_MS) return;
    if (words === this.told) return;
    this.told = words;
    this.options.log.write(decision.level, decision.state.leader ?? 'cluster', decision.code, decision.reason);
  }

  private async execute(actions: readonly Action[]): Promise<void> {
    const { keepers, store } = this.options;
    this.check(actions);
    for (const action of actions) {
      switch (action.kind) {
        case 'route-write':
          await this.routeWrite(action.route);
          break;
        case 'route-read':
          this.options.router.read(action.nodes.map((n) => this.address(n)).filter((a) => a !== null));
          break;
        case 'order':
          keepers.order(action.node, { incarnation: store.incarnation, ...action.order });
          break;
        case 'probe':
          keepers.probe(action.node);
          break;
        case 'certify':
          break;
      }
    }
  }

  private check(actions: readonly Action[]): void {
    const action = actions.find((a) => a.kind === 'certify');
    const key = action === undefined ? null : `${action.node} ${action.term}`;
    if (key === this.asked && action === undefined) return;
    this.asked = key;
    this.options.opening.want(action === undefined ? null : { node: action.node, term: action.term });
  }

  private async routeWrite(route: Extract<Action, { kind: 'route-write' }>['route']): Promise<void> {
    const { router } = this.options;
    switch (route.kind) {
      case 'open':
        this.closing = false;
        router.write(route.address, route.address);
        return;
      case 'held':
        this.closing = false;
        router.write(null, route.address);
        // A leader that is about to stop must get no new client: it would be sent away.
        if (this.state.activity.kind === 'handover') await router.closed(CLOSE_LIMIT_MS);
        return;
      case 'closed':
        router.write(null, route.keep === null ? null : this.address(route.keep));
        // Close, then promote: waited for once, when the slot begins to be closed (S2, S15).
        if (!this.closing) {
          this.closing = true;
          if (await router.closed(CLOSE_LIMIT_MS)) this.timeline.mark('closed');
        }
        return;
    }
  }

  private address(node: string): string | null {
    return this.nodes.find((n) => n.name === node)?.address ?? null;
  }
}
