/** `npm run preview [-- --stack NAME] [pulumi's options]`: shows what `up` would change. */
import { splitStack } from './lib/arguments';
import { runCommand } from './lib/command';
import { runPulumi } from './lib/run-pulumi';
import { setUp } from './lib/setup';

async function main(args: string[]): Promise<number> {
  const { stack, rest } = splitStack(args);
  const ready = await setUp(stack, 'deploy', { create: true });
  return runPulumi(ready, ['preview', '--stack', stack, ...rest]);
}

void runCommand(main);
