/**
 * `password`: what to do when the password of the application's role was changed by SQL, and the program has another
 * one. PostgreSQL keeps the one that SQL set until the program's changes (docs/roles.md).
 */
import { escapeLiteral as literal } from 'pg';
import { z } from 'zod';
import { messageOf } from '../failover/contract/errors';
import { oneLine } from '../failover/contract/log-line';
import { FORGET_PASSWORD, PASSWORD_BY_SQL } from '../failover/contract/role-sql';
import type { Common } from './commands';
import { EXIT, type ExitCode, Failed } from './exit';
import type { Io } from './io';
import { logIn } from './login';
import { givenPassword, placeOf, script } from './role';

const IN_FORCE_MS = 15_000;
const POLL_MS = 200;

/** Whether the role has the password that the program put in force last. */
const StateRow = z.object({ exists: z.boolean(), bySql: z.boolean() });

const stateQuery = (user: string) => `SELECT json_build_object('exists', count(*) > 0,
  'bySql', coalesce(bool_or(${PASSWORD_BY_SQL}), false))
FROM pg_authid WHERE rolname = ${literal(user)};`;

/** Says which password is in force: the program's, or one that was set by SQL. */
export async function passwordState(io: Io, options: Common & { json?: boolean }): Promise<ExitCode> {
  const place = await placeOf(io, options);
  const user = place.target.info.value('databaseUser', 'app');
  const { exists, bySql } = StateRow.parse(JSON.parse(await script(place, 'postgres', stateQuery(user))));
  const state = exists ? (bySql ? 'changed by SQL' : 'the program’s') : 'missing';
  if (options.json) io.out(JSON.stringify({ role: user, state }));
  else if (!exists) io.out(`There is no role "${oneLine(user)}".`);
  else if (!bySql) io.out(`The password of "${oneLine(user)}" is the program’s.`);
  else {
    io.out(`The password of "${oneLine(user)}" was changed by SQL. It stays until the program’s changes.`);
    io.out('To keep it:  npm run failover -- password keep-database --password-stdin, then npm run up');
    io.out('To undo it:  npm run failover -- password use-program');
  }
  return exists && !bySql ? EXIT.ok : EXIT.failed;
}

/** Puts the program's password in force again, and waits until it is. `login`: tests pass their own. */
export async function useProgram(io: Io, options: Common, login = logIn): Promise<ExitCode> {
  const place = await placeOf(io, options);
  await script(place, 'postgres', FORGET_PASSWORD);
  for (let waitedMs = 0; ; waitedMs += POLL_MS) {
    const result = await login(place.target);
    if (result.kind === 'in') break;
    if (waitedMs >= IN_FORCE_MS)
      throw new Failed(EXIT.failed, `The program’s password is not in force: ${oneLine(result.message)}`);
    await io.sleep(POLL_MS);
  }
  io.out('The program’s password is in force.');
  return EXIT.ok;
}

/** Makes the password that SQL set the program's. It is read from stdin, because the database has only its verifier. */
export async function keepDatabase(
  io: Io,
  options: Common & { passwordStdin?: boolean },
  login = logIn,
): Promise<ExitCode> {
  if (options.passwordStdin !== true)
    throw new Failed(EXIT.usage, 'The database does not know its password in plain: give it with --password-stdin.');
  const target = io.target(options.stack);
  const password = await givenPassword(io);
  const result = await login(target, password);
  if (result.kind !== 'in')
    throw new Failed(
      EXIT.failed,
      `Nothing was changed: PostgreSQL does not let this password in (${oneLine(result.message)}).`,
    );
  if (target.setPassword === undefined)
    throw new Failed(EXIT.failed, 'The program’s config is not on this machine: set databasePassword there.');
  try {
    await target.setPassword(password);
  } catch (error) {
    throw new Failed(EXIT.failed, `The config was not changed: ${oneLine(messageOf(error))}`);
  }
  io.out('The config has this password now. Run npm run up: it brings it to the backends and the monitor.');
  return EXIT.ok;
}
