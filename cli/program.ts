/** The command line: commands, options, help and exit codes. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { DEFAULT_STACK } from '../scripts/lib/stack';
import { type Changing, type Common, events, pause, promote, rebuild, resume, status, switchover } from './commands';
import { bashCompletion, NODES_COMMAND, zshCompletion } from './completion';
import { EXIT, Failed } from './exit';
import type { Io } from './io';
import { type PsqlOptions, psql } from './psql';
import { nodeNames } from './target';

const EVENTS_DEFAULT = 50;
const STACK_VARIABLE = 'PGFAILOVER_STACK';

const ENDS = `
Exit codes:
  0  done; status: writes go through; doctor: nothing is wrong
  1  refused, failed or not confirmed; status: writes do not go through; doctor: something is broken
  2  wrong arguments, or no such stack
  3  the monitor does not answer
  4  the token cannot be read, or the monitor does not take it
  5  doctor: it works, but something needs attention before the next fault
psql ends with psql's own code.

The token is read from the stack's secret outputs; PGFAILOVER_TOKEN gives another one, PGFAILOVER_URL another monitor.`;

/**
 * Runs one command.
 * @param args without the program's own name.
 * @returns its exit code; all messages for people were printed.
 */
export async function runCli(args: readonly string[], io: Io): Promise<number> {
  let code: number = EXIT.ok;
  const program = makeProgram(io, (ended) => {
    code = ended;
  });
  try {
    await program.parseAsync(args.length === 0 ? ['--help'] : [...args], { from: 'user' });
    return code;
  } catch (error) {
    // Commander has printed its message already. Help is not a failure.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (!(error instanceof Failed)) throw error;
    io.err(io.paint('red', error.message));
    if (error.code === EXIT.unreachable) io.err('What is wrong, and what to do: npm run failover -- doctor');
    return error.code;
  }
}

/** @param ended gets the exit code of the command that ran. */
export function makeProgram(io: Io, ended: (code: number) => void): Command {
  const program = new Command('pgfailover');
  program
    .description('Shows and steers a stack: who leads, who would take over, and changes of leader.')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.out(text.replace(/\n$/, '')),
      writeErr: (text) => io.err(text.replace(/\n$/, '')),
    })
    .showHelpAfterError('(--help shows what is possible)')
    .addHelpText('after', ENDS);
  readingCommands(program, io, ended);
  changingCommands(program, io, ended);
  shellCommands(program, io, ended);
  return program;
}

type Ended = (code: number) => void;

function command(program: Command, usage: string, description: string): Command {
  return program.command(usage).description(description).addOption(stackOption());
}

function stackOption(): Option {
  return new Option('-s, --stack <name>', 'the stack').default(DEFAULT_STACK).env(STACK_VARIABLE);
}

function readingCommands(program: Command, io: Io, ended: Ended): void {
  command(program, 'status', 'who leads, who would take over, how far each node is')
    .option('--watch', 'once a second, until Ctrl-C')
    .option('--json', 'as JSON; with --watch one object a line')
    .action(async (options: Common & { watch?: boolean; json?: boolean }) => ended(await status(io, options)));
  command(program, 'events', 'the newest events')
    .option('-f, --follow', 'and those that come, until Ctrl-C')
    .option('-n, --limit <count>', 'how many of the past', count, EVENTS_DEFAULT)
    .option('--json', 'as JSON; with --follow one object a line')
    .action(async (options: Common & { follow?: boolean; limit: number; json?: boolean }) =>
      ended(await events(io, options)),
    );
  command(program, 'doctor', 'checks everything from the client’s port to each node: what is wrong, and what to do')
    .option('--json', 'as JSON')
    .action(async (options: Common & { json?: boolean }) => {
      // Loaded only here, because it needs much that other commands do not need.
      const { doctor } = await import('./doctor/command.js');
      ended(await doctor(io, options));
    });
}

function count(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a whole number.');
}

/** Adds a command that changes something. It shows what will happen and asks. */
function changing(program: Command, usage: string, description: string): Command {
  return command(program, usage, description)
    .option('-y, --yes', 'do it without asking')
    .option('--dry-run', 'only say what would happen')
    .option('--json', 'the answer as JSON');
}

function changingCommands(program: Command, io: Io, ended: Ended): void {
  changing(program, 'switchover', 'makes a standby the leader, as planned')
    .option('--to <node>', 'which one; else whichever can take over')
    .action(async (options: Changing & { to?: string }) => ended(await switchover(io, options)));
  changing(program, 'pause', 'stops automatic changes of leader')
    .requiredOption('--reason <words>', 'shown to everybody until it ends')
    .option('--for <duration>', 'it ends by itself, for example after 30m')
    .action(async (options: Changing & { reason: string; for?: string }) => ended(await pause(io, options)));
  changing(program, 'resume', 'lets automatic changes of leader happen again').action(async (options: Changing) =>
    ended(await resume(io, options)),
  );
  changing(program, 'rebuild <node>', 'throws a standby’s data away and copies it anew from the leader').action(
    async (node: string, options: Changing) => ended(await rebuild(io, node, options)),
  );
  changing(program, 'promote <node>', 'makes a node the leader although acknowledged writes may be lost')
    .option('--accept-data-loss', 'that is understood')
    .action(async (node: string, options: Changing & { acceptDataLoss?: boolean }) =>
      ended(await promote(io, node, options)),
    );
}

function shellCommands(program: Command, io: Io, ended: Ended): void {
  command(
    program,
    'psql [node] [arguments...]',
    'psql through HAProxy, or as superuser inside a node; its own options after --',
  )
    .option('--read-only', 'through the read port')
    .action(async (node: string | undefined, args: string[], options: PsqlOptions) => {
      // After `--` the first word is already an argument of psql.
      const own = node?.startsWith('-') === true;
      ended(await psql(io, own ? undefined : node, own && node !== undefined ? [node, ...args] : args, options));
    });
  program
    .command('completion')
    .description('completion for your shell, for example: eval "$(pgfailover completion bash)"')
    .addArgument(program.createArgument('<shell>', 'bash or zsh').choices(['bash', 'zsh']))
    .action((shell: string) => io.out((shell === 'zsh' ? zshCompletion : bashCompletion)(program).trimEnd()));
  program
    .command(NODES_COMMAND, { hidden: true })
    .addOption(stackOption())
    .action(({ stack }: Common) => {
      for (const name of nodeNames(io.target(stack).info)) io.out(name);
    });
}
