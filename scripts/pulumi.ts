/**
 * `npm run pulumi -- <anything>`: any Pulumi command, with the same CLI and environment as `npm run up`, on the dev
 * stack unless `--stack` names another one.
 */
import { withStack } from './lib/arguments';
import { runCommand } from './lib/command';
import { runPulumi } from './lib/run-pulumi';
import { setUp } from './lib/setup';

/** Commands that run the program and need the same parts as the program. */
const RUNS_PROGRAM = new Set(['up', 'update', 'preview', 'pre', 'watch', 'import']);
/** Commands that remove or refresh resources, so the engine must answer. */
const TALKS_TO_DOCKER = new Set(['destroy', 'down', 'refresh']);

async function main(args: string[]): Promise<number> {
  const call = withStack(args);
  const need = RUNS_PROGRAM.has(call.command)
    ? 'deploy'
    : TALKS_TO_DOCKER.has(call.command)
      ? 'destroy'
      : call.needsStack
        ? 'state'
        : 'cli';
  const ready = await setUp(call.stack, need, { silent: true, create: call.creates });
  return runPulumi(ready, call.args, { silent: true });
}

void runCommand(main);
