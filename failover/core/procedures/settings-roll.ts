/**
 * Rows that restart nodes for settings that need it, one at a time (S23). Standbys restart first, then another node
 * gets the lead. This order fits a raised `max_connections` and similar settings, whose value on a standby must be at
 * least the leader's (PostgreSQL manual, "Hot Standby", "Administrator's Overview"). If such a setting is lowered, the
 * leader restarts in place first, then the standbys. A standby leaves the sync configuration before it restarts, so
 * that no write waits for it. If anything goes wrong, the roll stops and the other nodes stay as they are.
 */

import type { SettingsStatus } from '../../contract/messages';
import { canLeadAgain } from '../facts/candidates';
import { holdOf } from '../facts/hold';
import { clusterTrouble, isCounted, STOP_LIMIT_MS, switchoverTarget } from '../facts/readiness';
import { isReportReplica } from '../facts/reports';
import type { Situation } from '../facts/situation';
import { isReady, wantedConfig } from '../facts/sync-set';
import { list } from '../facts/view';
import { during, type Plan } from '../rule';
import { planOf, type StandbyRestart, standbyWorkOf } from '../state/cluster';
import { change, giveUp, prepare, promoteNext, workOn } from '../transitions';
import { preparedTrouble } from './switchover';

/** Time between an attempt that was called off and the next one, ms. */
const REST_MS = 2_000;

/** Rows of a restart that has begun while the leader still serves. */
export function settingsAborted(s: Situation): Plan | null {
  const standby = standbyRestart(s);
  const why = standby !== null ? standbyTrouble(s, standby) : restartTrouble(s);
  if (why === null) return null;
  const state = standby !== null ? workOn(s.state, null) : prepare(s.state, null);
  return { state, reason: `${why}; nothing is restarted for its settings now` };
}

export function settingsStandbyRestarts(s: Situation): Plan | null {
  const work = standbyRestart(s);
  if (work?.stage !== 'leave' || s.state.joint.length !== 1 || wantedConfig(s, true) !== null) return null;
  const state = workOn(s.state, { ...work, stage: 'restart' });
  return { state, reason: `${work.node} restarts with the new settings` };
}

export function settingsApplied(s: Situation): Plan | null {
  const work = standbyRestart(s);
  if (work?.stage !== 'restart') return null;
  const { node } = work;
  const settings = settingsOf(s, node);
  if (!s.isDone(node) || settings?.restart !== 'none') return null;
  const state = workOn(s.state, null);
  if (settings.refused === null) return { state, reason: `${node} runs with the new settings` };
  const reason = `${node} does not start with ${settings.refused}; no other node is restarted`;
  return { state, code: 'SETTINGS_REFUSED', reason };
}

export function restartPrepared(s: Situation): Plan | null {
  const plan = planOf(s.state);
  const { leader } = s;
  if (plan?.kind !== 'restart') return null;
  if (plan.stage === 'prepare' && s.isDone(leader)) {
    const state = prepare(s.state, { kind: 'restart', stage: 'hold' });
    return { state, reason: `${leader} is ready to restart; new connections are held` };
  }
  const { reachable, closed } = s.observation.haproxy;
  if (plan.stage !== 'hold' || s.state.joint.length !== 1 || !reachable || !closed) return null;
  const state = change(s.state, { activity: { kind: 'restart' } });
  return { state, reason: `${leader} lets its clients finish, stops, and starts with the new settings` };
}

/** Rows that begin a restart for settings, when nothing else has to be done. */
export function settingsStandbyLeaves(s: Situation): Plan | null {
  const step = stepNow(s);
  if (step?.kind !== 'standby') return null;
  const state = workOn(s.state, { kind: 'restart', node: step.node, stage: 'leave' });
  return { state, reason: restartNeed(s, step.node) };
}

export function settingsSwitchover(s: Situation): Plan | null {
  if (stepNow(s)?.kind !== 'switchover' || s.stepMs < REST_MS) return null;
  const target = switchoverTarget(s, null);
  if (!('node' in target)) return null;
  const state = prepare(s.state, { kind: 'switchover', to: target.node, by: 'settings', stage: 'prepare' });
  return { state, reason: `${restartNeed(s, s.leader)}: it hands over to ${target.node}` };
}

export function restartBegun(s: Situation): Plan | null {
  if (stepNow(s)?.kind !== 'in-place' || s.stepMs < REST_MS) return null;
  const state = prepare(s.state, { kind: 'restart', stage: 'prepare' });
  return { state, reason: `${restartNeed(s, s.leader)}: it writes a checkpoint first` };
}

