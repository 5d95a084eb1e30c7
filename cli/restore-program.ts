/** The command `restore`. */
import type { Command } from 'commander';
import type { Io } from './io';
import { command, type Ended } from './program';
import type { RestoreOptions } from './restore';

/** Adds it. What it needs is loaded only when it runs. */
export function restoreCommand(program: Command, io: Io, ended: Ended): void {
  command(program, io, 'restore', 'makes a new stack beside this one from its backups, as of a moment')
    .requiredOption(
      '--to <moment>',
      "a time with its zone ('2026-01-31 12:00:05+07'), latest, or the label of a backup",
    )
    .option('--new <name>', 'name of the new stack; without it, <stack>-restore-<time>')
    .option('--passphrase-stdin', 'reads backupPassphrase from stdin, for a stack whose outputs are lost')
    .option('-y, --yes', 'do it without asking')
    .option('--dry-run', 'only say what would happen')
    .option('--json', 'the answer as JSON, at the end')
    .action(async (options: RestoreOptions) => ended(await (await import('./restore.js')).restore(io, options)));
}
