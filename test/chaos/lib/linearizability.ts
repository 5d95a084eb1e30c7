/** Builds the checker of histories (Porcupine, a Go module) into the user's cache folder and asks it. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { buildGo } from '../../rig/go';
import type { RegisterEvent } from './events';

const CHECK_LIMIT_MS = 180_000;

export interface History {
  verdict: 'linearizable' | 'violated' | 'undecided';
  words: string;
}

export type Checker = (events: readonly RegisterEvent[]) => Promise<History>;

/** Its own tests show that it finds bad histories. @throws Error when there is no Go. */
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
    let words = '';
    child.stdout.on('data', (chunk: Buffer) => {
      words += chunk.toString();
    });
    child.stdin.on('error', () => undefined); // Its exit code tells.
    child.once('error', reject);
    child.once('close', (code) =>
      resolve({ verdict: VERDICTS.get(code ?? -1) ?? 'undecided', words: words.trim() || `exit code ${code}` }),
    );
    child.stdin.end(events.map((event) => JSON.stringify(event)).join('\n'));
  });
}
