/**
 * The monitor's loop. Everything that the monitor sees wakes it. Each cycle makes one decision, and stores the state
 * before it carries out anything of the decision.
 */
import { compareOrders, type StateCopy } from '../contract/messages';
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

/**
 * After a stall of the process the loop looks at HAProxy before it decides, for at most this long, ms: HAProxy may be
 * down.
 */
const LOOK_LIMIT_MS = 1_000;
const ERROR_REST_MS = 200;

/** The parts that the loop works with; see monitor.ts. */
interface LoopParts {
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
  /** Wall clock, ms. Used only to end a pause. */
  wallMs: () => number;
}

export class Loop {
  private state: ClusterState;
  private wanted = true;
  private ended = false;
  private sleeping: (() => void) | null = null;
  /** The highest incarnation of another monitor whose orders a keeper has accepted. */
  private higher = 0;
  private suspected = false;
  /** Number of stalls after which the loop has looked at HAProxy. */
  private lookedAfter = 0;
  private copy: StateCopy | null = null;

  constructor(private readonly parts: LoopParts) {
    this.state = parts.state;
  }

  /** Called when a part of the monitor has seen something: the next cycle runs at once. */
  wake(): void {
    this.wanted = true;
    this.sleeping?.();
  }

  /**
   * Called when only positions and counters have grown. If a change is under way it may wait for them, so a cycle runs
   * at once; else the next tick is early enough.
   */
  advanced(): void {
    if (!this.parts.pacer.calm) this.wake();
  }

  /** Called when a node has passed the opening checks. */
  certified(node: string, term: number): void {
    this.parts.observer.certified(node, term);
    this.parts.timeline.mark('first commit');
    this.wake();
  }

  /**
   * Called when a keeper has accepted an order of another monitor with this or a higher incarnation. The next cycle
   * reacts.
   */
  outranked(incarnation: number): void {
    this.higher = Math.max(this.higher, incarnation);
    this.wake();
  }

  /**
   * Called after a stall of the process: the present decision is not carried out further, and all former observations
   * are forgotten (S11).
   */
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

  /** One cycle. If it changes the state, another one follows at once. */
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
      // Another monitor may have taken over between the decision and now, if the process stood still meanwhile.
      guard.notice();
      if (executor.revoked) return;
    }
    if (observer.retire(this.state)) this.wanted = true;
    reporter.decided(decision, nowMs);
    this.remember();
    await executor.execute(decision, observer.nodes);
    // The decision was revoked, so the next one has to do what was left out.
    if (executor.revoked) this.wanted = true;
    requests.after(decision, observation, nowMs);
    onDecision(decision, observation);
    pacer.cycled(decision.code === 'STEADY' && decision.state === before);
  }

  /** The present observation, with the request of a person. */
  private observe(nowMs: number): Observation {
    const { observer, requests } = this.parts;
    const seen = observer.observe(this.state, nowMs);
    const asked = requests.before(this.state, seen, nowMs);
    return { ...seen, request: this.expired() ?? asked };
  }

  /** The request that ends an expired pause, because the core has no wall clock; null when there is none. */
  private expired(): Request | null {
    const { pause, adopting } = this.state;
    const untilMs = pause?.untilWallMs ?? null;
    return untilMs !== null && !adopting && this.parts.wallMs() >= untilMs ? { kind: 'resume', by: 'expired' } : null;
  }

  /** Sends the newest state to every keeper, also to one that connects later (S10). */
  private remember(): void {
    const { term, seq, adopting } = this.state;
    if (adopting) return;
    if (this.copy?.seq !== seq) this.copy = { term, seq, blob: printState(this.state) };
    this.parts.keepers.remember(this.copy);
  }

  /** After a stall another monitor may have opened the slot, so the loop looks at HAProxy before it decides (S11). */
  private async lookAnew(): Promise<void> {
    const { guard, router } = this.parts;
    while (this.lookedAfter !== guard.count && !this.ended) {
      this.lookedAfter = guard.count;
      await router.look(LOOK_LIMIT_MS);
      guard.notice();
    }
  }

  /**
   * Takes an incarnation above the one that a keeper has seen and asks every keeper again: this store may be an old one
   * (S10, S11).
   */
  private async rise(): Promise<void> {
    const { store, keepers, log } = this.parts;
    if (this.higher < store.incarnation) return;
    const message = `a keeper accepted orders of start ${this.higher} of the monitor that this one, start ${store.incarnation}, did not give`;
    log.write('WARN', 'monitor', 'STORE_OLD', message);
    await this.suspect();
    keepers.restart(await store.raiseAbove(this.higher));
  }

  /**
   * Two monitors on copies of one store may start with the same incarnation. Then a keeper has accepted an order of
   * this incarnation that is newer than any state of this monitor (S11).
   */
  private noticeTwin(observation: Observation): void {
    const { incarnation } = this.parts.store;
    const { term, seq } = this.state;
    const newest = { incarnation, term, seq };
    const accepted = Object.values(observation.nodes).map(({ status }) => status?.accepted ?? null);
    if (accepted.some((id) => id !== null && compareOrders(id, newest) > 0)) this.outranked(incarnation);
  }

  /** If the store is a copy, a newer state may exist elsewhere, so the monitor asks every keeper first (S10). */
  private async adoptCopy(): Promise<void> {
    const { store, log } = this.parts;
    if (store.moved !== true || this.suspected) return;
    log.write('WARN', 'monitor', 'STORE_OLD', 'the store is a copy of another one, perhaps an old one');
    await this.suspect();
    this.suspected = true;
  }

  /** Stores the mark that this state may not be the newest one. */
  private async suspect(): Promise<void> {
    const state = suspected(this.state);
    await this.parts.store.save(printState(state));
    this.state = state;
  }
}
