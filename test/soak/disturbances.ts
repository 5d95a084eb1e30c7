/** What makes a machine and its network slow, without anything having failed. Each resolves with how to end it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ended } from '../../scripts/lib/exec';
import { docker } from '../rig/docker';
import { buildGo } from '../rig/go';
import { addRules, type Ends, removeRules } from '../rig/packet-rules';
import { linesOf } from '../rig/program';

export type End = () => Promise<void>;

/** Above the product's own priority, so that it is starved. Needs root. */
export const NICE = -5;
const READY_LIMIT_MS = 10_000;
const QUEUE = 43;
const MARK = 'postgres-failover-soak';

/** Every core is busy with something else that goes first. */
export async function starve(): Promise<End> {
  const burner = ['-n', String(NICE), process.execPath, '-e', 'for (;;);'];
  const children = cpus().map(() => spawn('nice', burner, { stdio: 'ignore' }));
  return () => endAll(children);
}

export interface Network {
  /** Longest delay of a packet, ms, and the part that is lost. */
  jitterMs: number;
  loss: number;
  /** Pairs of addresses that talk to each other. */
  pairs: readonly Ends[];
}

/** Packets between the pairs come late, at random, or not at all. */
export async function disturb({ jitterMs, loss, pairs }: Network): Promise<End> {
  const program = await buildGo(join(__dirname, 'network'), 'network');
  await mend();
  const child = spawn(program, ['-queue', String(QUEUE), '-jitter', `${jitterMs}ms`, '-loss', String(loss)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await ready(child);
  // With the program gone, packets pass: nothing stays cut.
  await addRules(MARK, pairs, ['-j', 'NFQUEUE', '--queue-num', String(QUEUE), '--queue-bypass']);
  return async () => {
    await mend();
    await endAll([child]);
  };
}

/** Removes every rule with our mark, also of a run that was killed. */
export async function mend(): Promise<void> {
  await removeRules(MARK);
}

/** Pauses a container again and again: `pauseMs`, and `longMs` once after a few times. */
export async function pauses(container: string, everyMs: number, pauseMs: number, longMs: number): Promise<End> {
  const stop = new AbortController();
  const rest = (ms: number) => sleep(ms, undefined, { signal: stop.signal }).catch(() => undefined);
  const loop = async () => {
    for (let n = 1; !stop.signal.aborted; n++) {
      await rest(everyMs);
      if (stop.signal.aborted) return;
      await docker('pause', container);
      await rest(n === 3 ? longMs : pauseMs);
      await docker('unpause', container);
    }
  };
  const ended = loop();
  ended.catch(() => undefined);
  return () => {
    stop.abort();
    return ended;
  };
}

async function ready(child: ChildProcess): Promise<void> {
  const told = new Promise<void>((resolve, reject) => {
    linesOf(child, () => resolve());
    child.once('error', reject);
    child.once('close', () => reject(new Error('the packet program ended at once; it needs root and nfnetlink_queue')));
  });
  const late = sleep(READY_LIMIT_MS, undefined, { ref: false }).then(() => {
    throw new Error('the packet program is not ready');
  });
  await Promise.race([told, late]);
}

async function endAll(children: readonly ChildProcess[]): Promise<void> {
  const all = children.map(ended);
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(all);
}
