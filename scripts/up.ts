/**
 * `npm run up [-- --stack NAME] [pulumi's options]`: prepares and deploys the whole stack, then prints its addresses.
 */
import { asksForHelp, splitStack } from './lib/arguments';
import { runCommand } from './lib/command';
import { whereThingsAre } from './lib/guide';
import { lockHint } from './lib/locks';
import { runPulumi } from './lib/run-pulumi';
import { setUp } from './lib/setup';
import { say } from './lib/terminal';

async function main(args: string[]): Promise<number> {
  const { stack, rest } = splitStack(args);
  const ready = await setUp(stack, 'deploy', { create: true });
  const locked = lockHint(ready.info);
  if (locked) throw new Error(locked);
  const code = await runPulumi(ready, ['up', '--stack', stack, '--yes', '--skip-preview', ...rest]);
  if (code === 0 && !asksForHelp(rest)) say(whereThingsAre(ready.info));
  return code;
}

void runCommand(main);
