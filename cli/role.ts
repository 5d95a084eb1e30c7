/**
 * `role create`, `role list`, `role password` and `role drop`. They run psql as superuser inside the leader's container
 * (superuser.ts): the database has no role that may make others and that gets in over the network
 * (docs/decisions/0025-roles.md).
 */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { oneLine } from '../failover/contract/log-line';
import { verifierOf } from '../failover/contract/scram';
import { type Changing, type Common, clientOf, confirmed, tellNotices } from './commands';
import { EXIT, type ExitCode, Failed } from './exit';
import type { Io } from './io';
import {
  type Access,
  changePassword,
  createRole,
  DATABASES,
  dropRole,
  emptyRole,
  inDatabase,
  isOwn,
  lockRole,
  nameProblem,
  OWNER,
  RoleRow,
  rolesQuery,
} from './role-statements';
import { asSuperuser } from './superuser';
import type { Target } from './target';

/**
 * Limit of one script, ms. The limit of its statements is shorter, so PostgreSQL's own message about a slow statement
 * comes first.
 */
const SCRIPT_MS = 30_000;
/** Settings of a script's session. The commit waits for a standby, like a client's. */
const SETTINGS = {
  synchronous_commit: 'on',
  statement_timeout: '20s',
  lock_timeout: '5s',
  // A statement that fails is not logged: it may have a verifier in it.
  log_min_error_statement: 'panic',
};
const PASSWORD_BYTES = 18;
const PASSWORD_CHARS_MAX = 1_024;
const SALT_BYTES = 16;

export interface CreateOptions extends Common {
  readOnly?: boolean;
  readWrite?: boolean;
  owner?: boolean;
  replication?: boolean;
  database?: string;
  passwordStdin?: boolean;
  json?: boolean;
}
export type PasswordOptions = Common & Pick<CreateOptions, 'passwordStdin' | 'json'>;
export interface DropOptions extends Changing {
  reassign?: string;
}

/** The stack and its leader. */
interface Place {
  io: Io;
  target: Target;
  leader: string;
}

/** Makes a role with rights in one database. Prints a generated password once. */
export async function roleCreate(io: Io, name: string, options: CreateOptions): Promise<ExitCode> {
  const access = accessOf(options);
  mustBeName(name);
  const place = await placeOf(io, options);
  const { info } = place.target;
  const database = options.database ?? info.value('databaseName', 'app');
  const application = info.value('databaseUser', 'app');
  const { owner, barred } = await ownerOf(place, database);
  if (access === 'owner' && barred)
    throw new Failed(
      EXIT.failed,
      `The database ${quoted(database)} belongs to ${quoted(owner)}, and a member of that role could not log in. Give the database another owner first: ALTER DATABASE … OWNER TO …`,
    );
  const { password, verifier, isNew } = await passwordFor(io, options);
  await script(place, database, createRole({ name, verifier, access, database, owner, application }));
  tellPassword(io, options, { role: name, database, access }, isNew ? password : null);
  return EXIT.ok;
}

/** The right that the options name; exactly one must be named. */
function accessOf({ readOnly, readWrite, owner, replication }: CreateOptions): Access {
  const named: (Access | false | undefined)[] = [
    readOnly && 'read-only',
    readWrite && 'read-write',
    owner === true && 'owner',
    replication && 'replication',
  ];
  const [access, ...more] = named.filter((one) => typeof one === 'string');
  if (access !== undefined && more.length === 0) return access;
  throw new Failed(EXIT.usage, 'Name one of --read-only, --read-write, --owner and --replication.');
}

/** Lists the roles, and whether each may log in through HAProxy. */
export async function roleList(io: Io, options: Common & { json?: boolean }): Promise<ExitCode> {
  const roles = await rolesOf(await placeOf(io, options));
  if (options.json) io.out(JSON.stringify({ roles }, null, 2));
  else for (const role of roles) io.out(`${oneLine(role.name)}: ${inWords(role)}`);
  return EXIT.ok;
}

function inWords({ login, hasPassword, barred, superuser, memberOf, sessions }: RoleRow): string {
  const may = barred
    ? `may not log in through HAProxy (${superuser ? 'a superuser' : 'it has the rights of a superuser, of REPLICATION or of the failover'})`
    : !login
      ? 'may not log in'
      : hasPassword
        ? 'may log in'
        : 'has no password, so it cannot log in';
  const groups = memberOf.length === 0 ? [] : [`member of ${memberOf.map(oneLine).join(', ')}`];
  return [may, ...groups, ...(sessions === 0 ? [] : [`${sessions} sessions`])].join('; ');
}

/** Gives a role another password. */
export async function rolePassword(io: Io, name: string, options: PasswordOptions): Promise<ExitCode> {
  mustBeName(name);
  const place = await placeOf(io, options);
  await existing(place, name);
  const { password, verifier, isNew } = await passwordFor(io, options);
  await script(place, 'postgres', changePassword(name, verifier));
  tellPassword(io, options, { role: name }, isNew ? password : null);
  return EXIT.ok;
}

