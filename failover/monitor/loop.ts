/**
 * The monitor's loop. Everything that the monitor sees wakes it. Each cycle makes one decision, and stores the state
 * before it carries out anything of the decision.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { compareOrders, type StateCopy } from '../contract/messages';
import { decide } from '../core/decide';
import { runsPostgres } from '../core/facts/view';
import { retiringLeader } from '../core/procedures/members';
import { type ClusterState, type DeclaredNode, emptyState } from '../core/state/cluster';
import type { Observation, Request } from '../core/state/observation';
import { parseState, printState } from '../core/state/stored';
import { suspected } from '../core/transitions';
import { BackupPlaces } from './backup-places';
import { Executor } from './executor';
import { Observer } from './observer';
import { PoolerPause } from './pooler-pause';
import type { Adapters, Events, MonitorPorts } from './ports';
import { Reporter } from './reporter';
import { Requests } from './requests';
import { Ticker } from './ticker';
import { Timeline } from './timeline';

/**
 * Maximum time for which the loop waits for its look at HAProxy after a stall of the process, ms. HAProxy may be down.
 */
const LOOK_LIMIT_MS = 1_000;
const ERROR_REST_MS = 200;

/** Makes the adapters. `nodes`: all nodes with an address, also a leader that was removed from the config. */
type Connect = (loop: Events, nodes: readonly DeclaredNode[]) => Adapters;

/** The parts that the loop works with. */
function partsOf(loop: Loop, state: ClusterState, ports: MonitorPorts, connect: Connect) {
  const { policy, store, clock, log } = ports;
  const retiring = retiringLeader(state, ports.nodes);
  const nodes = retiring === null ? ports.nodes : [...ports.nodes, retiring];
  const { keepers, router, opening, pooler } = connect(loop, nodes);
  const timeline = new Timeline(clock, log, ports.onFailover);
  return {
    ...{ keepers, router, opening, pooler, timeline },
    ticker: new Ticker(clock, log, keepers, loop),
    observer: new Observer(nodes, retiring?.name, policy, keepers, router, clock.nowMs()),
    executor: new Executor(keepers, router, opening, new PoolerPause(pooler, router, clock, log), store, () =>
      timeline.mark('closed'),
    ),
    reporter: new Reporter(log),
    requests: new Requests(clock, policy, loop, ports.newId ?? randomUUID),
    backups: new BackupPlaces(
      policy,
      keepers,
      clock,
      log,
      ports.newId ?? randomUUID,
      ports.wallMs,
      ports.settings.rebuildInPlace !== true,
    ),
  };
}

export class Loop implements Events {
  readonly parts: ReturnType<typeof partsOf>;
  private state: ClusterState;
  /** What the newest decision was made from; undefined until the first. */
  private seen: Observation | undefined;
  /** True when another cycle is due. */
  private wanted = true;
  private ended = false;
  private sleeping: (() => void) | null = null;
  /** The highest incarnation of another monitor whose orders a keeper has accepted. */
  private higher = 0;
  /** True once this start of the monitor has marked the state of a copied store as perhaps old. */
  private suspected = false;
  /** Number of stalls after which the loop has looked at HAProxy. */
  private lookedAfter = 0;
  /** The newest state in the form that keepers get; null before the first. */
  private copy: StateCopy | null = null;

  /** Begins with the stored state. */
  constructor(
    private readonly ports: MonitorPorts,
    connect: Connect,
  ) {
    this.state = (ports.store.loaded === null ? null : parseState(ports.store.loaded)) ?? emptyState();
    this.parts = partsOf(this, this.state, ports, connect);
  }

  wake(): void {
    this.wanted = true;
    this.sleeping?.();
  }

  advanced(): void {
    if (!this.parts.ticker.calm) this.wake();
  }

  certified(node: string, term: number): void {
    this.parts.observer.certified(node, term);
    this.parts.timeline.mark('first commit');
    this.wake();
  }

  /** The next cycle takes a higher incarnation; see {@link rise}. */
  outranked(incarnation: number): void {
    this.higher = Math.max(this.higher, incarnation);
    this.wake();
  }

  broken(node: string): void {
    this.parts.keepers.probe(node);
  }

  isRunning(node: string): boolean | null {
    return runsPostgres(this.seen, node);
  }

  stalls(): number {
    this.parts.ticker.notice();
    return this.parts.ticker.stalls;
  }

  /**
   * Called after a stall of the process: the present decision is not carried out further, and all former observations
   * are forgotten (S11).
   */
  stoodStill(nowMs: number): void {
    const { executor, observer, keepers } = this.parts;
    executor.revoked = true;
    observer.forget(nowMs);
    keepers.forget(nowMs);
  }

