/**
 * `npm run up [-- --stack NAME] [--leave-stopped] [pulumi's options]`: makes the whole stack so, whatever was stopped or
 * removed by hand, and prints its addresses once a write has gone through.
 */
import { asksForHelp, splitStack, takeFlag } from './lib/arguments';
import { closingLook, waitingFor } from './lib/closing-look';
import { runCommand } from './lib/command';
import { removeBuildContainers } from './lib/docker';
import { whereThingsAre } from './lib/guide';
import { mend, unlock } from './lib/mend';
import { runPulumi } from './lib/run-pulumi';
import { setUp } from './lib/setup';
import { say } from './lib/terminal';

async function main(args: string[]): Promise<number> {
  const { stack, rest: all } = splitStack(args);
  const { isGiven: leaveStopped, rest } = takeFlag(all, '--leave-stopped');
  const ready = await setUp(stack, 'deploy', { create: true });
  const up = ['up', '--stack', stack, '--yes', '--skip-preview', ...rest];
  if (asksForHelp(rest)) return runPulumi(ready, up);
  await unlock(ready);
  const { left, options } = await mend(ready, { leaveStopped });
  Object.assign(ready.env, waitingFor(left));
  const code = await runPulumi(ready, [...up, ...options]);
  await removeBuildContainers();
  if (code === 0) say(whereThingsAre(ready.info, await closingLook(ready, left)));
  return code;
}

void runCommand(main);
