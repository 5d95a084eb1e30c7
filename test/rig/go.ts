/** Builds programs in Go that tests use, into the user's cache folder. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { runOk } from '../../scripts/lib/exec';
import { cacheFolder } from '../../scripts/lib/paths';

const BUILD_LIMIT_MS = 300_000;

/** Runs the program's own tests, builds it and returns its path. @throws Error when there is no Go. */
export async function buildGo(source: string, name: string): Promise<string> {
  const folder = join(cacheFolder(), name);
  mkdirSync(folder, { recursive: true });
  const program = join(folder, name);
  const options = { cwd: source, deadlineMs: BUILD_LIMIT_MS };
  await runOk('go', ['test', './...'], options);
  await runOk('go', ['build', '-trimpath', '-o', program, '.'], options);
  return program;
}
