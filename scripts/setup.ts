/** `npm run setup [-- --stack NAME]`: prepares everything that the program needs, so that plain `pulumi up` works. */
import { splitStack, UsageError } from './lib/arguments';
import { runCommand } from './lib/command';
import { exportLine } from './lib/pulumi-cli';
import { setUp } from './lib/setup';
import { paint, say } from './lib/terminal';

async function main(args: string[]): Promise<number> {
  const { stack, rest } = splitStack(args);
  if (rest.length > 0) throw new UsageError(`setup does not know ${rest.join(' ')}; allowed: --stack NAME`);
  const { cli, env } = await setUp(stack, 'deploy', { create: true });
  say(`Pulumi: ${cli.description}`);
  say('For plain `pulumi up` in this shell:');
  say(paint('bold', `  ${exportLine(cli, env)}`));
  return 0;
}

void runCommand(main);
