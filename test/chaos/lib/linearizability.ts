/** Builds and runs the checker of register histories (Porcupine, a Go module). */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { buildGo } from '../../rig/go';
import type { RegisterEvent } from './events';

const CHECK_LIMIT_MS = 180_000;

export interface History {
  verdict: 'linearizable' | 'violated' | 'undecided';
  message: string;
}

export type Checker = (events: readonly RegisterEvent[]) => Promise<History>;

/**
 * Builds the checker and runs its tests, which show that it finds wrong histories. @throws Error when there is no Go.
 */
export async function buildChecker(): Promise<Checker> {
  const program = await buildGo(join(__dirname, '..', 'linearize'), 'linearize');
  return (events) => check(program, events);
}

const VERDICTS = new Map<number, History['verdict']>([
  [0, 'linearizable'],
  [1, 'violated'],
]);

function check(program: string, events: readonly RegisterEvent[]): Promise<History> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, [], { stdio: ['pipe', 'pipe', 'inherit'], timeout: CHECK_LIMIT_MS });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.stdin.on('error', () => undefined); // The exit code shows the failure.
    child.once('error', reject);
    child.once('close', (code) =>
      resolve({ verdict: VERDICTS.get(code ?? -1) ?? 'undecided', message: output.trim() || `exit code ${code}` }),
    );
    child.stdin.end(events.map((event) => JSON.stringify(event)).join('\n'));
  });
}
