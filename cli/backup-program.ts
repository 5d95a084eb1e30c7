/** The commands `backup …`. */
import type { Command } from 'commander';
import type { BackupOptions, JobOptions, NowOptions } from './backup';
import type { ExitCode } from './exit';
import type { Io } from './io';
import { command, type Ended } from './program';

/** Tests a restore. It needs this machine's Docker engine. */
type Check = (options: JobOptions) => Promise<ExitCode>;

/** Adds them, and returns the command that they belong to. What they need is loaded only when one of them runs. */
export function backupCommands(program: Command, io: Io, ended: Ended, check?: Check): Command {
  const backup = program.command('backup').description('backups: status, list, now, verify');
  const add = (name: string, description: string, isDefault = false) =>
    command(backup, io, name, description, isDefault).option('--json', 'the answer as JSON');
  add('status', 'what a restore could reach, the last and the next run, the archive', true).action(
    async (options: BackupOptions) => ended(await (await import('./backup.js')).backupStatus(io, options)),
  );
  add('list', 'the backups, and the window of time that a restore can reach').action(async (options: BackupOptions) =>
    ended(await (await import('./backup.js')).backupList(io, options)),
  );
  const addJob = (name: string, description: string) =>
    add(name, description).option('--repository <name>', 'local or s3; without it the first place that the stack has');
  addJob('now', 'makes a backup of what has changed since the last one, and waits for its end')
    .option('--full', 'a backup of everything')
    .option('--diff', 'of what has changed since the last full one')
    .action(async (options: NowOptions) => ended(await (await import('./backup.js')).backupNow(io, options)));
  addJob('verify', 'reads the whole repository, and names what is damaged').action(async (options: JobOptions) =>
    ended(await (await import('./backup.js')).backupVerify(io, options)),
  );
  if (check === undefined) return backup;
  addJob('check', 'restores the newest backup in a container of its own, and reads all tables and indexes').action(
    async (options: JobOptions) => ended(await check(options)),
  );
  return backup;
}
