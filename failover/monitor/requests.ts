/**
 * What a person asked for over HTTP: handed to the loop, watched until it is done or has failed, answered once. One at a
 * time.
 */
import { switchoverTarget } from '../core/handover';
import { overrideRefusal } from '../core/rules-override';
import type { ClusterState, Decision, Observation, Policy, Request } from '../core/types';
import { addressOf } from '../core/view';
import type { Clock } from './ports';

/** Longer than all steps of a switchover together, ms. */
const ANSWER_LIMIT_MS = 90_000;

export interface Answer {
  done: boolean;
  /** One sentence. */
  message: string;
  leader: string | null;
  term: number;
  tookMs: number;
}

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

export class Requests {
  private readonly clock: Clock;
  private readonly policy: Policy;
  private readonly wake: () => void;
  private pending: Pending | null = null;
  private state: ClusterState | null = null;

  constructor(parts: { clock: Clock; policy: Policy; wake: () => void }) {
    this.clock = parts.clock;
    this.policy = parts.policy;
    this.wake = parts.wake;
  }

  /** Resolves when it is done, refused, aborted, or still not done after a minute and a half. Never throws. */
  ask(request: Request): Promise<Answer> {
    if (this.pending !== null) {
      return Promise.resolve(this.answerOf(0, false, 'another request is being carried out; ask again later'));
    }
    return new Promise((resolve) => {
      const askedAtMs = this.clock.nowMs();
      this.pending = { request, askedAtMs, begunIn: null, from: null, aborted: null, answer: resolve };
      this.wake();
    });
  }

  /** What the next decision has to know of; a request that cannot be granted is refused at once. */
  before(state: ClusterState, observation: Observation, nowMs: number): Request | null {
    this.state = state;
    const { pending } = this;
    if (pending === null || pending.begunIn !== null) return null;
    const refusal = this.refusal(pending.request, state, observation, nowMs);
    if (refusal === null) return pending.request;
    this.finish(false, refusal);
    return null;
  }

  private refusal(request: Request, state: ClusterState, observation: Observation, nowMs: number): string | null {
    if (request.kind === 'promote') return overrideRefusal(state, observation, nowMs, this.policy, request);
    const target = switchoverTarget(state, observation, nowMs, this.policy, request.to);
    return 'node' in target ? null : target.refusal;
  }

  /** After a decision was stored. */
  after(decision: Decision, observation: Observation, nowMs: number): void {
    this.state = decision.state;
    const { pending } = this;
    if (pending === null) return;
    const { state } = decision;
    if (decision.code === 'SWITCHOVER_BEGUN') Object.assign(pending, { begunIn: state.term, from: state.leader });
    if (decision.code === 'DATA_LOSS_ACCEPTED') pending.begunIn = state.term - 1;
    if (decision.code === 'SWITCHOVER_ABORTED') pending.aborted = decision.reason;
    if (nowMs - pending.askedAtMs > ANSWER_LIMIT_MS) {
      this.finish(false, `it is still under way: ${decision.reason}`);
      return;
    }
    if (pending.begunIn === null || state.switchover !== undefined || state.procedure !== null) return;
    const address = addressOf(observation, state.leader ?? '');
    if (address === null || observation.haproxy.slot !== address) return;
    const { to } = pending.request;
    const leader = state.leader ?? '';
    if (state.term === pending.begunIn || (to === null && leader === pending.from))
      this.finish(false, pending.aborted ?? `${leader} goes on leading`);
    else if (to !== null && leader !== to)
      this.finish(false, pending.aborted ?? `${leader} leads now instead of ${to}`);
    else this.finish(true, this.success(leader, observation));
  }

  private success(leader: string, observation: Observation): string {
    const preferred = observation.declared[0]?.name ?? leader;
    const rest =
      this.policy.switchback && preferred !== leader
        ? `; ${preferred} gets the lead back after ${this.policy.switchbackAfterMs / 1_000} s as a standby (switchback)`
        : '';
    return `${leader} leads now${rest}`;
  }

  private finish(done: boolean, message: string): void {
    const { pending } = this;
    this.pending = null;
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
