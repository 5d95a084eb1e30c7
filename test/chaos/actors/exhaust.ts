/**
 * Takes connections to a node until it gives no more, says `full`, and keeps asking for what becomes free until
 * SIGTERM.
 *
 *     exhaust.ts <address> <connections at most>
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Connection, connect, drop, runUntilSigterm } from '../../rig/client';
import { STACK } from '../lib/stack';

const PORT = 5432;
const AGAIN_MS = 50;

const [address = '', most = '0'] = process.argv.slice(2);

async function take(running: () => boolean): Promise<void> {
  const held: Connection[] = [];
  let told = false;
  while (running()) {
    try {
      if (held.length >= Number(most)) throw new Error('as many as wanted');
      held.push(await connect({ ...STACK, host: address }, PORT));
    } catch {
      if (!told) process.stdout.write('full\n');
      told = true;
      await sleep(AGAIN_MS);
    }
  }
  for (const { client } of held) drop(client);
}

runUntilSigterm((running) => [take(running)]);
