/**
 * `npm run up [-- --stack NAME] [--fresh] [--leave-stopped] [pulumi's options]`: makes the whole stack so, whatever was
 * stopped or removed by hand, and prints its addresses once a write has gone through.
 */
import { asksForHelp, splitStack, takeFlag } from './lib/arguments';
import { closingLook, waitingFor } from './lib/closing-look';
import { runCommand } from './lib/command';
import { removeBuildContainers } from './lib/docker';
import type { Renewed } from './lib/fresh';
import { whereThingsAre } from './lib/guide';
import { mend, unlock } from './lib/mend';
import { refuseDuringRestore } from './lib/restore-guard';
import { runPulumi } from './lib/run-pulumi';
import { type Ready, setUp } from './lib/setup';
import { say } from './lib/terminal';

async function main(args: string[]): Promise<number> {
  const { stack, rest: all } = splitStack(args);
  const { isGiven: leaveStopped, rest: others } = takeFlag(all, '--leave-stopped');
  const { isGiven: fresh, rest } = takeFlag(others, '--fresh');
  const ready = await setUp(stack, 'deploy', { create: true });
  const up = ['up', '--stack', stack, '--yes', '--skip-preview', ...rest];
  if (asksForHelp(rest)) return runPulumi(ready, up);
  await unlock(ready);
  await refuseDuringRestore(ready);
  const renewed = fresh ? await renew(ready) : null;
  const { left, options } = await mend(ready, { leaveStopped });
  Object.assign(ready.env, waitingFor(left));
  const code = await runPulumi(ready, [...up, ...new Set([...options, ...(renewed?.options ?? [])])]);
  if (code === 0) await renewed?.end();
  await removeBuildContainers();
  if (code === 0) say(whereThingsAre(ready.info, await closingLook(ready, left)));
  return code;
}

async function renew(ready: Ready): Promise<Renewed> {
  // Loaded only here, because it needs much that an ordinary `up` does not need.
  const { renewImages } = await import('./lib/fresh.js');
  return renewImages(ready);
}

void runCommand(main);
