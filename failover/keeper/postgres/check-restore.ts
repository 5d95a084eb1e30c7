/**
 * The command `check-restore`: tests a restore with what standard input says, and prints the result as one JSON object.
 * Exit code 0: the backup can be restored; 1: it cannot.
 */
import { text } from 'node:stream/consumers';
import { PATHS } from '../../contract/layout';
import { RestoreTestInput } from '../../contract/restore-test';
import { testRestore } from './restore-test';

/** Folder of the copy, in the container of a test. */
export const SCRATCH = `${PATHS.nodeVolume}/restore-test`;

/** Runs the command. Resolves with its exit code. */
export async function checkRestore(say: (line: string) => void, log: (line: string) => void): Promise<number> {
  const input = RestoreTestInput.parse(JSON.parse(await text(process.stdin)));
  const abort = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => abort.abort());
  const parts = { scratch: SCRATCH, memory: PATHS.archiveRun, signal: abort.signal, tell: log };
  const result = await testRestore(input, parts);
  say(JSON.stringify(result));
  return result.result === 'done' ? 0 : 1;
}
