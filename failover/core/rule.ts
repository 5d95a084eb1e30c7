/** What a row of the table in rules.ts is made of. */
import type { RuleCode } from '../contract/codes';
import type { Situation } from './facts/situation';
import type { Action, ClusterState, Level } from './state/cluster';

/** What a row wants: a changed state or none, further actions, and the sentence for people. */
export interface Plan {
  state?: ClusterState;
  actions?: Action[];
  reason: string;
  /** Where one row stands for several causes (why a leader was given up): the cause's code, and its level where that differs. */
  code?: RuleCode;
  level?: Level;
}

export interface Rule {
  id: string;
  code: RuleCode;
  level: Level;
  why: string;
  match: (s: Situation) => Plan | null;
}
