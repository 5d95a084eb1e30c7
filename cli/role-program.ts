/** The commands `role …` and `password …`. */
import type { Command } from 'commander';
import type { Common } from './commands';
import type { Io } from './io';
import { command, type Ended } from './program';
import type { CreateOptions, DropOptions, PasswordOptions } from './role';

/** Adds them. What they need is loaded only when one of them runs. */
export function roleCommands(program: Command, io: Io, ended: Ended): void {
  const role = program.command('role').description('roles for people and programs: create, list, password, drop');
  withPassword(command(role, io, 'create <name>', 'makes a role that may log in'))
    .option('--read-only', 'it reads everything in the database')
    .option('--read-write', 'it reads and writes every table, and changes no table’s form')
    .option('--owner', 'it may do what the database’s owner may')
    .option('--replication', 'as --read-only, and it may replicate: it logs in on replicationPort alone')
    .option('--database <name>', 'the database; without it, the stack’s own')
    .action(async (name: string, options: CreateOptions) =>
      ended(await (await import('./role.js')).roleCreate(io, name, options)),
    );
  command(role, io, 'list', 'the roles, and which of them may log in')
    .option('--json', 'as JSON')
    .action(async (options: Common & { json?: boolean }) =>
      ended(await (await import('./role.js')).roleList(io, options)),
    );
  withPassword(command(role, io, 'password <name>', 'gives a role another password')).action(
    async (name: string, options: PasswordOptions) =>
      ended(await (await import('./role.js')).rolePassword(io, name, options)),
  );
  command(role, io, 'drop <name>', 'removes a role with its rights')
    .option('--reassign <role>', 'the role that gets what it owns')
    .option('-y, --yes', 'do it without asking')
    .option('--dry-run', 'only say what would happen')
    .option('--json', 'the answer as JSON')
    .action(async (name: string, options: DropOptions) =>
      ended(await (await import('./role.js')).roleDrop(io, name, options)),
    );
  passwordCommands(program, io, ended);
}

function withPassword(added: Command): Command {
  return added
    .option('--password-stdin', 'reads the password from stdin; without it, one is generated and printed once')
    .option('--json', 'the answer as JSON');
}

function passwordCommands(program: Command, io: Io, ended: Ended): void {
  const password = program.command('password').description('the password of the stack’s own role, if SQL changed it');
  command(password, io, 'show', 'whether it is the program’s', true)
    .option('--json', 'as JSON')
    .action(async (options: Common & { json?: boolean }) =>
      ended(await (await import('./password.js')).passwordState(io, options)),
    );
  command(password, io, 'use-program', 'puts the program’s password in force again').action(async (options: Common) =>
    ended(await (await import('./password.js')).useProgram(io, options)),
  );
  command(
    password,
    io,
    'keep-database',
    'makes the password that SQL set the program’s; npm run up brings it everywhere',
  )
    .option('--password-stdin', 'reads that password from stdin')
    .action(async (options: Common & { passwordStdin?: boolean }) =>
      ended(await (await import('./password.js')).keepDatabase(io, options)),
    );
}
