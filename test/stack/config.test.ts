import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { checkConfig, poolRolesOf, problemList, settingsOf } from '../../stack/config';
import { KEYS, type Key } from '../../stack/keys';
import { VERIFIER } from '../rig/verifier';

const ROOT = join(__dirname, '..', '..');
const keys: Record<string, Key<unknown>> = KEYS;

function problemsOf(raw: Record<string, string>): readonly string[] {
  return checkConfig(raw).problems;
}

describe('the config', () => {
  it('has a value for every key when nothing is set', () => {
    expect(checkConfig({})).toEqual({
      problems: [],
      settings: {
        replicas: 1,
        ...{ tls: 'auto', tlsNames: [], tlsCertificate: '', tlsKey: '' },
        writePort: 5434,
        readPort: 5435,
        replicationPort: 0,
        statsPort: 5000,
        backendPort: 8000,
        monitorPort: 8008,
        prometheusPort: 9090,
        bindAddress: '127.0.0.1',
        clientNetworks: [],
        subnet: '10.201.43.0/24',
        namePrefix: '',
        databaseName: 'app',
        databaseUser: 'app',
        databasePassword: undefined,
        baseImage: 'debian:trixie-slim',
        extraPackages: [],
        locales: ['en_US.UTF-8', 'vi_VN.UTF-8'],
        sharedMemoryBytes: 1024 ** 3,
        nodeMemoryBytes: 0,
        backend: true,
        backendReplicas: 1,
        monitoring: false,
        pgadmin: false,
        pgadminPort: 5050,
        pooler: false,
        poolPort: 6432,
        poolSize: 20,
        poolRoles: {},
        hangTimeoutMs: 2000,
        syncMode: 'synchronous',
        onNoReplica: 'continue',
        maxLagBytes: 16 * 1024 ** 2,
        reportReplicas: 0,
        readLagGraceMs: 60_000,
        readFallback: true,
        holdTimeoutMs: 30_000,
        startGraceMs: 10_000,
        switchback: true,
        switchbackAfterMs: 30_000,
        switchbackLimitMs: 600_000,
        rebuildInPlace: false,
        backup: true,
        backupQueueBytes: 2 * 1024 ** 3,
        backupFullEveryMs: 7 * 24 * 3_600_000,
        backupEveryMs: 24 * 3_600_000,
        backupKeep: 2,
        replicaFrom: 'leader',
        backupFolder: '',
        backupCheckEveryMs: 7 * 24 * 3_600_000,
        backupS3: undefined,
        failoverMode: 'automatic',
        logFormat: 'text',
        logSizeBytes: 10 * 1024 * 1024,
        notifyWebhook: undefined,
        postgresSettings: {},
      },
    });
  });

  it('cannot be changed after the check', () => {
    expect(Object.isFrozen(checkConfig({}).settings)).toBe(true);
  });

  it("accepts the dev stack's file", () => {
    const stack = parse(readFileSync(join(ROOT, 'Pulumi.dev.yaml'), 'utf8'));
    const own = Object.entries<unknown>(stack.config).map(([key, value]) => [key.split(':')[1], String(value)]);
    const { settings } = checkConfig(Object.fromEntries(own));
    expect(settings).toMatchObject({ databaseUser: 'blink_user', databaseName: 'blink_db', databasePassword: '12345' });
    expect(stack.encryptionsalt).toMatch(/^v1:[\w+/=]+:v1:[\w+/=]+:[\w+/=]+$/);
  });
});

