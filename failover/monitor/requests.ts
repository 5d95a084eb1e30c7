/**
 * What a person asked for over HTTP: handed to the loop, watched until it is done or has failed, answered once. One at a
 * time; a pause and its end go beside it, because they must not wait for a switchover.
 */

import type { Answer } from '../contract/api';
import { untilOf } from '../core/facts/hold';
import { Situation } from '../core/facts/situation';
import { addressOf } from '../core/facts/view';
import { foresee, refusalOf } from '../core/forecast';
import {
  type ClusterState,
  type Decision,
  isChanging,
  type Policy,
  standbyWorkOf,
  switchoverOf,
} from '../core/state/cluster';
import type { Observation, Request } from '../core/state/observation';
import type { Clock } from './ports';

/** Longer than all steps of a switchover together, ms. */
const ANSWER_LIMIT_MS = 90_000;

interface Pending {
  request: Request;
  askedAtMs: number;
  /** Term in which it was begun; null: not yet. */
  begunIn: number | null;
  /** Who led then. */
  from: string | null;
  /** Why it was aborted; null: it was not. */
  aborted: string | null;
  answer: (answer: Answer) => void;
}

type Slot = 'pending' | 'word';

export class Requests {
  private readonly clock: Clock;
  private readonly policy: Policy;
  private readonly wake: () => void;
  private pending: Pending | null = null;
  /** A pause, or its end. */
  private word: Pending | null = null;
  private state: ClusterState | null = null;
  private observation: Observation | null = null;

  constructor(parts: { clock: Clock; policy: Policy; wake: () => void }) {
    this.clock = parts.clock;
    this.policy = parts.policy;
    this.wake = parts.wake;
  }

  /** Resolves when it is done, refused, aborted, or still not done after a minute and a half. Never throws. */
  ask(request: Request): Promise<Answer> {
    const slot = slotOf(request);
    // The way out of a state in which writes wait is not held up by a request that cannot end in that state.
    if (request.kind === 'promote') this.finish(slot, false, `a later request took its place: promote ${request.to}`);
    if (this[slot] !== null) {
      return Promise.resolve(this.answerOf(0, false, 'another request is being carried out; ask again later'));
    }
    return new Promise((resolve) => {
      const askedAtMs = this.clock.nowMs();
      this[slot] = { request, askedAtMs, begunIn: null, from: null, aborted: null, answer: resolve };
      this.wake();
    });
  }

  /** What would come of it, by what was seen last. Does nothing. */
  dryRun(request: Request): Answer {
    const { state, observation, policy } = this;
    if (state === null || observation === null) return this.answerOf(0, false, 'the monitor is starting');
    const { done, message } = foresee(new Situation(state, observation, this.clock.nowMs(), policy), request);
    return this.answerOf(0, done, message);
  }

  /** What the next decision has to know of; a request that cannot be granted is refused at once. */
  before(state: ClusterState, observation: Observation, nowMs: number): Request | null {
    this.state = state;
    this.observation = observation;
    return this.next('word', observation, nowMs) ?? this.next('pending', observation, nowMs);
  }

  private next(slot: Slot, observation: Observation, nowMs: number): Request | null {
    const pending = this[slot];
    if (this.state === null || pending === null || pending.begunIn !== null) return null;
    const refusal = refusalOf(new Situation(this.state, observation, nowMs, this.policy), pending.request);
    if (refusal === null) return pending.request;
    this.finish(slot, false, refusal);
    return null;
  }

  /** After a decision was stored. */
  after(decision: Decision, observation: Observation, nowMs: number): void {
    this.state = decision.state;
    this.observation = observation;
    this.afterWord(decision);
    const { pending } = this;
    if (pending === null) return;
    if (nowMs - pending.askedAtMs > ANSWER_LIMIT_MS) {
      this.finish('pending', false, `it is still under way: ${decision.reason}`);
      return;
    }
    if (pending.request.kind === 'rebuild') this.afterRebuild(pending, decision);
    else this.afterChange(pending, decision, observation);
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

  /** Answered when the copy is ordered: how long it takes is a matter of its size. */
  private afterRebuild(pending: Pending, { state, code, reason }: Decision): void {
    if (code === 'REBUILD_ASKED') pending.begunIn = state.term;
    if (pending.begunIn === null) return;
    if (code === 'REBUILD_BEGUN') this.finish('pending', true, `${reason}; it is counted again when it streams`);
    else if (standbyWorkOf(state)?.kind !== 'rebuild') this.finish('pending', false, reason);
  }

  private afterChange(pending: Pending, decision: Decision, observation: Observation): void {
    const { state, code } = decision;
    if (code === 'SWITCHOVER_BEGUN') Object.assign(pending, { begunIn: state.term, from: state.leader });
    if (code === 'DATA_LOSS_ACCEPTED' || code === 'PROMOTE_ASKED') pending.begunIn = state.term - 1;
    if (code === 'SWITCHOVER_ABORTED') pending.aborted = decision.reason;
    if (pending.begunIn === null || switchoverOf(state) !== null || isChanging(state)) return;
    const address = addressOf(observation, state.leader ?? '');
    if (address === null || observation.haproxy.slot !== address) return;
    const to = 'to' in pending.request ? pending.request.to : null;
    const leader = state.leader ?? '';
    if (state.term === pending.begunIn || (to === null && leader === pending.from))
      this.finish('pending', false, pending.aborted ?? `${leader} goes on leading`);
    else if (to !== null && leader !== to)
      this.finish('pending', false, pending.aborted ?? `${leader} leads now instead of ${to}`);
    else this.finish('pending', true, this.success(leader, observation));
  }

  private success(leader: string, observation: Observation): string {
    const preferred = observation.declared[0]?.name ?? leader;
    const returns = this.policy.switchback && preferred !== leader && this.state?.pause === undefined;
    const rest = returns
      ? `; ${preferred} gets the lead back after ${this.policy.switchbackAfterMs / 1_000} s as a standby (switchback)`
      : '';
    return `${leader} leads now${rest}`;
  }

  private finish(slot: Slot, done: boolean, message: string): void {
    const pending = this[slot];
    this[slot] = null;
    pending?.answer(this.answerOf(this.clock.nowMs() - pending.askedAtMs, done, message));
  }

  private answerOf(tookMs: number, done: boolean, message: string): Answer {
    return {
      done,
      message,
      leader: this.state?.leader ?? null,
      term: this.state?.term ?? 0,
      tookMs: Math.round(tookMs),
    };
  }
}

function slotOf({ kind }: Request): Slot {
  return kind === 'pause' || kind === 'resume' ? 'word' : 'pending';
}