/** Rows while the leader restarts. */
export const restarted = during('restart', (s) => {
  const { leader } = s;
  if (!s.isDone(leader)) return null;
  if (s.status(leader)?.postgres.state !== 'stopped' || !canLeadAgain(s)) return null;
  const state = promoteNext(s, leader, 'SETTINGS_RESTART');
  return { state, reason: `${leader} has stopped and leads again in term ${state.term}` };
});

export const restartAborted = during('restart', (s) => {
  const { leader } = s;
  const view = s.view(leader);
  const postgres = view.status?.postgres.state;
  const overdue = s.stepMs >= STOP_LIMIT_MS;
  if (overdue && postgres === 'stopping' && view.connected) {
    const next = giveUp(s, 'SETTINGS_ABORTED');
    return next && { state: next.state, reason: `${leader} does not stop, so it is given up` };
  }
  const lost = !view.connected || view.silentMs >= s.policy.hangTimeoutMs || view.status?.stopping === true;
  const stopped = postgres === 'stopped' && s.hasAccepted(leader);
  const unfit = stopped && view.status?.done === true && !canLeadAgain(s);
  if (!lost && !unfit && !(overdue && postgres === 'primary')) return null;
  const why = lost || unfit ? `${leader} is lost` : `${leader} did not stop within ${STOP_LIMIT_MS} ms`;
  const state = change(s.state, { activity: { kind: 'serving' } });
  return { state, reason: `${why} while it was to restart for its settings` };
});

export const restarting = during('restart', (s) => {
  return { reason: `${s.leader} shuts down cleanly and starts again with the new settings` };
});

type Step = { kind: 'standby'; node: string } | { kind: 'switchover' | 'in-place' };

/**
 * The next restart. Null when none is needed, when a node is not ready for one, or when a node refuses its settings.
 */
function stepNow(s: Situation): Step | null {
  if (standbyRestart(s) !== null || planOf(s.state) !== null || s.state.joint.length !== 1) return null;
  if (clusterTrouble(s) !== null || s.observation.retiring !== undefined) return null;
  const others = s.names.filter((n) => n !== s.leader);
  const own = settingsOf(s, s.leader);
  if (own === null || own.refused !== null) return null;
  for (const node of others) {
    const settings = settingsOf(s, node);
    if (settings === null || settings.refused !== null) return null;
    if (!isReady(s, node) || !(isCounted(s, node) || isReportReplica(s, node))) return null;
  }
  const standby = others.find((n) => settingsOf(s, n)?.restart !== 'none');
  if (standby !== undefined) return { kind: 'standby', node: standby };
  // During a hold standbys may restart, but the leader must stay up and keep the lead.
  if (own.restart === 'none' || holdOf(s) !== null) return null;
  return { kind: own.restart === 'in-place' || others.length === 0 ? 'in-place' : 'switchover' };
}

/** The node's settings as its keeper reported them; null when they are not known, which means neither yes nor no. */
function settingsOf(s: Situation, node: string): SettingsStatus | null {
  return s.status(node)?.settings ?? null;
}

/** Which settings the node has to restart for, as a sentence. */
function restartNeed(s: Situation, node: string): string {
  return `${node} needs a restart for ${list(settingsOf(s, node)?.pending ?? [])}`;
}

/** Says which settings are not in force on every node; null when all are. */
export function settingsReason(s: Situation): string | null {
  const work = standbyWorkOf(s.state);
  if (planOf(s.state)?.kind === 'restart') return `${s.leader} is restarted for its settings`;
  if (work?.kind === 'restart') return `${work.node} is restarted for its settings`;
  for (const node of s.names) {
    const refused = settingsOf(s, node)?.refused ?? null;
    if (refused !== null) return `${node} does not start with ${refused}`;
  }
  const waiting = s.names.filter((n) => (settingsOf(s, n)?.restart ?? 'none') !== 'none');
  if (waiting.length === 0) return null;
  const settings = [...new Set(waiting.flatMap((n) => settingsOf(s, n)?.pending ?? []))];
  return `${list(settings)} ${settings.length === 1 ? 'waits' : 'wait'} for a restart of ${list(waiting)}`;
}

function standbyRestart(s: Situation): StandbyRestart | null {
  const work = standbyWorkOf(s.state);
  return work?.kind === 'restart' ? work : null;
}

function standbyTrouble(s: Situation, { node, stage }: StandbyRestart): string | null {
  if (!s.isDeclared(node) || node === s.state.leader) return `${node} is no standby any more`;
  return stage === 'leave' && !s.view(node).connected ? `${node} is off` : null;
}

/** Why the prepared restart of the leader is called off; null when it goes on, or when none is prepared. */
function restartTrouble(s: Situation): string | null {
  const plan = planOf(s.state);
  if (plan?.kind !== 'restart') return null;
  return holdOf(s)?.words ?? preparedTrouble(s, plan.stage, 'new connections could not be held');
}
