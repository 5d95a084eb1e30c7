/** The commands that need this machine: its Docker engine, and the stack's files and outputs. */
import type { Command } from 'commander';
import type { JobOptions } from './backup';
import { backupKeysCommand } from './backup-keys';
import { backupCommands } from './backup-program';
import type { Common } from './commands';
import { bashCompletion, NODES_COMMAND, zshCompletion } from './completion';
import type { Io } from './io';
import { command, type Ended } from './program';
import { type PsqlOptions, psql } from './psql';
import { restoreCommand } from './restore-program';
import { roleCommands } from './role-program';

const TOKEN = `psql ends with psql's own code.

The token is read from the stack's secret outputs; PGFAILOVER_TOKEN gives another one, PGFAILOVER_URL another monitor.`;

/** Adds them to the program. */
export function hostCommands(program: Command, io: Io, ended: Ended): void {
  program.addHelpText('after', TOKEN);
  command(program, io, 'doctor', 'checks everything from the client’s port to each node: what is wrong, and what to do')
    .option('--json', 'as JSON')
    .option('--updates', 'also asks Debian’s archive for newer packages, PostgreSQL’s above all')
    .action(async (options: Common & { json?: boolean; updates?: boolean }) => {
      // Loaded only here, because it needs much that other commands do not need.
      const { doctor } = await import('./doctor/command.js');
      ended(await doctor(io, options));
    });
  command(
    program,
    io,
    'psql [node] [arguments...]',
    'psql through HAProxy, or as superuser inside a node; psql’s own options after --',
  )
    .option('--read-only', 'through the read port')
    .action(async (node: string | undefined, args: string[], options: PsqlOptions) => {
      // After `--` the first word is already an argument of psql.
      const own = node?.startsWith('-') === true;
      ended(await psql(io, own ? undefined : node, own && node !== undefined ? [node, ...args] : args, options));
    });
  const check = async (options: JobOptions) => (await import('./backup-check.js')).backupCheck(io, options);
  backupKeysCommand(backupCommands(program, io, ended, check), io, ended);
  restoreCommand(program, io, ended);
  roleCommands(program, io, ended);
  program
    .command('completion')
    .description('completion for your shell, for example: eval "$(pgfailover completion bash)"')
    .addArgument(program.createArgument('<shell>', 'bash or zsh').choices(['bash', 'zsh']))
    .action((shell: string) => io.out((shell === 'zsh' ? zshCompletion : bashCompletion)(program).trimEnd()));
  command(program, io, NODES_COMMAND, null).action(({ stack }: Common) => {
    for (const name of io.target(stack).nodes) io.out(name);
  });
}
