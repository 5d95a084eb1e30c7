/** psql inside a node where role `postgres` may not be let in. */
import { describe, expect, it } from 'vitest';
import { asSuperuser, type Run, superuserOf } from '../../cli/superuser';

const NODE = 'postgres-primary';
const SOCKET = 'psql: error: connection to server on socket "/var/run/postgresql/.s.PGSQL.5432" failed: FATAL:  ';

/** A node that refuses roles with these messages. */
function node(refusals: Readonly<Record<string, string>>): { run: Run; roles: string[] } {
  const roles: string[] = [];
  const run: Run = async (_command, args) => {
    const role = args[args.indexOf('-U') + 1] ?? '';
    roles.push(role);
    const message = refusals[role];
    if (message !== undefined) return { code: 2, stdout: '', tail: [message] };
    return { code: 0, stdout: `${role}\n`, tail: [role] };
  };
  return { run, roles };
}

describe('the superuser in a node', () => {
  it('is postgres, over a session that no setting and no trigger disturbs', async () => {
    const calls: string[][] = [];
    const run: Run = async (command, args) => {
      calls.push([command, ...args]);
      return { code: 0, stdout: '1\n', tail: [] };
    };
    expect((await asSuperuser(run, NODE, ['-c', 'SELECT 1'], 1_000)).code).toBe(0);
    expect(calls).toHaveLength(1);
    expect(calls[0]?.slice(0, 2)).toEqual(['docker', 'exec']);
    expect(calls[0]?.[3]).toMatch(/^PGOPTIONS=.*-c event_triggers=off/);
    expect(calls[0]?.slice(-7)).toEqual([NODE, 'psql', '--no-psqlrc', '-U', 'postgres', '-c', 'SELECT 1']);
  });

  it.each([
    'role "postgres" is not permitted to log in',
    'role "postgres" does not exist',
    'permission denied to set parameter "event_triggers"',
  ])('is the keeper’s own role where the server says: %s', async (message) => {
    const { run, roles } = node({ postgres: `${SOCKET}${message}` });
    expect(await superuserOf(run, NODE, 1_000)).toBe('failover_keeper');
    expect(roles).toEqual(['postgres', 'failover_keeper']);
  });

  it.each([
    'the database system is starting up',
    'database "postgres" does not exist',
    'sorry, too many clients already',
  ])('is not looked for in another role where the server says: %s', async (message) => {
    const { run, roles } = node({ postgres: `${SOCKET}${message}` });
    expect((await asSuperuser(run, NODE, [], 1_000)).tail).toEqual([`${SOCKET}${message}`]);
    expect(await superuserOf(run, NODE, 1_000)).toBe('postgres');
    expect(roles).toEqual(['postgres', 'postgres']);
  });

  it('is told of as postgres where a node of 0.1.0 lets neither in', async () => {
    const refusal = `${SOCKET}role "postgres" is not permitted to log in`;
    const { run } = node({
      postgres: refusal,
      failover_keeper: `${SOCKET}no pg_hba.conf entry for host "[local]", user "failover_keeper"`,
    });
    expect((await asSuperuser(run, NODE, [], 1_000)).tail).toEqual([refusal]);
    expect(await superuserOf(run, NODE, 1_000)).toBe('postgres');
  });
});
