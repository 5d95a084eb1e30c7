/**
 * Settings that need a restart of PostgreSQL: who is next (SAFETY S23). Standbys go first, one at a time, so that each has
 * at least what the leader has; then another node gets the lead. What a standby must not have less of than its leader is
 * raised that way, and lowered by the leader alone: it restarts in place, and its standbys may follow.
 */
import type { SettingsStatus } from '../../contract/messages';
import type { ClusterState, Observation, Policy } from '../state/cluster';
import { isCounted } from './readiness';
import { isReady } from './sync-set';
import { list, statusOf } from './view';

export type Step = { kind: 'standby'; node: string } | { kind: 'switchover' } | { kind: 'in-place' };

/** Null: not known, so nothing is concluded from it. */
export function settingsOf(observation: Observation, node: string): SettingsStatus | null {
  return statusOf(observation, node)?.settings ?? null;
}

/** The next restart, where every node is ready for it; null when there is none, or a node refuses its settings. */
export function nextStep(state: ClusterState, observation: Observation, nowMs: number, policy: Policy): Step | null {
  const { leader } = state;
  if (leader === null || observation.retiring !== undefined) return null;
  const others = observation.declared.map((d) => d.name).filter((n) => n !== leader);
  const own = settingsOf(observation, leader);
  if (own === null || own.refused !== null) return null;
  for (const node of others) {
    const settings = settingsOf(observation, node);
    if (settings === null || settings.refused !== null) return null;
    if (!isReady(state, observation, node, nowMs, policy) || !isCounted(state, node, policy)) return null;
  }
  const standby = others.find((n) => settingsOf(observation, n)?.restart !== 'none');
  if (standby !== undefined) return { kind: 'standby', node: standby };
  if (own.restart === 'none') return null;
  return own.restart === 'in-place' || others.length === 0 ? { kind: 'in-place' } : { kind: 'switchover' };
}

/** What people should know of settings that are not in force everywhere; null when all are. */
export function settingsReason(state: ClusterState, observation: Observation): string | null {
  if (state.restart !== undefined) return `${state.restart.node} is restarted for its settings`;
  const names = observation.declared.map((d) => d.name);
  for (const node of names) {
    const refused = settingsOf(observation, node)?.refused ?? null;
    if (refused !== null) return `${node} does not start with ${refused}`;
  }
  const waiting = names.filter((n) => (settingsOf(observation, n)?.restart ?? 'none') !== 'none');
  if (waiting.length === 0) return null;
  const settings = [...new Set(waiting.flatMap((n) => settingsOf(observation, n)?.pending ?? []))];
  return `${list(settings)} ${settings.length === 1 ? 'waits' : 'wait'} for a restart of ${list(waiting)}`;
}
