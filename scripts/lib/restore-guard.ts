/** `up` waits for the end of a restore in place: a node that is replaced in the middle of it would end it. */
import { z } from 'zod';
import { fromJson } from '../../failover/contract/json';
import { NAMES } from '../../stack/naming';
import { run } from './exec';
import type { Ready } from './setup';

const ASK_MS = 15_000;
const Shown = z.looseObject({ restore: z.looseObject({ underWay: z.string().nullable() }).optional() });

/**
 * @throws Error while a restore in place is under way. A monitor that does not answer runs no restore in
 * place either.
 */
export async function refuseDuringRestore({ info }: Pick<Ready, 'info'>): Promise<void> {
  const monitor = `${info.value('namePrefix', '')}${NAMES.monitor}`;
  const { stdout } = await run('docker', ['exec', monitor, 'pgfailover', 'status', '--json'], { deadlineMs: ASK_MS });
  const words = underWayIn(stdout);
  if (words !== null) throw new Error(`A restore in place is under way (${words}): run npm run up when it has ended.`);
}

/** What the status says of a restore in place; null: none is under way, or this is no status. */
export function underWayIn(status: string): string | null {
  return fromJson(Shown, status)?.restore?.underWay ?? null;
}
