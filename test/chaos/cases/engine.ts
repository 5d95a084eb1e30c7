/** The Docker engine itself restarts: an engine of the matrix's own (`--engine`). */
import { setTimeout as sleep } from 'node:timers/promises';
import { endEngine, startEngine } from '../lib/engine';
import { crash, type Fault } from '../lib/trial';

const OFF_MS = 2_000;

function engine(name: string, about: string, signal: 'SIGTERM' | 'SIGKILL'): Fault {
  return crash(name, about, async () => {
    await endEngine(signal);
    await sleep(OFF_MS);
    await startEngine();
  });
}

export const ENGINE_FAULTS: readonly Fault[] = [
  engine('engine-restart', 'the Docker engine is stopped and started, as an upgrade of it does', 'SIGTERM'),
  engine('engine-crash', 'the Docker engine is killed and started', 'SIGKILL'),
];
