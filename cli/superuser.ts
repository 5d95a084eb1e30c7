/**
 * Runs psql inside a node, over the local socket. pg_hba.conf lets the container's user log in as `postgres` and as the
 * keeper's own superuser role. So doctor and people can also log in when `postgres` may not log in or was renamed.
 */

import { KEEPER_ROLE } from '../failover/contract/naming';
import { sessionOptions } from '../failover/contract/session-settings';
import type { RunResult } from '../scripts/lib/exec';

const USUAL_ROLE = 'postgres';
/** psql's message when the server refuses this role; `lc_messages` is C in every node. */
const REFUSED =
  /FATAL: +(role "[^"]*" (does not exist|is not permitted to log in)|permission denied to set parameter|no pg_hba\.conf entry|\w+ authentication failed)/;

/** Runs a program to its end, without a terminal. */
export type Run = (
  command: string,
  args: readonly string[],
  options: { deadlineMs: number; input?: string },
) => Promise<RunResult>;

/** Statements for psql's stdin, and settings of their session that are added to the usual ones. */
export interface Script {
  input: string;
  settings: Readonly<Record<string, string>>;
}

/**
 * Runs psql in a node, independent of settings and login triggers, as `postgres` or, if the server refuses that, as the
 * keeper's role. `deadlineMs`: limit of each of the two attempts. `script`: statements for its stdin.
 */
export async function asSuperuser(
  run: Run,
  node: string,
  args: readonly string[],
  deadlineMs: number,
  script?: Script,
): Promise<RunResult> {
  const as = (role: string) => {
    const env = ['--env', `PGOPTIONS=${sessionOptions('superuser', script?.settings)}`];
    const input = script === undefined ? {} : { input: script.input };
    const stdin = script === undefined ? [] : ['-i'];
    const command = ['exec', ...stdin, ...env, node, 'psql', '--no-psqlrc', '-U', role, ...args];
    return run('docker', command, { deadlineMs, ...input });
  };
  const usual = await as(USUAL_ROLE);
  if (!isRefused(usual)) return usual;
  const other = await as(KEEPER_ROLE);
  // A node of 0.1.0 has no such role. Then people should read the refusal of `postgres`.
  return isRefused(other) ? usual : other;
}

/**
 * The role for a person's psql in a node: the keeper's role only if the server refuses `postgres` and accepts that one.
 */
export async function superuserOf(run: Run, node: string, deadlineMs: number): Promise<string> {
  const { code, stdout } = await asSuperuser(
    run,
    node,
    ['-d', 'template1', '-At', '-c', 'SELECT session_user'],
    deadlineMs,
  );
  return code === 0 && stdout.trim() === KEEPER_ROLE ? KEEPER_ROLE : USUAL_ROLE;
}

function isRefused({ code, tail }: RunResult): boolean {
  return code !== 0 && tail.some((line) => REFUSED.test(line));
}
