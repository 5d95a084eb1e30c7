/** Derives findings from the facts, by the table of findings. Pure. */
import type { Facts } from './facts';
import { FINDINGS } from './findings';
import type { Finding } from './row';

/** Errors first; each group in the order of the chain from the client's port to the nodes. */
export function judge(facts: Facts): Finding[] {
  const findings = FINDINGS.find(facts);
  return [...findings.filter((f) => f.severity === 'error'), ...findings.filter((f) => f.severity === 'warning')];
}
