/** One cycle of the monitor as a pure function: what is to be remembered and done, and the sentence that says why. */

import { adoptionTarget, deriveOrders } from './effects/orders';
import { routeActions } from './effects/route';
import { leaderHealth } from './facts/health';
import { statusOf } from './facts/view';
import { violations } from './invariants';
import { type Facts, RULES } from './rules';
import type { Action, ClusterState, Decision, Observation, Policy } from './state/cluster';

/** Decides. Throws when the decision would break an invariant: the caller must then do nothing of it. */
export function decide(state: ClusterState, observation: Observation, nowMs: number, policy: Policy): Decision {
  const health =
    state.leader !== null && state.procedure === null ? leaderHealth(state, observation, nowMs, policy) : null;
  const facts: Facts = { state, observation, nowMs, policy, health };
  for (const rule of RULES) {
    const plan = rule.match(facts);
    if (plan === null) continue;
    const next = deriveOrders(plan.state ?? state, observation, nowMs, policy);
    const after =
      next.leader !== null && next.procedure === null ? leaderHealth(next, observation, nowMs, policy) : null;
    const actions = [
      ...(plan.actions ?? []),
      ...routeActions(next, observation, after, policy),
      ...orderActions(next, observation, after !== null && after.kind === 'down'),
    ];
    const decision: Decision = { state: next, actions, code: plan.code ?? rule.code, reason: plan.reason };
    const broken = violations(state, decision);
    if (broken.length > 0) throw new Error(`${decision.code} would break an invariant: ${broken.join('; ')}`);
    return decision;
  }
  throw new Error('no rule matches; the last one has to match always');
}

/**
 * Orders for every node that is connected and has told its status. A leader that came back without serving gets none:
 * it must not be promoted again in the term that it already led (one way to open).
 */
function orderActions(state: ClusterState, observation: Observation, leaderIsDown: boolean): Action[] {
  const actions: Action[] = [];
  for (const { name } of observation.declared) {
    const order = state.orders[name];
    // An order of an older term is history: a node that comes back in between must not lead or follow by it.
    if (order === undefined || order.term !== state.term || statusOf(observation, name) === null) continue;
    // An old store's orders must reach nobody (S10).
    if (state.adopting && adoptionTarget(observation, name) === null) continue;
    if (leaderIsDown && name === state.leader) continue;
    actions.push({ kind: 'order', node: name, order });
  }
  return actions;
}
