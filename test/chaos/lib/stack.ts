/** The fault matrix's own stack, which is brought up again only when the product or the number of replicas changed. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { containersOf } from '../../../scripts/lib/docker';
import { OwnStack, type Say } from '../../rig/stack';

/** It has no backend, because the clients of the matrix speak SQL. */
export const own = new OwnStack({ name: 'chaos', ports: 17_000, subnet: '10.98.30', config: { backend: 'false' } });
export const STACK = own.seen;
/** Folder of the stack's state, the progress and each run's evidence. It is not in the repository. */
export const FOLDER = own.folder;
export const HAPROXY = own.container('haproxy');
export const MONITOR = own.container('failover-monitor');
export const addressOf = (container: string): string => own.addressOf(container);

/** Names the tree and the number of replicas from which the running stack was brought up. */
const STAMP = join(FOLDER, 'stack.txt');

/** Runs `npm run up`, unless the stack already runs from this tree with this number of replicas. */
export async function bringUp(tree: string, replicas: number, say: Say): Promise<void> {
  const stamp = `${tree} ${replicas}`;
  const runs = (await containersOf(own.label)).length === replicas + 3;
  if (runs && existsSync(STAMP) && readFileSync(STAMP, 'utf8') === stamp) return;
  rmSync(STAMP, { force: true });
  own.configure({ replicas });
  await own.up(say).catch(async (error: unknown) => {
    // A run that was killed during `up` leaves Pulumi's stack locked. The stack has no data to keep, so it is removed.
    say(`${String(error)}\nOnce more, from nothing.`);
    await own.down(say);
    await own.up(say);
  });
  writeFileSync(STAMP, stamp);
}

export async function takeDown(say: Say): Promise<void> {
  rmSync(STAMP, { force: true });
  await own.down(say);
}
