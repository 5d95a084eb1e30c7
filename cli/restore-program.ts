/** The command `restore`. */
import type { Command } from 'commander';
import { TARGET_ALLOWED } from '../failover/contract/restore';
import { EXIT, Failed } from './exit';
import type { Io } from './io';
import { command, type Ended } from './program';
import type { RestoreOptions } from './restore';
import { type InPlaceOptions, inPlaceOptions, runInPlace } from './restore-in-place-program';

/** Adds the command `restore`. The modules that it needs are loaded only when it runs. */
export function restoreCommand(program: Command, io: Io, ended: Ended): void {
  const restore = command(
    program,
    io,
    'restore',
    'brings the data of an earlier moment back: in a new stack beside this one, or --in-place',
  )
    .option('--to <moment>', "a time with its zone ('2026-01-31 12:00:05+07'), latest, or the label of a backup")
    .option('--new <name>', 'name of the new stack; without it, <stack>-restore-<time>')
    .option('--repository <name>', 'local or s3; without it local where that is there, else s3')
    .option('--replicas <number>', 'of the new stack; without it, as many as this one has')
    .option('--passphrase-stdin', 'reads backupPassphrase from stdin, for a stack whose outputs are lost')
    .option('--s3-stdin', 'reads place, key and passphrase from stdin, as "backup keys" prints them')
    .option('-y, --yes', 'do it without asking')
    .option('--dry-run', 'only say what would happen')
    .option('--json', 'the answer as JSON, at the end');
  inPlaceOptions(restore).action(async (options: Partial<RestoreOptions> & InPlaceOptions) => {
    const code = await runInPlace(io, options);
    if (code !== null) return ended(code);
    const { to } = options;
    if (to === undefined) throw new Failed(EXIT.usage, `Say what to restore: --to ${TARGET_ALLOWED}.`);
    ended(await (await import('./restore.js')).restore(io, { ...options, to }));
  });
}
