/** The option `--to` of `restore`. */
import type { RestoreTarget } from '../failover/contract/backups';
import { parseTarget, TARGET_ALLOWED } from '../failover/contract/restore';
import { EXIT, Failed } from './exit';

/** Reads `--to`. @throws Failed (usage) */
export function targetOf(text: string): RestoreTarget {
  const target = parseTarget(text);
  if (target !== undefined) return target;
  throw new Failed(EXIT.usage, `--to ${JSON.stringify(text)} is refused; it must be ${TARGET_ALLOWED}.`);
}