describe('a refused value', () => {
  const LONG = 'x'.repeat(64);
  const PORTS = ['readPort', 'statsPort', 'backendPort', 'monitorPort', 'prometheusPort', 'pgadminPort'];
  it.each([
    ['replicas', ['-1', '9', '1.5', 'two', '', ' 1', '1e0']],
    ['tls', ['true', 'yes', '', 'Require']],
    ['tlsNames', ['db_1', '256.0.0.1', 'a..b', '-a', 'x'.repeat(254)]],
    ['tlsCertificate', ['c.pem', '/a/../c.pem', '/a/']],
    ['tlsKey', ['k.pem', '/a\nb']],
    ['writePort', ['0', '65536', '-5434', '5434/tcp', '']],
    ...PORTS.map((port): [string, string[]] => [port, ['0', '65536']]),
    ['replicationPort', ['-1', '65536', '']],
    ['bindAddress', ['localhost', '256.0.0.1', '::1', '']],
    ['clientNetworks', ['10.0.0.1/24', '10.0.0.0', '10.0.0.0/33', '256.0.0.0/8', '::/0', 'localhost', 'x; y']],
    ['subnet', ['10.201.43.0', '10.201.43.0/25', '10.0.0.0/8', '10.201.43.1/24', '8.8.8.0/24', '172.32.0.0/16', 'x']],
    ['namePrefix', ['-a', 'A', 'a b', 'a/b', 'x'.repeat(31)]],
    ['databaseName', ['', LONG, 'é'.repeat(32), 'a\nb', 'a\0', 'postgres', 'template0', 'template1']],
    ['databaseUser', ['', LONG, 'pg_x', 'postgres', 'public', 'none', 'failover_monitor', 'a\tb']],
    ['databasePassword', ['a\nb', 'a\0b', 'a\rb']],
    ['baseImage', ['', 'debian trixie', '-x', 'x'.repeat(256)]],
    ['backend', ['yes', '1', '']],
    ['monitoring', ['yes', '1', '']],
    ['backendReplicas', ['0', '9', '-1', '1.5', '']],
    ['pgadmin', ['yes', '1', '']],
    ['pooler', ['yes', '1', '']],
    ['poolPort', ['0', '65536']],
    ['poolSize', ['0', '1001', '-1', '']],
    ['hangTimeout', ['2', '499ms', '61s', '2 s', '-2s', '2h', '2toString']],
    ['syncMode', ['async', '']],
    ['onNoReplica', ['wait', '', 'Continue']],
    ['maxLag', ['16', '16mb', '2TB', '-1MB', '16 MB']],
    ['readFallback', ['on']],
    ['reportReplicas', ['-1', '8', '1.5', '']],
    ['readLagGrace', ['60', '61m', '-1s', '']],
    ['holdTimeout', ['0s', '999ms', '11m']],
    ['startGrace', ['-1s', '601s']],
    ['switchback', ['off', '']],
    ['switchbackAfter', ['999ms', '61m', '30']],
    ['switchbackLimit', ['999ms', '61m', '30']],
    ['rebuildInPlace', ['yes', '']],
    ['failoverMode', ['off', 'manual', '']],
    ['backup', ['yes', '']],
    ['backupQueue', ['1MB', '2TB', '2', '']],
    ['backupFullEvery', ['59m', '61d', '7', '1w', '']],
    ['backupEvery', ['9m', '31d', '1s', '']],
    ['backupKeep', ['0', '101', 'all', '']],
    ['replicaFrom', ['standby', '']],
    ['backupCheckEvery', ['59m', '61d', '0d', 'Off', '']],
    ['backupFolder', ['backups', '/srv/../etc', '/srv/']],
    ['logFormat', ['xml', '']],
    ['logSize', ['99kB', '2GB', '10']],
    ['notifyWebhook', ['ftp://a/b', 'example.com/hook', 'file:///etc/passwd']],
  ])('of %s is told with key, value and what is allowed', (name, values) => {
    const key = keys[name];
    for (const value of values) {
      const shown = key?.hidden ? '(hidden)' : JSON.stringify(value);
      expect(problemsOf({ [name]: value })).toEqual([`${name}: ${shown} is refused; must be ${key?.allowed}`]);
    }
  });

  it('of reportReplicas names the number of replicas when none would be left that a write waits for', () => {
    const refused = (value: string) => `reportReplicas: ${value} is refused; must be less than replicas, which is 2`;
    expect(problemsOf({ replicas: '2', reportReplicas: '2' })).toEqual([refused('2')]);
    expect(problemsOf({ replicas: '2', reportReplicas: '3' })).toEqual([refused('3')]);
    expect(problemsOf({ replicas: '2', reportReplicas: '1' })).toEqual([]);
    expect(problemsOf({ replicas: '0' })).toEqual([]);
  });

  it('of wal_level is one that no failover makes a consumer regret', () => {
    const logical = { postgresSettings: '{"wal_level":"logical"}' };
    expect(problemsOf(logical)).toEqual([]);
    expect(problemsOf({ ...logical, syncMode: 'asynchronous' })).toEqual([
      expect.stringMatching(/^postgresSettings.wal_level: "logical" is refused with syncMode asynchronous; /),
    ]);
    expect(problemsOf({ postgresSettings: '{"wal_level":"minimal"}' })).toEqual([
      expect.stringContaining('must be replica or logical'),
    ]);
  });

  it('has a test for every key', () => {
    expect(Object.keys(keys)).toHaveLength(61);
  });

  it.each(['archive_command', 'archive_library', 'archive_mode'])(
    'is not a person’s %s: backups use no archive of PostgreSQL',
    (name) => {
      const postgresSettings = JSON.stringify({ [name]: 'on' });
      expect(problemsOf({ postgresSettings, backup: 'true' })).toEqual([]);
    },
  );

  it('of the password is never shown', () => {
    expect(problemsOf({ databasePassword: 'hunter2\n' }).join()).not.toContain('hunter2');
  });

  it('is told together with all others', () => {
    const problems = problemsOf({ replicas: '9', writePort: '0', replica: '3', statsPort: '5435' });
    expect(problems).toHaveLength(4);
    expect(problemList('The config', problems).split('\n')).toHaveLength(5);
  });
});