/** Ends a role's sessions, takes everything away from it and removes it. */
export async function roleDrop(io: Io, name: string, options: DropOptions): Promise<ExitCode> {
  mustBeName(name);
  const place = await placeOf(io, options);
  const role = await existing(place, name);
  const to = options.reassign ?? null;
  if (to === null && role.ownsIn.length > 0)
    throw new Failed(
      EXIT.failed,
      `${quoted(name)} owns something in ${role.ownsIn.map(quoted).join(', ')}. Give it to another role: --reassign <role>`,
    );
  // A function keeps its text and runs with the rights of its new owner.
  if (to !== null && (await existing(place, to)).barred)
    throw new Failed(
      EXIT.failed,
      `${quoted(to)} is a superuser or has such rights, and must not own what others wrote.`,
    );
  const plan = `${quoted(name)} is removed${role.sessions === 0 ? '' : ` and its ${role.sessions} sessions end`}${
    to === null ? '' : `; ${quoted(to)} gets what it owns`
  }.`;
  if (options.dryRun) {
    io.out(options.json ? JSON.stringify({ done: false, message: plan }) : plan);
    return EXIT.ok;
  }
  if (!options.yes) {
    io.err(plan);
    await confirmed(io);
  }
  await script(place, 'postgres', lockRole(name));
  const databases = z.array(z.string()).parse(JSON.parse(await script(place, 'postgres', DATABASES)));
  for (const database of databases) await script(place, database, emptyRole(name, to));
  await script(place, 'postgres', dropRole(name));
  io.out(options.json ? JSON.stringify({ done: true, message: plan }) : `${quoted(name)} is removed.`);
  return EXIT.ok;
}

/** The stack's leader, which the monitor names. @throws Failed when there is none */
export async function placeOf(io: Io, options: Common): Promise<Place> {
  const target = io.target(options.stack);
  const cluster = await clientOf(target).cluster();
  tellNotices(io, cluster);
  if (cluster.leader === null)
    throw new Failed(EXIT.failed, 'There is no leader now, so nothing was done: npm run failover -- status');
  return { io, target, leader: cluster.leader };
}

function mustBeName(name: string): void {
  const problem = nameProblem(name);
  if (problem !== null) throw new Failed(EXIT.usage, `${quoted(name)} cannot be the name of a role: ${problem}.`);
}

async function rolesOf(place: Place, name?: string): Promise<RoleRow[]> {
  return z.array(RoleRow).parse(JSON.parse(await script(place, 'postgres', rolesQuery(name))));
}

/** A role that people may change. @throws Failed when there is none of that name, or it is not theirs to change here */
async function existing(place: Place, name: string): Promise<RoleRow> {
  const [role] = await rolesOf(place, name);
  if (role === undefined)
    throw new Failed(EXIT.failed, `There is no role ${quoted(name)}: npm run failover -- role list`);
  if (name === place.target.info.value('databaseUser', 'app'))
    throw new Failed(EXIT.failed, `${quoted(name)} belongs to the stack. Its password: npm run failover -- password`);
  if (isOwn(name) || name === 'postgres')
    throw new Failed(EXIT.failed, `${quoted(name)} belongs to the failover and is not changed.`);
  return role;
}

async function ownerOf(place: Place, database: string) {
  const answer = JSON.parse(await script(place, database, OWNER));
  return z.object({ owner: z.string(), barred: z.boolean() }).parse(answer);
}

/**
 * Runs statements in one transaction on the leader. Returns what they print.
 * @throws Failed with PostgreSQL's message
 */
export async function script({ io, leader }: Place, database: string, statements: string): Promise<string> {
  const quiet = ['-At', '-q', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=terse', '--single-transaction', '-f', '-'];
  const input = `${statements}\n`;
  const args = ['-d', inDatabase(database), ...quiet];
  const result = await asSuperuser(io.run, leader, args, SCRIPT_MS, { input, settings: SETTINGS });
  if (result.code === 0) return result.stdout;
  if (result.code === 124)
    throw new Failed(
      EXIT.failed,
      `${leader} did not answer in ${SCRIPT_MS / 1_000} s, so it is not known whether it was done: npm run failover -- role list`,
    );
  const line = result.tail.find((one) => /ERROR|FATAL/.test(one)) ?? result.tail.at(-1) ?? 'psql failed';
  throw new Failed(EXIT.failed, oneLine(line.replace(/^psql:<stdin>:\d+: /, '')));
}

/** The password from stdin, or a new one, and its verifier. */
async function passwordFor(io: Io, { passwordStdin }: PasswordOptions) {
  const isNew = passwordStdin !== true;
  const password = isNew ? randomBytes(PASSWORD_BYTES).toString('base64url') : await givenPassword(io);
  return { password, verifier: await verifierOf(password, randomBytes(SALT_BYTES)), isNew };
}

/** Reads a password from stdin: one line. @throws Failed (usage) when it cannot be one */
export async function givenPassword(io: Io): Promise<string> {
  const password = (await io.input()).replace(/\r?\n$/, '');
  if (password === '' || password.length > PASSWORD_CHARS_MAX || /[\r\n\0]/.test(password))
    throw new Failed(
      EXIT.usage,
      `The password on stdin must be one line of 1 to ${PASSWORD_CHARS_MAX} characters, without NUL.`,
    );
  return password;
}

/** Prints the result. A generated password is shown here and nowhere else. */
function tellPassword(io: Io, options: PasswordOptions, about: Record<string, string>, password: string | null): void {
  if (options.json) {
    io.out(JSON.stringify({ ...about, ...(password === null ? {} : { password }) }, null, 2));
    return;
  }
  const { role = '', database, access } = about;
  const rights = database === undefined ? 'has a new password' : `is made: ${access} in ${quoted(database)}`;
  io.out(`${quoted(role)} ${rights}. A new role can log in within two seconds.`);
  if (password === null) return;
  io.err('The password is shown this once:');
  io.out(password);
}

function quoted(name: string): string {
  return `"${oneLine(name)}"`;
}
