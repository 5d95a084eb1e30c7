/** Sessions of keeper and monitor: what they start with, and how the keeper gets into its own PostgreSQL. */
import { DatabaseError } from 'pg';
import { describe, expect, it } from 'vitest';
import { GRANTED_SETTINGS, sessionOptions } from '../../failover/contract/session-settings';
import { OwnSessions } from '../../failover/keeper/postgres/own-sessions';
import { Session, type SessionOptions } from '../../failover/keeper/postgres/session';

const refusal = (code: string) => Object.assign(new DatabaseError('refused', 7, 'error'), { code });

/** A server that refuses `role database` by these codes and lets everybody else in. */
function server(refused: Record<string, string>): { logins: OwnSessions; tried: string[]; clock: { nowMs: number } } {
  const tried: string[] = [];
  const clock = { nowMs: 0 };
  const open = async ({ user, database }: SessionOptions) => {
    tried.push(`${user} ${database}`);
    const code = refused[`${user} ${database}`] ?? refused[user] ?? refused[database];
    if (code !== undefined) throw refusal(code);
    // Only that it came to be is of interest.
    return Object.create(Session.prototype) as Session;
  };
  return { logins: new OwnSessions('a', open, () => clock.nowMs), tried, clock };
}

describe('the settings of a session', () => {
  it('begin every session of any role with what a hostile setting could change', () => {
    const text = sessionOptions('plain', { synchronous_commit: 'on' });
    for (const part of [
      '-c default_transaction_isolation=read\\ committed',
      '-c default_transaction_read_only=off',
      '-c statement_timeout=0',
      '-c transaction_timeout=0',
      '-c search_path=pg_catalog',
      '-c datestyle=ISO,\\ MDY',
      '-c temp_tablespaces=',
      '-c extra_float_digits=1',
      '-c role=none',
      '-c synchronous_commit=on',
    ])
      expect(` ${text} `).toContain(` ${part} `);
    for (const name of GRANTED_SETTINGS) expect(text).not.toContain(name);
  });

  it('add what a role was granted, and what only a superuser may set', () => {
    for (const name of GRANTED_SETTINGS) {
      expect(sessionOptions('granted')).toContain(`-c ${name}=`);
      expect(sessionOptions('superuser')).toContain(`-c ${name}=`);
    }
    expect(sessionOptions('granted')).not.toContain('log_statement');
    expect(sessionOptions('superuser')).toContain('-c event_triggers=off');
    expect(sessionOptions('superuser')).toContain('-c track_activities=on');
  });

  it('hold once each, and what is asked for beside them wins', () => {
    const names = sessionOptions('superuser', { lock_timeout: '250' })
      .split(/ (?=-c )/)
      .map((part) => part.replace(/^-c (\w+)=.*$/, '$1'));
    expect(new Set(names).size).toBe(names.length);
    expect(sessionOptions('superuser', { lock_timeout: '250' })).toContain('-c lock_timeout=250');
  });
});

describe('the keeper’s way in', () => {
  it('is the usual one while that is open', async () => {
    const { logins, tried } = server({});
    await logins.home();
    expect(tried).toEqual(['postgres postgres']);
  });

  it.each(['28000', '42501'])(
    'is its own role when the usual one is refused with %s, and then that one first',
    async (code) => {
      const { logins, tried } = server({ 'postgres postgres': code });
      await logins.home();
      await logins.home();
      expect(tried).toEqual(['postgres postgres', 'failover_keeper postgres', 'failover_keeper postgres']);
    },
  );

  it('goes into other databases, the application’s last, while its own takes none', async () => {
    const { logins, tried } = server({ 'postgres postgres': '3D000', template1: '55000' });
    logins.begin('app');
    await logins.home();
    expect(tried).toEqual(['postgres postgres', 'postgres template1', 'postgres app']);
  });

  it('ends at once where PostgreSQL does not take sessions at all', async () => {
    const { logins, tried } = server({ 'postgres postgres': '57P03' });
    logins.begin('app');
    await expect(logins.home()).rejects.toMatchObject({ code: '57P03' });
    expect(tried).toHaveLength(1);
  });

  it('says which roles are locked out, and rests longer each time before it tries again', async () => {
    const { logins, tried, clock } = server({ postgres: '28000', failover_keeper: '28000' });
    const attempts = async (untilMs: number) => {
      for (; clock.nowMs < untilMs; clock.nowMs += 100)
        await expect(logins.home()).rejects.toMatchObject({ code: 'SUPERUSER_LOCKED_OUT' });
      return tried.length / 2;
    };
    await expect(logins.home()).rejects.toThrow(/postgres nor as failover_keeper/);
    expect(await attempts(60_000)).toBeLessThanOrEqual(9);
    logins.begin('app');
    const before = tried.length;
    await expect(logins.home()).rejects.toMatchObject({ code: 'SUPERUSER_LOCKED_OUT' });
    expect(tried.length).toBe(before + 2);
  });
});
