/**
 * psql inside a node, over the local socket. pg_hba.conf lets the container's user in as `postgres` and as the keeper's own
 * superuser role, so doctor and people get in also where `postgres` may not log in, or is called something else.
 */

import { KEEPER_ROLE } from '../../failover/contract/naming';
import { sessionOptions } from '../../failover/contract/session-settings';
import type { RunResult } from '../lib/exec';

const USUAL_ROLE = 'postgres';
/** psql's message when the server does not let this role in; `lc_messages` is C in every node. */
const REFUSED =
  /FATAL: +(role "[^"]*" (does not exist|is not permitted to log in)|permission denied to set parameter|no pg_hba\.conf entry|\w+ authentication failed)/;

/** Runs a program to its end, without a terminal. */
export type Run = (command: string, args: readonly string[], options: { deadlineMs: number }) => Promise<RunResult>;

/**
 * Runs psql in a node, immune to settings and login triggers, as `postgres`, or as the keeper's role where the server
 * refuses that. `deadlineMs`: of each of the two.
 */
export async function asSuperuser(
  run: Run,
  node: string,
  args: readonly string[],
  deadlineMs: number,
): Promise<RunResult> {
  const as = (role: string) => {
    const env = ['--env', `PGOPTIONS=${sessionOptions('superuser')}`];
    return run('docker', ['exec', ...env, node, 'psql', '--no-psqlrc', '-U', role, ...args], { deadlineMs });
  };
  const usual = await as(USUAL_ROLE);
  if (!isRefused(usual)) return usual;
  const other = await as(KEEPER_ROLE);
  // A node of 0.1.0 has no such role: then the refusal of `postgres` is what people have to read.
  return isRefused(other) ? usual : other;
}

/** The role for a person's psql in a node: the keeper's only where the server refuses `postgres` and lets that one in. */
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
