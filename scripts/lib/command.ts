/** Runs every command: the one place that turns errors into messages and exit codes. */
import { messageOf } from '../../failover/contract/errors';
import { UsageError } from './arguments';
import { endAll } from './exec';
import { inForeground } from './foreground';
import { StepFailed } from './steps';
import { endWithReader, paint } from './terminal';

/** Exit code of a command that was interrupted: 128 + SIGINT. */
const INTERRUPTED = 130;

/** Exit code of a command with wrong arguments. */
const USAGE = 2;

/**
 * Runs a command's main function and ends the process with its exit code. Programs that set-up started in the
 * background are ended with it.
 */
export async function runCommand(main: (args: string[]) => Promise<number>): Promise<void> {
  const interrupted = () => {
    if (inForeground()) return;
    endAll();
    process.exit(INTERRUPTED);
  };
  // Pulumi must not lose its parent in the middle of a change.
  endWithReader(inForeground);
  process.on('SIGINT', interrupted);
  process.on('SIGTERM', interrupted);
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    // A failed step has shown its own message.
    if (!(error instanceof StepFailed)) process.stderr.write(`${paint('red', messageOf(error))}\n`);
    process.exitCode = error instanceof UsageError ? USAGE : 1;
  }
}
