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
  /** The core has begun it: it is not handed to the core again, whatever state is adopted since. */
  begun: boolean;
  request: Request;
  askedAtMs: number;
  answer: (answer: Answer) => void;
}

type Slot = 'pending' | 'word';

export class Requests implements Commands {
  private pending: Pending | null = null;
  /** The request to pause or resume that is under way. */
  private word: Pending | null = null;
  /** The newest situation; null until the first cycle. */
  private newest: Situation | null = null;

  constructor(
    private readonly clock: Clock,
    private readonly policy: Policy,
    private readonly loop: Pick<Events, 'wake'>,
    /** Gives a new id for a request. It is unlike every other id, also those of earlier monitors: the state keeps ids. */
    private readonly newId: () => string,
  ) {}

  /** Resolves when the request is done, refused or aborted, or after a minute and a half. Never throws. */
  ask(request: Request): Promise<Answer> {
    const slot = slotOf(request);
    // `promote` replaces the request that is under way: it is the way out when writes wait, and the other may never end
    // then.
    if (request.kind === 'promote') this.finish(slot, false, `a later request took its place: promote ${request.to}`);
    if (this[slot] !== null) {
      return Promise.resolve(this.answerOf(0, false, 'another request is being carried out; ask again later'));
    }
    return new Promise((resolve) => {
      const askedAtMs = this.clock.nowMs();
      this[slot] = { id: this.newId(), begun: false, request, askedAtMs, answer: resolve };
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
    return this.next('word', this.newest) ?? this.next('pending', this.newest);
  }

  private next(slot: Slot, s: Situation): Request | null {
    const pending = this[slot];
    if (pending === null || pending.begun) return null;
    const { done, message } = foresee(s, pending.request);
    if (done) return { ...pending.request, id: pending.id };
    this.finish(slot, false, message);
    return null;
  }

  /** Called after a decision was stored. */
  after(decision: Decision, observation: Observation, nowMs: number): void {
    this.newest = new Situation(decision.state, observation, nowMs, this.policy);
    this.afterWord(decision);
    const { pending } = this;
    if (pending === null) return;
    const { request } = decision.state;
    if (request?.id === pending.id) pending.begun = true;
    if (nowMs - pending.askedAtMs > ANSWER_LIMIT_MS) {
      this.finish('pending', false, `it is still under way: ${decision.reason}`);
      return;
    }
    if (request?.id !== pending.id || request.ended === undefined) return;
    this.finish('pending', request.ended.done, request.ended.message);
  }

  private afterWord({ state, code }: Decision): void {
    const { word } = this;
    if (word?.request.kind === 'pause' && code === 'PAUSE_BEGUN') {
      this.finish('word', true, `automatic changes of leader are paused ${untilOf(word.request.pause)}`);
    }
    if (word?.request.kind === 'resume' && state.pause === undefined) {
      this.finish('word', true, 'the leader is changed automatically again');
    }
  }

  private finish(slot: Slot, done: boolean, message: string): void {
    const pending = this[slot];
    this[slot] = null;
    pending?.answer(this.answerOf(this.clock.nowMs() - pending.askedAtMs, done, message));
  }

  private answerOf(tookMs: number, done: boolean, message: string): Answer {
    const { leader, term } = this.newest?.state ?? { leader: null, term: 0 };
    return { done, message, leader, term, tookMs: Math.round(tookMs) };
  }
}

function slotOf({ kind }: Request): Slot {
  return kind === 'pause' || kind === 'resume' ? 'word' : 'pending';
}
