/** What must hold after every decision. `decide`, the simulator and the chaos tests check it. */

import { lastEntry } from './facts/view';
import { type ClusterState, type Decision, planOf, serves, standbyWorkOf } from './state/cluster';

/** One sentence for each broken invariant; empty when all hold. */
export function violations(before: ClusterState, decision: Decision): string[] {
  const after = decision.state;
  const found: string[] = [];
  if (before !== after && after.seq <= before.seq) found.push(`the state changed but seq stayed at ${before.seq}`);
  if (after.term < before.term) found.push(`term fell from ${before.term} to ${after.term}`);
  found.push(...stateViolations(after));
  for (const action of decision.actions) {
    if (action.kind === 'route-write' && action.route.kind === 'open' && !mayBeOpen(after, action.route.node)) {
      const leader = `the opened leader of term ${after.term}`;
      found.push(`the write slot would be opened for ${action.route.node}, which is not ${leader}`);
    }
    if (action.kind === 'archive' && !mayArchive(after, action)) {
      found.push(
        `${action.node} may archive in term ${action.term}, but is not the opened leader of term ${after.term}`,
      );
    }
    if (action.kind === 'order' && action.order.term !== after.term) {
      found.push(`an order for ${action.node} carries term ${action.order.term}, the state's is ${after.term}`);
    }
    if (action.kind === 'order' && action.order.target.kind === 'restore' && action.node !== after.leader) {
      found.push(`${action.node} is ordered to restore, but the recorded leader is ${after.leader ?? 'no node'}`);
    }
    if (action.kind === 'order' && action.order.target.kind === 'lead' && action.node !== after.leader) {
      found.push(`${action.node} is ordered to lead, but the recorded leader is ${after.leader ?? 'no node'}`);
    }
  }
  return found;
}

function mayBeOpen(state: ClusterState, node: string): boolean {
  const entry = lastEntry(state);
  return serves(state) && state.leader === node && entry?.opened === true && entry.node === node;
}

function mayArchive(state: ClusterState, { node, term }: { node: string; term: number }): boolean {
  return mayBeOpen(state, node) && !state.adopting && term === state.term && lastEntry(state)?.term === term;
}

/** The invariants of one state, without the state before it. */
function stateViolations(state: ClusterState): string[] {
  const found: string[] = [];
  const entry = lastEntry(state);
  const ordered = state.joint.at(-1);
  if (state.leader !== null && state.activity.kind !== 'elect') {
    if (entry?.node !== state.leader) found.push(`leader ${state.leader} is not the newest entry of the ledger`);
    if (ordered?.leader !== state.leader)
      found.push(`the ordered sync configuration is not that of leader ${state.leader}`);
  }
  if (state.leader !== null && state.joint.length === 0) found.push('a leader without a recorded sync configuration');
  if (serves(state) && entry?.opened !== true) found.push('the leader serves but its ledger entry is not opened');
  const isWithoutLeader = state.activity.kind === 'empty' || state.activity.kind === 'bootstrap';
  if (isWithoutLeader !== (state.leader === null)) {
    found.push(`the activity is ${state.activity.kind} and the leader ${state.leader ?? 'no node'}`);
  }
  const plan = planOf(state);
  if (plan?.kind === 'switchover' && plan.to === state.leader)
    found.push(`a switchover to the leader ${plan.to} is prepared`);
  const work = standbyWorkOf(state);
  if (work !== null && work.node === state.leader) found.push(`the standby to work on is the leader ${work.node}`);
  for (const [i, { term }] of state.ledger.entries()) {
    if (term <= (state.ledger[i - 1]?.term ?? 0)) found.push(`the ledger's terms do not rise at term ${term}`);
  }
  for (const config of state.joint) {
    if (config.k > config.members.length) found.push(`a sync configuration waits for more members than it has`);
    if (config.members.includes(config.leader)) found.push(`${config.leader} is counted as a standby of itself`);
  }
  return found;
}
