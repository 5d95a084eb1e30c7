/**
 * The monitor's loop: everything that is seen wakes it, one cycle decides, the state is stored before anything of the
 * decision is done.
 */
import { compareOrders } from '../contract/messages';
import { decide } from '../core/decide';
import type { ClusterState, Decision, Policy } from '../core/state/cluster';
import type { Observation, Request } from '../core/state/observation';
import { printState } from '../core/state/stored';
import { suspected } from '../core/transitions';
import type { Executor } from './executor';
import type { Observer } from './observer';
import type { Pacer } from './pacer';
import type { Clock, Keepers, Log, Router, Store } from './ports';
import type { Reporter } from './reporter';
import type { Requests } from './requests';
import type { StallGuard } from './stall';
import type { Timeline } from './timeline';

/** After standing still HAProxy is looked at before anything is decided, for as long as this at most: it may be down, ms. */
const LOOK_LIMIT_MS = 1_000;
const ERROR_REST_MS = 200;

/** What the loop is put together from; see monitor.ts. */
export interface LoopParts {
  /** The stored state, or an empty one. */
  state: ClusterState;
  policy: Policy;
  keepers: Pick<Keepers, 'forget' | 'remember' | 'restart'>;
  router: Pick<Router, 'look'>;
  store: Store;
  clock: Clock;
  log: Log;
  guard: StallGuard;
  pacer: Pacer;
  observer: Observer;
  requests: Requests;
  timeline: Timeline;
  reporter: Reporter;
  executor: Executor;
  /** Called after each cycle. */
  onDecision: (decision: Decision, observation: Observation) => void;
  /** Wall clock, ms: only for the end of a pause. */
  wallMs: () => number;
}

export class Loop {
  private readonly parts: LoopParts;
  private state: ClusterState;
  private wanted = true;
  private ended = false;
  private sleeping: (() => void) | null = null;
  /** The highest incarnation of another monitor whose orders a keeper has accepted. */
  private higher = 0;
  private suspected = false;
  /** Up to which stall HAProxy was looked at anew. */
  private lookedAfter = 0;
  private copy: { term: number; seq: number; blob: string } | null = null;

  constructor(parts: LoopParts) {
    this.parts = parts;
    this.state = parts.state;
  }

  /** Something was seen. */
  wake(): void {
    this.wanted = true;
    this.sleeping?.();
  }

  /** Positions went on: whoever waits for one looks at once, else the ticker is early enough. */
  advanced(): void {
    if (!this.parts.pacer.calm) this.wake();
  }

  /** The opening checks were passed. */
  certified(node: string, term: number): void {
    this.parts.observer.certified(node, term);
    this.parts.timeline.mark('first commit');
    this.wake();
  }

  /** A keeper has accepted orders of another monitor, of this or a higher incarnation; the next cycle deals with it. */
  outranked(incarnation: number): void {
    this.higher = Math.max(this.higher, incarnation);
    this.wake();
  }

  /** The process stood still: what was decided before is done no further, and nothing that was seen before counts (S11). */
  stoodStill(nowMs: number): void {
    const { executor, observer, keepers } = this.parts;
    executor.revoke();
    observer.forget(nowMs);
    keepers.forget(nowMs);
  }

  /** Runs until {@link stop}. */
  async run(): Promise<void> {
    const { pacer, reporter } = this.parts;
    pacer.start();
    while (!this.ended) {
      this.wanted = false;
      try {
        await this.cycle();
      } catch (error) {
        reporter.failed(error);
        await new Promise((resolve) => setTimeout(resolve, ERROR_REST_MS));
      }
      if (!this.wanted && !this.ended) {
        await new Promise<void>((resolve) => {
          this.sleeping = resolve;
        });
        this.sleeping = null;
      }
    }
    pacer.stop();
  }

  stop(): void {
    this.ended = true;
    this.wake();
  }

  /** One cycle. A changed state is followed by another one at once. */
  private async cycle(): Promise<void> {
    const { clock, policy, store, guard, observer, timeline, reporter, executor, requests, pacer, onDecision } =
      this.parts;
    await this.adoptCopy();
    await this.rise();
    guard.notice();
    await this.lookAnew();
    executor.begin();
    const nowMs = clock.nowMs();
    const observation = this.observe(nowMs);
    this.noticeTwin(observation);
    if (this.higher >= store.incarnation) return;
    const before = this.state;
    const decision = decide(before, observation, nowMs, policy);
    timeline.observe(before, decision, observation);
    if (decision.state !== before) {
      await store.save(printState(decision.state));
      this.state = decision.state;
      timeline.stored(before, decision);
      this.wanted = true;
      // Between the decision and what follows from it another monitor may have taken over.
      guard.notice();
      if (executor.revoked) return;
    }
    if (observer.retire(this.state)) this.wanted = true;
    reporter.decided(decision, nowMs);
    this.remember();
    await executor.execute(decision, observer.nodes);
    // The next decision does what was left out of this one.
    if (executor.revoked) this.wanted = true;
    requests.after(decision, observation, nowMs);
    onDecision(decision, observation);
    pacer.cycled(decision.code === 'STEADY' && decision.state === before);
  }

  /** What is seen now, and what was asked for. */
  private observe(nowMs: number): Observation {
    const { observer, requests } = this.parts;
    const seen = observer.observe(this.state, nowMs);
    const asked = requests.before(this.state, seen, nowMs);
    return { ...seen, request: this.expired() ?? asked };
  }

  /** The end of a pause that has one: the core knows no wall clock. */
  private expired(): Request | null {
    const { pause, adopting } = this.state;
    const untilMs = pause?.untilWallMs ?? null;
    return untilMs !== null && !adopting && this.parts.wallMs() >= untilMs ? { kind: 'resume', by: 'expired' } : null;
  }

  /** Every keeper keeps a copy of the newest state, also one that comes later (S10). */
  private remember(): void {
    const { term, seq, adopting } = this.state;
    if (adopting) return;
    if (this.copy?.seq !== seq) this.copy = { term, seq, blob: printState(this.state) };
    this.parts.keepers.remember(this.copy);
  }

  /** Whether another monitor opened the slot meanwhile is seen before anything is decided (S11). */
  private async lookAnew(): Promise<void> {
    const { guard, router } = this.parts;
    while (this.lookedAfter !== guard.count && !this.ended) {
      this.lookedAfter = guard.count;
      await router.look(LOOK_LIMIT_MS);
      guard.notice();
    }
  }

  /** Takes an incarnation above the one that was met and asks everybody anew: this store may be an old one (S10, S11). */
  private async rise(): Promise<void> {
    const { store, keepers, log } = this.parts;
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
    const { incarnation } = this.parts.store;
    const { term, seq } = this.state;
    const newest = { incarnation, term, seq };
    const accepted = Object.values(observation.nodes).map(({ status }) => status?.accepted ?? null);
    if (accepted.some((id) => id !== null && compareOrders(id, newest) > 0)) this.outranked(incarnation);
  }

  /** The store is a copy: the newest state may be elsewhere, so everybody is asked first (S10). */
  private async adoptCopy(): Promise<void> {
    const { store, log } = this.parts;
    if (store.moved !== true || this.suspected) return;
    log.write('WARN', 'monitor', 'STORE_OLD', 'the store is a copy of another one, perhaps an old one');
    await this.suspect();
    this.suspected = true;
  }

  /** Stores that this state may not be the newest one. */
  private async suspect(): Promise<void> {
    const state = suspected(this.state);
    await this.parts.store.save(printState(state));
    this.state = state;
  }
}