  /** Runs until {@link stop}. */
  async run(): Promise<void> {
    this.parts.opening.start();
    await Promise.all([this.cycles(), this.parts.router.run()]);
  }

  stop(): void {
    this.ended = true;
    this.wake();
    this.parts.router.stop();
    this.parts.opening.stop();
  }

  private async cycles(): Promise<void> {
    const { ticker, reporter } = this.parts;
    ticker.start();
    while (!this.ended) {
      this.wanted = false;
      try {
        await this.cycle();
      } catch (error) {
        reporter.failed(error);
        await delay(ERROR_REST_MS);
      }
      if (!this.wanted && !this.ended) {
        await new Promise<void>((resolve) => {
          this.sleeping = resolve;
        });
        this.sleeping = null;
      }
    }
    ticker.stop();
  }

  /** One cycle. If it changes the state, another one follows at once. */
  private async cycle(): Promise<void> {
    const { clock, policy, store, onDecision } = this.ports;
    const { ticker, observer, timeline, reporter, executor, requests, backups } = this.parts;
    await this.adoptCopy();
    await this.rise();
    ticker.notice();
    await this.lookAnew();
    executor.revoked = false;
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
      ticker.notice();
      if (executor.revoked) return;
    }
    if (observer.retire(this.state)) this.wanted = true;
    reporter.decided(decision, nowMs);
    this.remember();
    await executor.execute(decision, observer.nodes);
    // The next cycle has to do what was left out, because the decision was revoked.
    if (executor.revoked) this.wanted = true;
    requests.after(decision, observation, nowMs);
    if (!executor.revoked) backups.cycle(decision, observation);
    this.seen = observation;
    onDecision(decision, observation);
    ticker.cycled(decision.code === 'STEADY' && decision.state === before);
  }

  /** The present observation, with a person's request if there is one. */
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
    const { wallMs = Date.now } = this.ports;
    return untilMs !== null && !adopting && wallMs() >= untilMs ? { kind: 'resume', by: 'expired' } : null;
  }

  /** Sends the newest state to every keeper, also to one that connects later (S10). */
  private remember(): void {
    const { term, seq, adopting } = this.state;
    if (adopting) return;
    if (this.copy?.seq !== seq) this.copy = { term, seq, blob: printState(this.state) };
    this.parts.keepers.remember(this.copy);
  }

  /**
   * After a stall another monitor may have moved the write slot, so the loop looks at HAProxy before it decides (S11).
   */
  private async lookAnew(): Promise<void> {
    const { ticker, router } = this.parts;
    while (this.lookedAfter !== ticker.stalls && !this.ended) {
      this.lookedAfter = ticker.stalls;
      await router.look(LOOK_LIMIT_MS);
      ticker.notice();
    }
  }

  /**
   * Takes an incarnation above the highest one that a keeper has seen, and asks every keeper for its copy of the state,
   * because this store may be an old one (S10, S11).
   */
  private async rise(): Promise<void> {
    const { store } = this.ports;
    if (this.higher < store.incarnation) return;
    await this.suspect(
      `a keeper accepted an order of start ${this.higher} of the monitor, but this is start ${store.incarnation} and did not give it`,
    );
    this.parts.keepers.restart(await store.raiseAbove(this.higher));
  }

  /**
   * Two monitors on copies of one store may start with the same incarnation. A sign of that is a keeper that has
   * accepted an order of this incarnation which is newer than this monitor's state (S11).
   */
  private noticeTwin(observation: Observation): void {
    const { incarnation } = this.ports.store;
    const { term, seq } = this.state;
    const newest = { incarnation, term, seq };
    const accepted = Object.values(observation.nodes).map(({ status }) => status?.accepted ?? null);
    if (accepted.some((id) => id !== null && compareOrders(id, newest) > 0)) this.outranked(incarnation);
  }

  /** If the store is a copy, a newer state may exist elsewhere, so the monitor asks every keeper first (S10). */
  private async adoptCopy(): Promise<void> {
    if (this.ports.store.moved !== true || this.suspected) return;
    await this.suspect('the store is a copy of another one, perhaps an old one');
    this.suspected = true;
  }

  /** Stores the mark that this state may not be the newest one. */
  private async suspect(why: string): Promise<void> {
    const { log, store } = this.ports;
    log.write('WARN', 'monitor', 'STORE_OLD', why);
    const state = suspected(this.state);
    await store.save(printState(state));
    this.state = state;
  }
}
