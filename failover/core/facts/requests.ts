/**
 * Follows a person's request from beginning to end. The state remembers it, so that a restarted monitor knows how it
 * ended.
 */
import {
  type ClusterState,
  isChanging,
  restoreOf,
  type StoredRequest,
  standbyWorkOf,
  switchoverOf,
} from '../state/cluster';
import type { Situation } from './situation';

/** What the state remembers of the request that begins now. */
export function begunRequest(s: Situation): { request?: StoredRequest } {
  const { request } = s.observation;
  if (request?.id === undefined) return {};
  if (request.kind === 'pause' || request.kind === 'resume' || request.kind === 'confirm') return {};
  const { leader, term } = s.state;
  if (request.kind === 'restore' || request.kind === 'undo') {
    return { request: { id: request.id, kind: request.kind, from: leader, term } };
  }
  const node = request.kind === 'rebuild' ? request.node : (request.to ?? undefined);
  return { request: { id: request.id, kind: request.kind, node, from: leader, term } };
}

/** Marks the request that is under way, if any, as called off. */
export function abortedRequest({ request }: ClusterState, reason: string): { request?: StoredRequest } {
  return request === undefined || request.ended !== undefined ? {} : { request: { ...request, aborted: reason } };
}

type End = NonNullable<StoredRequest['ended']>;

/** How the request that is under way has ended; null when it has not ended, or when there is none. */
export function endOfRequest(s: Situation, reason: string): End | null {
  const { request, term } = s.state;
  if (request === undefined || request.ended !== undefined) return null;
  if (request.kind === 'rebuild') return endOfRebuild(s.state, request, reason);
  if (switchoverOf(s.state) !== null || restoreOf(s.state) !== null || isChanging(s.state)) return null;
  const { leader } = s;
  const address = s.address(leader);
  if (address === null || s.observation.haproxy.slot !== address) return null;
  const failed = (message: string) => ({ done: false, message: request.aborted ?? message });
  if (request.kind === 'restore' || request.kind === 'undo') {
    if (request.aborted !== undefined || leader !== request.from) return failed(`${leader} leads now instead`);
    const what = request.kind === 'undo' ? 'the data from before the restore' : 'the restored data';
    return { done: true, message: `${leader} leads with ${what}; the other nodes are copied anew` };
  }
  if (term === request.term || (request.node === undefined && leader === request.from)) {
    return failed(`${leader} goes on leading`);
  }
  if (request.node !== undefined && leader !== request.node) {
    return failed(`${leader} leads now instead of ${request.node}`);
  }
  return { done: true, message: `${leader} leads now${returnOf(s)}` };
}

/** The request for a rebuild ends when the copy is ordered, because the copy itself may take hours. */
function endOfRebuild(state: ClusterState, { node = '' }: StoredRequest, reason: string): End | null {
  if (standbyWorkOf(state)?.kind === 'rebuild') return null;
  const replaced = state.rebuild[node];
  const isOrdered = replaced !== undefined && state.rebuildAsked?.[node] === replaced;
  return { done: isOrdered, message: isOrdered ? `${reason}; it is counted again when it streams` : reason };
}

/** Adds to the sentence that the lead will go back to the preferred node by itself, if it will. */
function returnOf(s: Situation): string {
  const preferred = s.names[0] ?? s.leader;
  if (!s.policy.switchback || preferred === s.leader || s.state.pause !== undefined) return '';
  return `; ${preferred} gets the lead back after ${s.policy.switchbackAfterMs / 1_000} s as a standby (switchback)`;
}
