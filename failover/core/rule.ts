/** The type of a row of the table in rules.ts. */
import type { RuleCode } from '../contract/codes';
import type { Situation } from './facts/situation';
import type { Action, Activity, ClusterState, Level } from './state/cluster';

/** What a matching row decides: a changed state (absent: unchanged), further actions, and the sentence for people. */
export interface Plan {
  state?: ClusterState;
  actions?: Action[];
  reason: string;
  /**
   * Code of the cause, for a row that stands for several causes (for example `leader-lost`), and the level of that code
   * if it differs from the row's. Absent: those of the row.
   */
  code?: RuleCode;
  level?: Level;
}

/** A row. rules.ts explains its fields. */
export interface Rule {
  id: string;
  code: RuleCode;
  level: Level;
  why: string;
  match: (s: Situation) => Plan | null;
}

type Kind = Activity['kind'];
type Match<K extends Kind> = (s: Situation, activity: Extract<Activity, { kind: K }>) => Plan | null;

/** Makes a `match` that returns null during every other kind of activity. */
export function during<K extends Kind>(kind: K, match: Match<K>): Rule['match'] {
  const isOfKind = (activity: Activity): activity is Extract<Activity, { kind: K }> => activity.kind === kind;
  return (s) => (isOfKind(s.state.activity) ? match(s, s.state.activity) : null);
}