describe('an accepted value', () => {
  it.each([
    ['replicas', '0', 0],
    ['replicas', '8', 8],
    ['writePort', '65535', 65535],
    ['bindAddress', '0.0.0.0', '0.0.0.0'],
    ['subnet', '10.214.0.0/16', '10.214.0.0/16'],
    ['subnet', '172.31.255.0/24', '172.31.255.0/24'],
    ['namePrefix', 'prg-', 'prg-'],
    ['databaseName', 'pg_shop', 'pg_shop'],
    ['databaseName', 'x'.repeat(63), 'x'.repeat(63)],
    ['databaseUser', 'Ünïcode user', 'Ünïcode user'],
    ['databasePassword', ' p"a\'ss$ ', ' p"a\'ss$ '],
    ['baseImage', 'registry.example:5000/debian@sha256:0a', 'registry.example:5000/debian@sha256:0a'],
    ['backend', 'false', false],
    ['backendReplicas', '8', 8],
    ['hangTimeout', '500ms', 500],
    ['holdTimeout', '10m', 600_000],
    ['syncMode', 'asynchronous', 'asynchronous'],
    ['onNoReplica', 'block', 'block'],
    ['maxLag', '0B', 0],
    ['maxLag', '1TB', 1024 ** 4],
    ['startGrace', '0s', 0],
    ['switchback', 'false', false],
    ['switchbackAfter', '60m', 3_600_000],
    ['switchbackLimit', '60m', 3_600_000],
    ['postgresSettings', '{}', {}],
    ['postgresSettings', '{"work_mem":"8MB","jit":false}', { jit: 'off', work_mem: '8MB' }],
    ['postgresSettings', '{"max_connections":250}', { max_connections: '250' }],
    ['postgresSettings', '{"auto_explain.log_min_duration":"1s"}', { 'auto_explain.log_min_duration': '1s' }],
  ])('of %s %j becomes %j', (name, raw, value) => {
    expect(checkConfig({ [name]: raw }).settings).toHaveProperty(`${name}${keys[name]?.unit}`, value);
  });
});

describe('a setting of PostgreSQL', () => {
  const refusal = (settings: object) => problemsOf({ postgresSettings: JSON.stringify(settings) });

  const OWNED = `
    fsync synchronous_standby_names data_directory hba_file include_dir primary_conninfo wal_recycle
    wal_init_zero restore_command recovery_target_time hot_standby max_wal_senders unix_socket_permissions
    failover.configuration default_transaction_read_only log_destination log_directory log_line_prefix
    logging_collector track_activities application_name dynamic_library_path pre_auth_delay post_auth_delay
    data_sync_retry zero_damaged_pages ignore_checksum_failure ignore_invalid_pages ignore_system_indexes
    synchronous_commit wal_receiver_status_interval max_replication_slots restart_after_crash allow_alter_system
    recovery_min_apply_delay update_process_title
  `;
  it.each(OWNED.trim().split(/\s+/))('%s is refused by name, because the failover owns it', (name) => {
    const [problem, ...others] = refusal({ [name]: 'x' });
    expect(problem).toMatch(
      new RegExp(`^postgresSettings.${name.replace('.', String.raw`\.`)}: "x" is refused; it cannot be set, because `),
    );
    expect(others).toEqual([]);
  });

  it('is refused where it is no name, or no text, number or boolean in one line', () => {
    expect(refusal({ 'work mem': '1MB', Work_Mem: '1MB', 'a.b.c': '1' })).toHaveLength(3);
    expect(refusal({ work_mem: ['1MB'], jit: null, log_timezone: "x\ninclude '/etc/passwd'" })).toHaveLength(3);
    expect(refusal({ max_connections: '1e3', max_worker_processes: '8kB' })).toHaveLength(2);
    expect(refusal({ max_connections: 100 })).toEqual([
      expect.stringContaining('must be a whole number from 175 to 10000.'),
    ]);
    expect(problemsOf({ postgresSettings: '[]' })).toEqual([expect.stringContaining('must be an object')]);
  });

  it('may be written in any order: that is no change', () => {
    const printed = (raw: string) => JSON.stringify(checkConfig({ postgresSettings: raw }).settings?.postgresSettings);
    expect(printed('{"work_mem":"8MB","jit":"off"}')).toBe(printed('{"jit":false,"work_mem":"8MB"}'));
  });
});

