/** One cycle of the monitor as a pure function: what to store, what to do, and the sentence that says why. */

import { archiveActions, confirmActions } from './effects/archive';
import { adoptionTarget, deriveOrders } from './effects/orders';
import { routeActions } from './effects/route';
import { clientSlotsOf } from './facts/client-slots';
import { servingHealth } from './facts/health';
import { endOfRequest } from './facts/requests';
import { Situation } from './facts/situation';
import { violations } from './invariants';
import { RULES } from './rules';
import type { Action, ClusterState, Decision, Policy } from './state/cluster';
import type { Observation } from './state/observation';
import { change } from './transitions';

/** Makes a decision. Throws when the decision would break an invariant; the caller then carries out no part of it. */
export function decide(state: ClusterState, observation: Observation, nowMs: number, policy: Policy): Decision {
  const before = new Situation(state, observation, nowMs, policy);
  for (const rule of RULES) {
    const plan = rule.match(before);
    if (plan === null) continue;
    const ordered = before.with(deriveOrders(before.with(plan.state ?? state)));
    const after = ordered.with(withSlots(ordered.with(withEnd(ordered, plan.reason))));
    const decision: Decision = {
      state: after.state,
      actions: [
        ...(plan.actions ?? []),
        ...routeActions(after),
        ...orderActions(after),
        ...archiveActions(after),
        ...confirmActions(after),
      ],
      rule: rule.id,
      code: plan.code ?? rule.code,
      level: plan.level ?? rule.level,
      reason: plan.reason,
    };
    const broken = violations(state, decision);
    if (broken.length > 0) throw new Error(`${rule.id} would break an invariant: ${broken.join('; ')}`);
    return decision;
  }
  throw new Error('no rule matches; the last one has to match always');
}

/** Adds to the state which slots of people there are, if that has changed. */
function withSlots(s: Situation): ClusterState {
  const slots = clientSlotsOf(s);
  return slots === s.state.slots ? s.state : change(s.state, { slots });
}

/** Adds to the state how a person's request ended, once it has ended. */
function withEnd(s: Situation, reason: string): ClusterState {
  const ended = endOfRequest(s, reason);
  const { request } = s.state;
  return ended === null || request === undefined ? s.state : change(s.state, { request: { ...request, ended } });
}

/**
 * The orders to send, one to each connected node whose status is known. A leader that came back without serving gets no
 * order, because it must not be promoted again in a term in which it already led: every leader passes the same opening.
 */
function orderActions(s: Situation): Action[] {
  const actions: Action[] = [];
  const leaderIsDown = servingHealth(s)?.kind === 'down';
  for (const name of s.names) {
    const order = s.state.orders[name];
    // An order of an older term is not sent: by it, a node that comes back now would lead, or follow a former leader.
    if (order === undefined || order.term !== s.state.term || s.status(name) === null) continue;
    // While adopting, the stored state may be an old one, so its orders must reach no node (S10).
    if (s.state.adopting && adoptionTarget(s, name) === null) continue;
    if (leaderIsDown && name === s.state.leader) continue;
    actions.push({ kind: 'order', node: name, order });
  }
  return actions;
}
