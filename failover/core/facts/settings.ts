/**
 * Decides which node restarts next for settings that need it (S23). Standbys go first, one at a time, so that
 * each has at least what the leader has; then another node gets the lead. A setting that a standby must not have less
 * of than its leader can be raised that way. To lower it the leader restarts in place first, and its standbys may
 * follow.
 */

import type { SettingsStatus } from '../../contract/messages';
import { planOf, standbyWorkOf } from '../state/cluster';
import { isCounted } from './readiness';
import type { Situation } from './situation';
import { isReady } from './sync-set';
import { list } from './view';

export type Step = { kind: 'standby'; node: string } | { kind: 'switchover' } | { kind: 'in-place' };

/** The node's settings as its keeper reported them; null when they are not known, and then nothing may be concluded. */
export function settingsOf(s: Situation, node: string): SettingsStatus | null {
  return s.status(node)?.settings ?? null;
}

/**
 * The next restart. Null when none is needed, when a node is not ready for one, or when a node refuses its settings.
 */
export function nextStep(s: Situation): Step | null {
  const { leader } = s.state;
  if (leader === null || s.observation.retiring !== undefined) return null;
  const others = s.names.filter((n) => n !== leader);
  const own = settingsOf(s, leader);
  if (own === null || own.refused !== null) return null;
  for (const node of others) {
    const settings = settingsOf(s, node);
    if (settings === null || settings.refused !== null) return null;
    if (!isReady(s, node) || !isCounted(s, node)) return null;
  }
  const standby = others.find((n) => settingsOf(s, n)?.restart !== 'none');
  if (standby !== undefined) return { kind: 'standby', node: standby };
  if (own.restart === 'none') return null;
  return own.restart === 'in-place' || others.length === 0 ? { kind: 'in-place' } : { kind: 'switchover' };
}

/** Which settings the node has to restart for, as a sentence. */
export function restartNeed(s: Situation, node: string): string {
  return `${node} needs a restart for ${list(settingsOf(s, node)?.pending ?? [])}`;
}

/** Tells people about settings that are not in force on every node; null when all are. */
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