describe('an unknown key', () => {
  it.each([
    ['replica', 'replicas'],
    ['WritePort', 'writePort'],
    ['write_port', 'writePort'],
    ['databasePasword', 'databasePassword'],
    ['onNoReplicas', 'onNoReplica'],
  ])('%s is refused with the nearest known one, %s', (name, near) => {
    const words = `${name}: unknown key; did you mean ${near}?`;
    expect(problemsOf({ [name]: 'x' })).toEqual([expect.stringContaining(words)]);
  });
});

describe('a key that every object has', () => {
  it('is unknown too', () => {
    expect(problemsOf({ toString: 'x' })).toEqual([expect.stringContaining('toString: unknown key;')]);
  });
});

describe('ports', () => {
  it('are refused when two services share one', () => {
    expect(problemsOf({ readPort: '5434', statsPort: '5434' })).toEqual([
      'writePort, readPort, statsPort: 5434 is refused; each must be a port of its own',
    ]);
  });

  it("may be the backend's when no backend runs", () => {
    expect(problemsOf({ statsPort: '8000' })).toHaveLength(1);
    expect(problemsOf({ statsPort: '8000', backend: 'false' })).toEqual([]);
  });

  it("may be pgAdmin's while no pgAdmin runs", () => {
    expect(problemsOf({ statsPort: '5050' })).toEqual([]);
    expect(problemsOf({ statsPort: '5050', pgadmin: 'true' })).toHaveLength(1);
  });
});

describe('the networks of clients', () => {
  it('are IPv4 networks, and need an address that is not loopback', () => {
    const given = { clientNetworks: '198.51.100.7/32, 192.0.2.0/24', bindAddress: '192.0.2.1' };
    expect(checkConfig(given).settings?.clientNetworks).toEqual(['192.0.2.0/24', '198.51.100.7/32']);
    expect(problemsOf({ clientNetworks: '192.0.2.0/24' })).toEqual([
      'clientNetworks: "192.0.2.0/24" is refused; with bindAddress 127.0.0.1 only this machine has access, and HAProxy ' +
        'does not see where a client comes from; set bindAddress, or leave it empty',
    ]);
  });
});

