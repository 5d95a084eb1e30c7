/**
 * Tells people what would happen if the leader died now, or if a request were carried out. It uses the same functions
 * as `decide`, so the forecast and the later decision cannot differ. Pure.
 */

import type { ClusterStatus } from '../contract/api';
import { targetWords } from '../contract/restore';
import { isAsynchronous, mostAdvanced, nodesOf, pick } from './facts/candidates';
import { leaderHealth } from './facts/health';
import { holdOf, mayTakeOverAsked, untilOf } from './facts/hold';
import { lossOf, overrideRefusal } from './facts/loss';
import { DRAIN_MS, switchoverTarget } from './facts/readiness';
import { restoreRefusal } from './facts/restores';
import type { Situation } from './facts/situation';
import { list } from './facts/view';
import { oldTransactionMs } from './facts/watch';
import { pauseRefusal, resumeRefusal } from './procedures/pause';
import { isLastCounted, rebuildRefusal } from './procedures/rebuild';
import { serves } from './state/cluster';
import type { Request } from './state/observation';

type Forecast = ClusterStatus['ifLeaderDied'];

/**
 * What would happen if the leader died now: the node that takes over, and whether acknowledged writes would be lost.
 */
export function ifLeaderDied(s: Situation): Forecast {
  const { leader } = s.state;
  if (s.state.adopting) return noNode('no node takes over before every declared node was heard', 'unknown');
  if (leader === null) return noNode('there is no leader yet', 'unknown');
  if (!serves(s.state))
    return noNode('the lead is changing now; the next leader is known when that is over', 'unknown');
  const choice = pick(s, false);
  if (choice.kind === 'none') {
    const loss = s.state.joint.every((c) => c.k > 0) ? 'none' : 'possible';
    return noNode(`no node takes over: ${choice.missing}; what only ${leader} has is lost if its data is`, loss);
  }
  const nodes = nodesOf(choice);
  const next = mostAdvanced(s, nodes, undefined);
  const who = nodes.length === 1 ? `${next} takes over` : `the most advanced of ${list(nodes)} takes over, now ${next}`;
  const asynchronous = isAsynchronous(s);
  const loss = asynchronous ? 'possible' : 'none';
  const what = asynchronous
    ? `what ${leader} acknowledged last may be lost, at most ${s.policy.maxLagBytes} bytes as far as is known`
    : 'nothing that was acknowledged is lost';
  const hold = holdOf(s);
  if (hold !== null) {
    const would = who.replace('takes over', 'would');
    return noNode(`no node takes over, because ${hold.words}: writes wait; without that ${would}`, loss);
  }
  const dying = leaderHealth(s).kind === 'stopping' ? `${leader} is being stopped: ` : '';
  return { sentence: `${dying}${who}, and ${what}`, takesOver: next, loss };
}

function noNode(sentence: string, loss: Forecast['loss']): Forecast {
  return { sentence, takesOver: null, loss };
}

/** Says in one sentence what this request would do, or why it is refused. Does nothing. */
export function foresee(s: Situation, request: Request): { done: boolean; message: string } {
  const { leader } = s;
  switch (request.kind) {
    case 'switchover': {
      const target = switchoverTarget(s, request.to);
      if (!('node' in target)) return { done: false, message: target.refusal };
      const message = `${leader} would hand over to ${target.node}: new connections are held for a moment; transactions that run then have ${DRAIN_MS / 1_000} s to end and are rolled back after that (${oldTransactions(s)}); all sessions on ${leader} and the read sessions on ${target.node} end; unlogged tables are emptied; nothing else that was acknowledged is lost`;
      return { done: true, message };
    }
    case 'promote': {
      const loss = mayTakeOverAsked(s, request.to)
        ? ', and nothing that was acknowledged is lost'
        : `; ${lossOf(s, request.to)}`;
      return unless(overrideRefusal(s, request), `${request.to} would be promoted${loss}`);
    }
    case 'pause': {
      const what = `no node would take over from ${leader} by itself ${untilOf(request.pause)}`;
      return unless(pauseRefusal(s.state), `${what}; standbys go on, and switchover and promote still work`);
    }
    case 'resume': {
      const what = `the leader would be changed automatically again; the pause was: ${s.state.pause?.reason ?? ''}`;
      return unless(resumeRefusal(s.state), what);
    }
    case 'restore': {
      const what = `${leader} would be restored in place to ${targetWords(request.target)}: PostgreSQL is down meanwhile, new connections wait (holdTimeout) and then fail, running transactions have ${DRAIN_MS / 1_000} s; what was written after that moment is no longer in the database; the data of now are kept until restore --confirm, and restore --undo brings them back; all other nodes are copied anew`;
      return unless(restoreRefusal(s, request), what);
    }
    case 'undo': {
      const what = `the data from before the restore to ${s.state.restored?.words ?? ''} would come back on ${leader}: PostgreSQL is down for a moment; what was written since the restore is removed from the disks, and only the backups have it; all other nodes are copied anew`;
      return unless(restoreRefusal(s, request), what);
    }
    case 'confirm':
      return unless(
        restoreRefusal(s, request),
        `the data from before the restore to ${s.state.restored?.words ?? ''} would be removed; then restore --undo is not possible any more`,
      );
    case 'rebuild': {
      const meanwhile = isLastCounted(s, request.node)
        ? `until it streams again ${leader} is alone, and no node could take over`
        : 'the others acknowledge meanwhile';
      const what = `the data of ${request.node} would be thrown away once a fresh copy from ${leader} is complete`;
      return unless(rebuildRefusal(s, request.node), `${what}; ${meanwhile}`);
    }
  }
}

/** What has run on the leader for longer than a second, in words. */
function oldTransactions(s: Situation): string {
  const ageMs = oldTransactionMs(s);
  const { oldTransactions: count = 1 } = s.status(s.leader)?.lead ?? {};
  return `older than a second now: ${ageMs === null ? 'none' : `${count}, the oldest has run for ${Math.round(ageMs / 1_000)} s`}`;
}

function unless(refusal: string | null, outcome: string): { done: boolean; message: string } {
  return { done: refusal === null, message: refusal ?? outcome };
}
