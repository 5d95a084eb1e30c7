/** The command line: commands, options, help and exit codes. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { type Changing, type Common, events, pause, promote, rebuild, resume, status, switchover } from './commands';
import { EXIT, Failed } from './exit';
import type { Io } from './io';
import { waitForNode, waitServing } from './wait-serving';

const EVENTS_DEFAULT = 50;
const STACK_VARIABLE = 'PGFAILOVER_STACK';

const ENDS = `
Exit codes:
  0  done; status: writes go through; doctor: nothing is wrong
  1  refused, failed or not confirmed; status: writes do not go through; doctor: something is broken
  2  wrong arguments, or no such stack
  3  the monitor does not answer
  4  the token cannot be read, or the monitor does not take it
  5  doctor: it works, but something needs attention before the next fault`;

/**
 * Runs one command.
 * @param args without the program's own name.
 * @param more adds commands to those that need nothing but the monitor.
 * @returns its exit code; all messages for people were printed.
 */
export async function runCli(args: readonly string[], io: Io, more: More = () => {}): Promise<number> {
  let code: number = EXIT.ok;
  const ended = (end: number) => {
    code = end;
  };
  const program = makeProgram(io, ended, more);
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

/** Gets the exit code of the command that ran. */
export type Ended = (code: number) => void;
/** Adds commands. */
export type More = (program: Command, io: Io, ended: Ended) => void;

export function makeProgram(io: Io, ended: Ended, more: More): Command {
  const program = new Command('pgfailover');
  program
    .description('Shows and steers a stack: which node leads, which would take over, and changes of leader.')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.out(text.replace(/\n$/, '')),
      writeErr: (text) => io.err(text.replace(/\n$/, '')),
    })
    .showHelpAfterError('(--help shows what is possible)')
    .addHelpText('after', ENDS);
  readingCommands(program, io, ended);
  changingCommands(program, io, ended);
  more(program, io, ended);
  return program;
}

/** Adds a command for one of the stacks. Without a description help does not show it. `isDefault`: of its group. */
export function command(
  program: Command,
  { stack }: Io,
  usage: string,
  description: string | null,
  isDefault = false,
): Command {
  const added = program.command(usage, { hidden: description === null, isDefault }).description(description ?? '');
  if (stack === null) return added;
  return added.addOption(new Option('-s, --stack <name>', 'the stack').default(stack).env(STACK_VARIABLE));
}

function readingCommands(program: Command, io: Io, ended: Ended): void {
  command(program, io, 'status', 'which node leads, which would take over, how far each node is')
    .option('--watch', 'once a second, until Ctrl-C')
    .option('--json', 'as JSON; with --watch one object a line')
    .action(async (options: Common & { watch?: boolean; json?: boolean }) => ended(await status(io, options)));
  command(program, io, 'events', 'the newest events')
    .option('-f, --follow', 'also new events as they come, until Ctrl-C')
    .option('-n, --limit <count>', 'how many past events', count, EVENTS_DEFAULT)
    .option('--json', 'as JSON; with --follow one object a line')
    .action(async (options: Common & { follow?: boolean; limit: number; json?: boolean }) =>
      ended(await events(io, options)),
    );
  command(program, io, 'ca', 'the certificate that clients trust (sslrootcert), as PEM').action(
    async ({ stack }: Common) => io.out((await io.target(stack).caCertificate()).trimEnd()),
  );
  command(program, io, 'wait-serving [seconds]', 'ends when the cluster serves, and says what it waits for').action(
    async (seconds: string | undefined, options: Common) => ended(await waitServing(io, seconds, options)),
  );
  command(program, io, 'wait-node <node> [seconds]', null).action(
    async (node: string, seconds: string | undefined, options: Common) =>
      ended(await waitForNode(io, node, seconds, options)),
  );
}

function count(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a whole number.');
}

/** Adds a command that changes something. It shows what will happen and asks. */
function changing(program: Command, io: Io, usage: string, description: string): Command {
  return command(program, io, usage, description)
    .option('-y, --yes', 'do it without asking')
    .option('--dry-run', 'only say what would happen')
    .option('--json', 'the answer as JSON');
}

function changingCommands(program: Command, io: Io, ended: Ended): void {
  changing(
    program,
    io,
    'switchover [node]',
    'makes a standby the leader by a planned change; without a node, any that can take over',
  )
    .option('--to <node>', 'the node')
    .action(async (node: string | undefined, options: Changing & { to?: string }) => {
      if (node !== undefined && options.to !== undefined && node !== options.to)
        throw new Failed(EXIT.usage, `Two nodes are named, ${node} and ${options.to}: name one.`);
      ended(await switchover(io, { ...options, to: options.to ?? node }));
    });
  changing(program, io, 'pause', 'stops automatic changes of leader')
    .requiredOption('--reason <words>', 'the reason, which every command shows until the pause ends')
    .option('--for <duration>', 'ends the pause by itself, for example after 30m')
    .action(async (options: Changing & { reason: string; for?: string }) => ended(await pause(io, options)));
  changing(program, io, 'resume', 'lets automatic changes of leader happen again').action(async (options: Changing) =>
    ended(await resume(io, options)),
  );
  changing(program, io, 'rebuild <node>', 'removes a standby’s data and copies the leader’s').action(
    async (node: string, options: Changing) => ended(await rebuild(io, node, options)),
  );
  changing(program, io, 'promote <node>', 'makes a node the leader although acknowledged writes may be lost')
    .option('--accept-data-loss', 'confirms that acknowledged writes may be lost')
    .action(async (node: string, options: Changing & { acceptDataLoss?: boolean }) =>
      ended(await promote(io, node, options)),
    );
}
