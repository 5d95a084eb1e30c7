/** Makes the machine or its network slow, without a failure. Each function resolves with a function that ends it. */
import { spawn } from 'node:child_process';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../failover/contract/errors';
import { ended } from '../../scripts/lib/exec';
import { docker } from '../rig/docker';
import { buildGo } from '../rig/go';
import { addRules, type Ends, removeRules } from '../rig/packet-rules';
import { Program } from '../rig/program';
import { within } from '../rig/wait';

export type End = () => Promise<void>;

/** A higher priority than the stack's processes have, so that these get too little processor time. Needs root. */
export const NICE = -5;
const READY_LIMIT_MS = 10_000;
const QUEUE = 43;
const MARK = 'postgres-failover-soak';

/** Keeps every core busy with a process of higher priority. */
export async function starve(): Promise<End> {
  const burner = ['-n', String(NICE), process.execPath, '-e', 'for (;;);'];
  const children = cpus().map(() => spawn('nice', burner, { stdio: 'ignore' }));
  return async () => {
    const all = children.map(ended);
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(all);
  };
}

export interface Network {
  /** Longest delay of a packet, ms. */
  jitterMs: number;
  /** Part of the packets that is dropped, 0 to 1. */
  loss: number;
  /** Pairs of addresses between which packets are disturbed. */
  pairs: readonly Ends[];
}

/** Delays packets between the pairs at random, and drops some. */
export async function disturb({ jitterMs, loss, pairs }: Network): Promise<End> {
  const program = await buildGo(join(__dirname, 'network'), 'network');
  await mend();
  const args = ['-queue', String(QUEUE), '-jitter', `${jitterMs}ms`, '-loss', String(loss)];
  const running = new Program(program, args);
  await within('the packet program', READY_LIMIT_MS, running.firstLine).catch((error: unknown) => {
    throw new Error(`${messageOf(error)}; it needs root and nfnetlink_queue`);
  });
  // With --queue-bypass packets pass undisturbed when the program has ended.
  await addRules(MARK, pairs, ['-j', 'NFQUEUE', '--queue-num', String(QUEUE), '--queue-bypass']);
  return async () => {
    await mend();
    await running.stop();
  };
}

/** Removes the packet filter rules of this run and of runs that were killed. */
export async function mend(): Promise<void> {
  await removeRules(MARK);
}

/** Pauses a container every `everyMs` for `pauseMs`, and the third time for `longMs`. */
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
