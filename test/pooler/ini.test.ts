import { describe, expect, it } from 'vitest';
import type { PoolerConfig } from '../../failover/contract/pooler';
import { type HeldTls, iniOf, usersOf } from '../../failover/pooler/ini';
import { VERIFIER } from '../rig/verifier';

const CONFIG: PoolerConfig = {
  monitor: { host: '10.0.0.11', port: 7401 },
  key: 'k'.repeat(64),
  haproxy: { host: '10.0.0.10', port: 5432 },
  database: 'o.b',
  tls: 'on',
  holdTimeoutMs: 30_000,
  poolSize: 7,
  pools: [
    { role: 'app', verifier: VERIFIER, port: 6432 },
    { role: 'a "report"', verifier: VERIFIER, port: 6433 },
  ],
  backends: { alias: 'backends', connectQuery: "SELECT 'x'" },
};

/** One process's settings by name, and the lines of its databases. */
function read(index: number, config = CONFIG, held: HeldTls = { leaf: true, authority: true }) {
  const pool = config.pools[index];
  if (pool === undefined) throw new Error('no such pool');
  const [databases = '', settings = ''] = iniOf(config, pool, held).split('[pgbouncer]');
  const lines = (text: string) => text.split('\n').filter((line) => line.includes(' ='));
  const pairs = lines(settings).map((line) => [line.split(' =')[0] ?? '', line.split(' =')[1]?.trim() ?? '']);
  return { databases: lines(databases), settings: Object.fromEntries(pairs) as Record<string, string>, pool };
}

describe('PgBouncer’s configuration', () => {
  it('leads to HAProxy’s write port alone, with its SQL quoted', () => {
    const target = "host=10.0.0.10 port=5432 dbname='o.b'";
    expect(read(0).databases).toEqual([`o.b = ${target}`, `backends = ${target} connect_query='SELECT ''x'''`]);
    // The backends log in as the stack's own role.
    expect(read(1).databases).toEqual([`o.b = ${target}`]);
    expect(read(0, { ...CONFIG, backends: undefined }).databases).toHaveLength(1);
  });

  it('waits longer than HAProxy holds, and tries again at once', () => {
    const { settings } = read(0);
    expect(Number(settings.server_connect_timeout)).toBeGreaterThan(30);
    expect(Number(settings.query_wait_timeout)).toBeGreaterThan(30);
    expect(Number(settings.server_login_retry)).toBeLessThanOrEqual(0.1);
    expect(read(0, { ...CONFIG, holdTimeoutMs: 90_500 }).settings.server_connect_timeout).toBe('96');
  });

  it('pools transactions, with prepared statements', () => {
    expect(read(1).settings).toMatchObject({
      ...{ pool_mode: 'transaction', default_pool_size: '7', listen_port: '6433' },
      max_prepared_statements: '200',
    });
  });

  it('has one user, and no way to the console but its own socket', () => {
    for (const index of [0, 1]) {
      const { settings, pool } = read(index);
      expect(settings).toMatchObject({ admin_users: '', stats_users: '', unix_socket_mode: '0700' });
      expect(settings.auth_type).toBe('scram-sha-256');
      expect(Object.keys(settings).filter((key) => /auth_query|auth_user|auth_hba|auth_dbname/.test(key))).toEqual([]);
      expect(
        usersOf(pool)
          .split('\n')
          .filter((line) => line !== ''),
      ).toHaveLength(1);
    }
    expect(usersOf(read(1).pool)).toBe(`"a ""report""" "${VERIFIER}"\n`);
  });

  it('ignores `options` where it ignores anything, and keeps the size of packets below 2 GiB', () => {
    const { settings } = read(0);
    expect(settings.ignore_startup_parameters?.split(', ')).toContain('options');
    expect(settings.ignore_startup_parameters).not.toContain('search_path');
    expect(settings.max_packet_size).toBeUndefined();
  });

  it('asks clients for TLS as the nodes do, and offers it only with a certificate', () => {
    const of = (tls: PoolerConfig['tls'], leaf: boolean, authority = leaf) => {
      const { settings } = read(1, { ...CONFIG, tls }, { leaf, authority });
      return Object.fromEntries(Object.entries(settings).filter(([key]) => key.includes('_tls_')));
    };
    const files = { client_tls_cert_file: '/run/pooler/tls.crt', client_tls_key_file: '/run/pooler/tls.key' };
    const none = { client_tls_sslmode: 'disable', server_tls_sslmode: 'prefer' };
    expect(of('off', true)).toEqual(none);
    expect(of('on', false)).toEqual(none);
    expect(of('on', true)).toEqual({ client_tls_sslmode: 'allow', ...files, server_tls_sslmode: 'prefer' });
    const strict = { client_tls_sslmode: 'require', ...files };
    expect(of('require', true)).toEqual({
      ...{ ...strict, server_tls_sslmode: 'verify-full', server_tls_ca_file: '/run/pooler/ca.crt' },
    });
    // The authority of a user's own certificate is not known.
    expect(of('require', true, false)).toEqual({ ...strict, server_tls_sslmode: 'require' });
    // PgBouncer cannot start without the files, and so serves no client without TLS.
    expect(of('require', false)).toEqual({ ...strict, server_tls_sslmode: 'require' });
  });
});
