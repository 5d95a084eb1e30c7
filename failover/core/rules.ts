/**
 * The failover rule as one ordered table: the first row that matches decides. Each row's code is the same in log, page,
 * metrics and scenarios; `why` is the row in one sentence, and `match` returns null or what is to be done.
 * Transitions are in plan.ts, orders and routes are derived in orders.ts and route.ts.
 */
import type { Health } from './facts/health';
import { ADOPTION_RULES } from './procedures/adopt';
import { HISTORY_RULES } from './procedures/history';
import { OVERRIDE_RULES } from './procedures/override';
import { PAUSE_RULES } from './procedures/pause';
import { PROCEDURE_RULES } from './procedures/promotion';
import { SERVING_RULES } from './procedures/serving';
import type { Action, ClusterState, Observation, Policy } from './state/cluster';

/** Everything that a row may look at. */
export interface Facts {
  state: ClusterState;
  observation: Observation;
  nowMs: number;
  policy: Policy;
  /** The leader's health while it is supposed to serve; null during a procedure and before the first leader. */
  health: Health | null;
}

/** What a row wants: a changed state or none, further actions, and the sentence for people. */
export interface Plan {
  state?: ClusterState;
  actions?: Action[];
  reason: string;
  /** Where one row stands for several causes (why a leader was given up): the cause's code. */
  code?: string;
}

export interface Rule {
  code: string;
  why: string;
  match: (facts: Facts) => Plan | null;
}

export const RULES: readonly Rule[] = [
  ...PAUSE_RULES,
  ...OVERRIDE_RULES,
  ...ADOPTION_RULES,
  ...HISTORY_RULES,
  ...PROCEDURE_RULES,
  ...SERVING_RULES,
];
