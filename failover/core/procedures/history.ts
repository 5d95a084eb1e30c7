/**
 * Rows about data directories that stand before everything that depends on them, whatever the cluster is doing: a promotion by
 * hand has to be remembered also where no leader is there.
 */

import type { Rule } from '../rules';
import { leaderKnown, promotedByHand } from './members';

export const HISTORY_RULES: readonly Rule[] = [
  {
    code: 'PROMOTED_BY_HAND',
    why: 'PostgreSQL on a node became a primary without an order: its history is its own now, so it is fenced and copied anew.',
    match: (facts) => promotedByHand(facts),
  },
  {
    code: 'LEADER_KNOWN',
    why: 'The recorded leader has the data that the ledger names, and is missing among the members: it becomes one again.',
    match: (facts) => leaderKnown(facts),
  },
];