describe('the pooler', () => {
  const roles = (...names: string[]) => JSON.stringify(Object.fromEntries(names.map((name) => [name, VERIFIER])));
  const on = { pooler: 'true', poolSize: '5' };

  it('has a port for each role, in the order of their names', () => {
    const { settings } = checkConfig({ ...on, poolPort: '7000', poolRoles: roles('web', 'report') });
    expect(settings && poolRolesOf(settings)).toEqual([
      { role: 'app', port: 6432, hostPort: 7000 },
      { role: 'report', port: 6433, hostPort: 7001 },
      { role: 'web', port: 6434, hostPort: 7002 },
    ]);
  });

  it.each([
    ['no JSON', 'x'],
    ['a list', '["report"]'],
    ['a password in place of a verifier', '{"report":"hunter2"}'],
    ['the name of the console', roles('pgbouncer')],
    ['an empty name', roles('')],
    ['a name with a line break', roles('a\nb')],
    ['too many', roles(...'abcdefghi')],
  ])('refuses %s as roles, and shows no secret', (_, poolRoles) => {
    const problems = problemsOf({ poolRoles });
    expect(problems).toEqual([expect.stringMatching(/^poolRoles: .*; must be a JSON object/)]);
    expect(problems.join()).not.toContain('hunter2');
    expect(problems.join()).not.toContain('AAAA');
  });

  it('refuses what PgBouncer could not serve, while it is on', () => {
    const both = { poolRoles: roles('app'), databaseName: 'pgbouncer' };
    expect(problemsOf({ ...on, ...both })).toEqual([
      'poolRoles: "app" is refused; databaseUser has poolPort already',
      'databaseName: "pgbouncer" is refused while pooler is true; PgBouncer keeps it',
    ]);
    expect(problemsOf({ ...on, databaseName: 'my shop' })).toEqual([
      'databaseName: "my shop" is refused while pooler is true; PgBouncer takes A-Z, a-z, 0-9, "_", "." and "-"',
    ]);
    expect(problemsOf(both)).toEqual([]);
    expect(problemsOf({ ...on, poolPort: '65535', poolRoles: roles('a') })).toEqual([
      'poolPort: "65535" is refused; with 1 poolRoles it must be at most 65534',
    ]);
    expect(problemsOf({ ...on, poolPort: '5433' })).toEqual([]);
    expect(problemsOf({ ...on, poolPort: '5433', poolRoles: roles('a') })).toEqual([
      'writePort, poolRoles (a): 5434 is refused; each must be a port of its own',
    ]);
  });

  it('leaves places of each node for others', () => {
    expect(problemsOf({ pooler: 'true', poolSize: '71' })).toEqual([
      expect.stringMatching(/poolSize: "71".*at most 70/),
    ]);
    const more = { postgresSettings: '{"max_connections": "400"}' };
    expect(problemsOf({ pooler: 'true', poolSize: '71', ...more })).toEqual([]);
    expect(problemsOf({ pooler: 'true', poolSize: '140', backend: 'false' })).toEqual([]);
    expect(problemsOf({ poolSize: '140' })).toEqual([]);
  });

  it('may be reached from elsewhere, with every mode of TLS', () => {
    for (const tls of ['auto', 'off', 'on', 'require'])
      expect(problemsOf({ ...on, bindAddress: '192.0.2.1', tls })).toEqual([]);
  });
});

describe('the settings of a program of its own', () => {
  it('are those of a stack with the same values', () => {
    const values = { replicas: 2, backend: false, hangTimeout: '3s', postgresSettings: { jit: 'off' } };
    const raw = { replicas: '2', backend: 'false', hangTimeout: '3s', postgresSettings: '{"jit":"off"}' };
    expect(settingsOf(values)).toEqual(checkConfig(raw).settings);
  });

  it('are refused with all problems at once', () => {
    expect(() => settingsOf({ replicas: 9, writePort: 0 })).toThrow(/has 2 problems.*\n.*replicas: "9".*\n.*writePort/);
  });
});

describe('what every node has', () => {
  const read = (raw: Record<string, string>) => checkConfig(raw).settings;

  it('takes lists separated by commas or blanks, in any order, and with no word at all', () => {
    expect(read({ locales: 'vi_VN.UTF-8, de_DE.UTF-8 vi_VN.UTF-8' })?.locales).toEqual(['de_DE.UTF-8', 'vi_VN.UTF-8']);
    expect(read({ locales: '' })?.locales).toEqual([]);
    expect(read({ extraPackages: 'postgresql-17-cron,libpq5=17.6-1' })?.extraPackages).toEqual([
      'libpq5=17.6-1',
      'postgresql-17-cron',
    ]);
    expect(settingsOf({ locales: ['vi_VN.UTF-8', 'de_DE.UTF-8'] }).locales).toEqual(['de_DE.UTF-8', 'vi_VN.UTF-8']);
  });

  it.each<Record<string, string>>([
    { extraPackages: '--allow-unauthenticated' },
    { extraPackages: 'vim;reboot' },
    { extraPackages: '$(id)' },
    { extraPackages: 'postgresql-17-' },
    { locales: 'vi_VN' },
    { locales: 'C.UTF-8' },
    { locales: 'vi_VN.UTF-8;id' },
    { nodeMemory: '512MB' },
    { nodeMemory: '1' },
    { sharedMemory: '0B' },
  ])('refuses %j with what is allowed', (raw) => {
    expect(problemsOf(raw)).toEqual([expect.stringContaining('is refused; must be')]);
  });

  it('takes no limit of the memory for none, and others as they are written', () => {
    expect(read({ nodeMemory: '0B' })?.nodeMemoryBytes).toBe(0);
    expect(read({ nodeMemory: '2GB' })?.nodeMemoryBytes).toBe(2 * 1024 ** 3);
  });
});
