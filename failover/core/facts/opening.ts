/** What has to be proven before HAProxy opens the leader to clients (S2, S9, S15). */

import type { Situation } from './situation';
import { isProven } from './sync-set';

/** True when the opening checks were passed by this leader in this term, since HAProxy's last start. */
export function isCertified(s: Situation): boolean {
  const certificate = s.observation.certificate;
  return (
    certificate !== null &&
    certificate.node === s.state.leader &&
    certificate.term === s.state.term &&
    certificate.epoch === s.observation.haproxy.epoch
  );
}

/** The slot is closed everywhere and nobody but the next leader has a session left (S2). */
export function isCutOff(s: Situation): boolean {
  const address = s.address(s.leader);
  const { reachable, closed, clean, keeping } = s.observation.haproxy;
  return reachable && closed && clean && address !== null && keeping === address;
}

/** The checks may be made: the node leads in this term; alone needs no standby, else the configuration has to be in force (S9). */
export function mayCertify(s: Situation): boolean {
  const ordered = s.state.joint.at(-1);
  // Not earlier: asking a node again and again takes time from its promotion.
  if (s.state.leader === null || s.status(s.state.leader)?.lead?.term !== s.state.term) return false;
  return ordered?.k === 0 || isProven(s);
}
