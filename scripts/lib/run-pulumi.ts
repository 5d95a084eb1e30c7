/** Runs Pulumi on this terminal. Prints one line that names the CLI, and explains what a killed run left behind. */
import { runForeground } from './foreground';
import { lockHint } from './locks';
import { PATHS } from './paths';
import type { Ready } from './setup';
import { paint, say } from './terminal';

/**
 * Runs Pulumi and returns its exit code. `silent`: does not name the CLI, so that other programs can use the output.
 */
export async function runPulumi(
  ready: Ready,
  args: readonly string[],
  options: { silent?: boolean } = {},
): Promise<number> {
  if (!options.silent) say(paint('dim', `  ${ready.cli.description}: pulumi ${args.join(' ')}`));
  const code = await runForeground(ready.cli.command, args, { cwd: PATHS.root, env: ready.env });
  const hint = code === 0 ? null : lockHint(ready.info);
  if (hint) process.stderr.write(`${paint('yellow', hint)}\n`);
  return code;
}
