/** Types of the rows of the table in rules.ts. */
import type { RuleCode } from '../contract/codes';
import type { Situation } from './facts/situation';
import type { Action, ClusterState, Level } from './state/cluster';

/** What a matching row wants: a changed state or none, further actions, and the sentence for people. */
export interface Plan {
  state?: ClusterState;
  actions?: Action[];
  reason: string;
  /**
   * Set where one row stands for several causes (why a leader was given up): the code of the cause, and its level if it
   * differs.
   */
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
