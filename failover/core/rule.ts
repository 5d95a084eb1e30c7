/** What a row of the table in rules.ts is. */
import type { RuleCode } from '../contract/codes';
import type { Situation } from './facts/situation';
import type { Action, Activity, ClusterState, Level } from './state/cluster';

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

type Kind = Activity['kind'];
type Match<K extends Kind> = (s: Situation, activity: Extract<Activity, { kind: K }>) => Plan | null;

/** A row's `match` that is asked only during this kind of activity. */
export function during<K extends Kind>(kind: K, match: Match<K>): Rule['match'] {
  const isOfKind = (activity: Activity): activity is Extract<Activity, { kind: K }> => activity.kind === kind;
  return (s) => (isOfKind(s.state.activity) ? match(s, s.state.activity) : null);
}
