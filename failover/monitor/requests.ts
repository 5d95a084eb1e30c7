/**
 * Requests of people over HTTP. A request is passed to the loop, watched until it is done or has failed, and answered
 * once. Only one is under way at a time, except that pause and resume go beside it, because they must not wait for a
 * switchover.
 */

import type { Answer } from '../contract/api';
import { untilOf } from '../core/facts/hold';
import { Situation } from '../core/facts/situation';
import { foresee } from '../core/forecast';
import type { ClusterState, Decision, Policy } from '../core/state/cluster';
import type { Observation, Request } from '../core/state/observation';
import type { Clock, Commands, Events } from './ports';

/** A request is answered after this time in any case, ms: longer than all steps of a switchover together. */
const ANSWER_LIMIT_MS = 90_000;

interface Pending {
  id: string;
  /** True once the core has begun it. It is not given to the core again, even if another state is adopted later. */
  begun: boolean;
  request: Request;
  askedAtMs: number;
  answer: (answer: Answer) => void;
}

/** The two requests that may be under way at the same time. `pausing`: to pause or to resume. */
type Field = 'pending' | 'pausing';

export class Requests implements Commands {
  private pending: Pending | null = null;
  private pausing: Pending | null = null;
  /** The newest situation; null until the first cycle. */
  private newest: Situation | null = null;

  constructor(
    private readonly clock: Clock,
    private readonly policy: Policy,
    private readonly loop: Pick<Events, 'wake'>,
    /**
     * Makes an id for a request. It differs from all ids of earlier starts of the monitor, because the state keeps ids.
     */
    private readonly newId: () => string,
  ) {}

  /** Resolves when the request is done, refused or aborted, or after a minute and a half. Never throws. */
  ask(request: Request): Promise<Answer> {
    const field = fieldOf(request);
    // `promote` replaces the request that is under way. A person needs it when writes wait, and then the other request
    // may never end.
    if (request.kind === 'promote') this.finish(field, false, `a later request took its place: promote ${request.to}`);
    if (this[field] !== null) {
      return Promise.resolve(this.answerOf(0, false, 'another request is being carried out; ask again later'));
    }
    return new Promise((resolve) => {
      const askedAtMs = this.clock.nowMs();
      this[field] = { id: this.newId(), begun: false, request, askedAtMs, answer: resolve };
      this.loop.wake();
    });
  }

  /** Says what the request would do, judged by the newest observation. Does nothing. */
  dryRun(request: Request): Answer {
    if (this.newest === null) return this.answerOf(0, false, 'the monitor is starting');
    const { state, observation } = this.newest;
    const { done, message } = foresee(new Situation(state, observation, this.clock.nowMs(), this.policy), request);
    return this.answerOf(0, done, message);
  }

  /** The request for the next decision. A request that cannot be granted is refused at once. */
  before(state: ClusterState, observation: Observation, nowMs: number): Request | null {
    this.newest = new Situation(state, observation, nowMs, this.policy);
    return this.next('pausing', this.newest) ?? this.next('pending', this.newest);
  }

  private next(field: Field, s: Situation): Request | null {
    const pending = this[field];
    if (pending === null || pending.begun) return null;
    const { done, message } = foresee(s, pending.request);
    if (done) return { ...pending.request, id: pending.id };
    this.finish(field, false, message);
    return null;
  }

  /** Called after a decision was stored. */
  after(decision: Decision, observation: Observation, nowMs: number): void {
    this.newest = new Situation(decision.state, observation, nowMs, this.policy);
    this.afterPausing(decision);
    const { pending } = this;
    if (pending === null) return;
    const { request } = decision.state;
    if (request?.id === pending.id) pending.begun = true;
    // A restore takes long: the person is told that it has begun, and the status shows how it goes on.
    const isRestore = pending.request.kind === 'restore' || pending.request.kind === 'undo';
    if ((isRestore && pending.begun) || (pending.request.kind === 'confirm' && decision.rule === 'restore-confirmed')) {
      this.finish('pending', true, decision.reason);
      return;
    }
    if (nowMs - pending.askedAtMs > ANSWER_LIMIT_MS) {
      this.finish('pending', false, `it is still under way: ${decision.reason}`);
      return;
    }
    if (request?.id !== pending.id || request.ended === undefined) return;
    this.finish('pending', request.ended.done, request.ended.message);
  }

  private afterPausing({ state, code }: Decision): void {
    const { pausing } = this;
    if (pausing?.request.kind === 'pause' && code === 'PAUSE_BEGUN') {
      this.finish('pausing', true, `automatic changes of leader are paused ${untilOf(pausing.request.pause)}`);
    }
    if (pausing?.request.kind === 'resume' && state.pause === undefined) {
      this.finish('pausing', true, 'the leader is changed automatically again');
    }
  }

  private finish(field: Field, done: boolean, message: string): void {
    const pending = this[field];
    this[field] = null;
    pending?.answer(this.answerOf(this.clock.nowMs() - pending.askedAtMs, done, message));
  }

  private answerOf(tookMs: number, done: boolean, message: string): Answer {
    const { leader, term } = this.newest?.state ?? { leader: null, term: 0 };
    return { done, message, leader, term, tookMs: Math.round(tookMs) };
  }
}

function fieldOf({ kind }: Request): Field {
  return kind === 'pause' || kind === 'resume' ? 'pausing' : 'pending';
}
