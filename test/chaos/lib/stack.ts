/** The fault matrix's own stack, and when it has to be brought up anew. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { containersOf } from '../../../scripts/lib/docker';
import { OwnStack, type Say } from '../../rig/stack';

/** Without a backend: the clients of the matrix speak SQL; the backend has its own tests. */
export const own = new OwnStack({ name: 'chaos', ports: 17_000, subnet: '10.98.30', config: { backend: 'false' } });
export const STACK = own.seen;
/** Everything that the matrix keeps: the stack's state, what is done, and each run's evidence. Not in the repository. */
export const FOLDER = own.folder;
export const HAPROXY = own.container('haproxy');
export const MONITOR = own.container('failover-monitor');
export const addressOf = (container: string): string => own.addressOf(container);

/** Says what the running stack was brought up from, so that it is not done again for nothing. */
const STAMP = join(FOLDER, 'stack.txt');

/** `npm run up` of the stack, unless it runs with this many replicas from this very tree already. */
export async function bringUp(tree: string, replicas: number, say: Say): Promise<void> {
  const stamp = `${tree} ${replicas}`;
  const runs = (await containersOf(own.label)).length === replicas + 3;
  if (runs && existsSync(STAMP) && readFileSync(STAMP, 'utf8') === stamp) return;
  rmSync(STAMP, { force: true });
  own.configure({ replicas });
  await own.up(say).catch(async (error: unknown) => {
    // An earlier run may have been killed in the middle of it, and then the stack is locked: it holds nothing of worth.
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
