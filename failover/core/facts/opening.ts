/** What has to be proven before HAProxy opens the write slot to a leader (S2, S9, S15). */

import type { Situation } from './situation';
import { isProven } from './sync-set';

/** True when this leader has passed the opening checks in this term, since HAProxy's last start. */
export function isCertified(s: Situation): boolean {
  const { certificate, haproxy } = s.observation;
  if (certificate === null || certificate.node !== s.state.leader) return false;
  return certificate.term === s.state.term && certificate.epoch === haproxy.epoch;
}

/**
 * True when the write slot is closed on every worker and no node but the next leader has a client session left (S2).
 */
export function isCutOff(s: Situation): boolean {
  const { reachable, closed, clean, keeping } = s.observation.haproxy;
  return reachable && closed && clean && keeping !== null && keeping === s.address(s.leader);
}

/**
 * True when the opening checks may be made: the node leads in this term and, unless it leads alone, its sync
 * configuration is in force (S9).
 */
export function mayCertify(s: Situation): boolean {
  // Earlier checks would only take processor time from the node's promotion.
  if (s.status(s.leader)?.lead?.term !== s.state.term) return false;
  return s.ordered?.k === 0 || isProven(s);
}
