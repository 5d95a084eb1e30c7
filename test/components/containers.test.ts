import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { passfile } from '../../components/pgadmin';
import { KeeperConfig, MonitorConfig } from '../../failover/contract/inputs';
import { PoolerConfig } from '../../failover/contract/pooler';
import { derivedPassword } from '../../failover/contract/proof';
import { CheckerConfig } from '../../failover/contract/restore-tests';
import { verifierOf } from '../../failover/contract/scram';
import { VERIFIER } from '../rig/verifier';
import { find, GENERATED, makeCluster, type Registered, register, SALT } from './mocks';

const DATABASE = { databaseName: 'blink_db', databaseUser: 'blink_user' };
const PASSWORD = '12345';
let resources: Registered[] = [];

beforeAll(async () => {
  resources = await register(() => {
    makeCluster({ ...DATABASE, pgadmin: 'true' }, { databasePassword: PASSWORD });
  });
});

const labels = (role: string) => [
  { label: 'postgres-failover.role', value: role },
  { label: 'postgres-failover.stack', value: 'postgres-failover/test' },
];
const common = (role: string) => ({
  init: true,
  restart: 'always',
  capabilities: { drops: ['ALL'] },
  securityOpts: ['no-new-privileges:true'],
  labels: labels(role),
  logDriver: 'json-file',
  logOpts: { 'max-file': '3', 'max-size': '10m' },
});
/** What a container has that stops within so many seconds. */
const running = (role: string, name: string, user: string, stopTimeout: number) => ({
  ...{ ...common(role), name, user, image: `sha256:${role}-image` },
  ...{ stopTimeout, destroyGraceSeconds: stopTimeout },
});
const published = (internal: number, external = internal) => {
  return { internal, external, ip: '127.0.0.1', protocol: 'tcp' };
};
const inner = (address: number) => ({ name: 'postgres-failover-inner', ipv4Address: `10.201.43.${address}` });
const volume = (source: string, target: string) => ({ type: 'volume', source, target });
const upload = (file: string, content: string) => ({ file, content, permissions: '0444' });

/** The content of a container's only upload. */
function uploaded(name: string): unknown {
  const [file] = find(resources, 'Container', name).inputs.uploads as { content: string }[];
  return JSON.parse(file?.content ?? '');
}

describe('a PostgreSQL node', () => {
  it('has exactly these inputs', () => {
    const { inputs, secrets } = find(resources, 'Container', 'postgres-replica-1');
    expect(inputs).toEqual({
      ...common('postgres'),
      name: 'postgres-replica-1',
      image: 'sha256:postgres-image',
      user: '10000:10000',
      networksAdvanced: [{ name: 'postgres-failover-inner', ipv4Address: '10.201.43.21' }],
      mounts: [
        volume('postgres-replica-1-data', '/var/lib/postgresql'),
        volume('postgres-backup', '/var/lib/postgres-backup'),
      ],
      uploads: [upload('/etc/postgres-failover/keeper.json', expect.any(String))],
      shmSize: 1024,
      healthcheck: { tests: ['CMD', 'keeper-health'], interval: '15s', timeout: '5s', retries: 2 },
      stopTimeout: 60,
      destroyGraceSeconds: 60,
    });
    expect(secrets).toEqual(['uploads']);
  });

  it('has the memory and the image that the config asks for', async () => {
    const given = { nodeMemory: '2GB', sharedMemory: '100MB', extraPackages: 'postgresql-17-cron', locales: '' };
    const other = await register(() => {
      makeCluster(given);
    });
    const { inputs } = find(other, 'Container', 'postgres-primary');
    expect(inputs).toMatchObject({ memory: 2048, shmSize: 100 });
    const build = (name: string) => (find(other, 'Image', name).inputs.build as { args: unknown }).args;
    const base = { BASE_IMAGE: 'debian:trixie-slim' };
    expect(build('postgres-image')).toEqual({ ...base, EXTRA_PACKAGES: 'postgresql-17-cron' });
    expect(build('haproxy-image')).toEqual(base);
  });

  it('is told who it is and where the monitor is, and nothing else', () => {
    expect(KeeperConfig.parse(uploaded('postgres-replica-1'))).toEqual({
      node: 'postgres-replica-1',
      monitors: [{ host: '10.201.43.11', port: 7400 }],
      clusterKey: GENERATED,
    });
  });

  it('has a labelled data volume', () => {
    expect(find(resources, 'Volume', 'postgres-replica-1-data').inputs).toEqual({
      name: 'postgres-replica-1-data',
      labels: [
        { label: 'postgres-failover.database', value: 'blink_db' },
        { label: 'postgres-failover.owner', value: 'blink_user' },
        ...labels('postgres-data'),
      ],
    });
  });
});

describe('the monitor', () => {
  it('has exactly these inputs', () => {
    const { inputs, secrets } = find(resources, 'Container', 'failover-monitor');
    expect(inputs).toEqual({
      ...running('monitor', 'failover-monitor', '10002:10010', 10),
      networksAdvanced: [inner(11)],
      ports: [published(8008)],
      mounts: [
        volume('failover-monitor-store', '/var/lib/postgres-failover'),
        { type: 'bind', source: '/project/logs/test', target: '/var/log/postgres-failover' },
        volume('haproxy-sockets', '/run/haproxy'),
      ],
      uploads: [upload('/etc/postgres-failover/monitor.json', expect.any(String))],
    });
    expect(secrets).toEqual(['uploads']);
  });

  it('is told the nodes in order of preference, the settings with their units, and the secrets', async () => {
    expect(MonitorConfig.parse(uploaded('failover-monitor'))).toEqual({
      stack: 'test',
      nodes: [
        { name: 'postgres-primary', address: '10.201.43.20' },
        { name: 'postgres-replica-1', address: '10.201.43.21' },
      ],
      clusterKey: GENERATED,
      databasePassword: PASSWORD,
      settings: {
        haproxyAddress: '10.201.43.10',
        monitorAddress: '10.201.43.11',
        subnet: '10.201.43.0/24',
        databaseName: 'blink_db',
        databaseUser: 'blink_user',
        databaseVerifier: await verifierOf(PASSWORD, Buffer.from(SALT, 'base64')),
        postgresSettings: {},
        rebuildInPlace: false,
        backup: { leaseMs: 2_000, queueBytes: 2 * 1024 ** 3, keep: 2 },
      },
      hostNames: ['failover-monitor'],
      logFormat: 'text',
      logSizeBytes: 10 * 1024 * 1024,
      tls: {
        ...{ mode: 'on', secret: GENERATED },
        names: ['localhost', '127.0.0.1', '::1', hostname(), 'haproxy', '10.201.43.10'],
      },
      pooler: false,
      backupCheckEveryMs: 7 * 86_400_000,
      policy: {
        hangTimeoutMs: 2_000,
        syncMode: 'synchronous',
        onNoReplica: 'continue',
        syncCount: 1,
        maxLagBytes: 16 * 1024 ** 2,
        reportReplicas: 0,
        readLagGraceMs: 60_000,
        readFallback: true,
        startGraceMs: 10_000,
        switchback: true,
        switchbackAfterMs: 30_000,
        switchbackLimitMs: 600_000,
        failoverMode: 'automatic',
        backup: true,
        backupFullEveryMs: 7 * 24 * 3_600_000,
        backupEveryMs: 24 * 3_600_000,
      },
    });
  });
});

describe("the monitor's log folder", () => {
  const root = mkdtempSync(join(tmpdir(), 'log-folder-'));
  const folder = join(root, 'logs', 'dev');
  const link = join(root, 'failover.log');
  const run = (script: 'create' | 'delete') => {
    const { inputs } = find(resources, 'Command', 'failover-monitor-log-folder');
    const env = { PATH: process.env.PATH, LOG_FOLDER: folder, LOG_LINK: link, LOG_OWNER: '10002' };
    execFileSync('/bin/sh', ['-c', String(inputs[script])], { env });
  };
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  it('comes before the container, open to its user, and linked', () => {
    run('create');
    run('create');
    const { uid, mode } = statSync(folder);
    expect(uid === 10002 || (mode & 0o1777) === 0o1777).toBe(true);
    expect(readlinkSync(link)).toBe(join(folder, 'failover.log'));
  });

  it('goes with what the monitor wrote', () => {
    for (const name of ['failover.log', 'failover.log.1']) writeFileSync(join(folder, name), 'x');
    run('delete');
    expect(readdirSync(root)).toEqual(['logs']);
    expect(existsSync(folder)).toBe(false);
  });

  it("never touches a person's own files", () => {
    writeFileSync(link, 'mine');
    run('create');
    writeFileSync(join(folder, 'notes'), 'mine');
    run('delete');
    expect(existsSync(link)).toBe(true);
    expect(readdirSync(folder)).toEqual(['notes']);
  });
});

describe('HAProxy', () => {
  it('has exactly these inputs', () => {
    const { inputs, secrets } = find(resources, 'Container', 'haproxy');
    expect(inputs).toEqual({
      ...running('haproxy', 'haproxy', '10001:10010', 10),
      readOnly: true,
      tmpfs: { '/tmp': 'rw,noexec,nosuid,nodev,size=16m' },
      networksAdvanced: [inner(10), { name: 'postgres-failover-front', aliases: ['haproxy'] }],
      ports: [published(5000), published(5436, 5434), published(5437, 5435), published(8000)],
      mounts: [volume('haproxy-config', '/etc/haproxy/run'), volume('haproxy-sockets', '/run/haproxy')],
    });
    expect(secrets).toEqual([]);
  });

  it('publishes no API port without a backend, and on the configured address', async () => {
    const without = await register(() => {
      makeCluster({ backend: 'false', bindAddress: '0.0.0.0' });
    });
    const ports = find(without, 'Container', 'haproxy').inputs.ports as { internal: number; ip: string }[];
    expect(ports.map(({ internal, ip }) => `${ip}:${internal}`)).toEqual([
      '0.0.0.0:5000',
      '0.0.0.0:5436',
      '0.0.0.0:5437',
    ]);
    expect(find(without, 'Command', 'haproxy-apply-config').inputs.stdin).not.toContain('frontend api');
  });

  it('publishes its ports on both loopbacks where the machine has ::1, and on no other address twice', async () => {
    const published = async (bindAddress: string) => {
      const made = await register(() => {
        makeCluster({ bindAddress }, { ipv6Loopback: true });
      });
      const ports = find(made, 'Container', 'haproxy').inputs.ports as { external: number; ip: string }[];
      return ports.map(({ external, ip }) => `${ip} ${external}`);
    };
    const both = (ip: string) => [`${ip} 5000`, `${ip} 5434`, `${ip} 5435`, '::1 5434', '::1 5435', `${ip} 8000`];
    expect(await published('127.0.0.1')).toEqual(both('127.0.0.1'));
    expect(await published('0.0.0.0')).toEqual(both('0.0.0.0'));
    expect(await published('192.0.2.1')).toHaveLength(4);
  });

  it('lets in clients of the configured networks alone, on the published ports', async () => {
    const made = await register(() => {
      makeCluster({ clientNetworks: '192.0.2.0/24,198.51.100.7/32', bindAddress: '192.0.2.1' });
    });
    const rule = (port: number) =>
      `tcp-request connection reject if { dst_port ${port} ${port + 2} } !{ src 192.0.2.0/24 198.51.100.7/32 }`;
    const config = find(made, 'Command', 'haproxy-apply-config').inputs.stdin;
    expect(config).toContain(rule(5436));
    expect(config).toContain(rule(5437));
    expect(find(resources, 'Command', 'haproxy-apply-config').inputs.stdin).not.toContain('reject if { dst_port');
  });

  it('gets its config applied, again when the container is a new one', () => {
    const { inputs } = find(resources, 'Command', 'haproxy-apply-config');
    expect(inputs).toEqual({
      create: 'docker exec -i haproxy apply-config',
      update: 'docker exec -i haproxy apply-config',
      stdin: expect.stringContaining('frontend write'),
      triggers: ['db-haproxy-id'],
    });
  });

  it('has two labelled volumes', () => {
    for (const name of ['haproxy-config', 'haproxy-sockets'])
      expect(find(resources, 'Volume', name).inputs).toEqual({ name, labels: labels('haproxy') });
  });
});

describe('Prometheus', () => {
  it('has exactly these inputs, and is not there unless it is asked for', async () => {
    const withIt = await register(() => {
      makeCluster({ monitoring: 'true' });
    });
    const { inputs, secrets } = find(withIt, 'Container', 'prometheus');
    expect(inputs).toEqual({
      ...running('prometheus', 'prometheus', '10004:10004', 30),
      networksAdvanced: [inner(12)],
      ports: [published(9090)],
      mounts: [volume('prometheus-data', '/var/lib/pgfailover-prometheus')],
      uploads: [upload('/etc/pgfailover-prometheus/prometheus.yml', expect.any(String))],
    });
    expect(secrets).toEqual([]);
    const [config] = inputs.uploads as { content: string }[];
    expect(config?.content).toMatch(/"10\.201\.43\.11:8008"(.|\n)*"10\.201\.43\.10:5000"/);
    expect(resources.filter(({ name }) => name.startsWith('prometheus'))).toEqual([]);
  });
});

describe('the backend', () => {
  it('has exactly these inputs', () => {
    const { inputs, secrets } = find(resources, 'Container', 'backend');
    expect(inputs).toEqual({
      ...running('backend', 'backend', '10003:10003', 20),
      networksAdvanced: [{ name: 'postgres-failover-front', aliases: ['backend'] }],
      envs: ['BEHIND_PROXY=true', 'HOST=0.0.0.0'],
      uploads: [
        upload(
          '/etc/backend/secrets/haproxy_read_url',
          'postgresql://blink_user:12345@haproxy:5433/blink_db?sslmode=disable',
        ),
        upload(
          '/etc/backend/secrets/haproxy_url',
          'postgresql://blink_user:12345@haproxy:5432/blink_db?sslmode=disable',
        ),
        upload('/etc/backend/secrets/secret_key', GENERATED),
      ],
      ...{ wait: true, waitTimeout: 120 },
    });
    expect(secrets).toEqual(['uploads']);
  });
});

describe('pgAdmin', () => {
  it('has exactly these inputs, all passwords among the secret ones', () => {
    const { inputs, secrets } = find(resources, 'Container', 'pgadmin');
    const server = {
      ...{ Name: 'postgres-failover (test)', Group: 'Servers', Host: 'haproxy', Port: 5432 },
      ...{ MaintenanceDB: 'blink_db', Username: 'blink_user' },
      ConnectionParameters: { sslmode: 'prefer', passfile: '/pgpass', connect_timeout: 30 },
    };
    expect(inputs).toEqual({
      ...running('pgadmin', 'pgadmin', '10005:10005', 10),
      tmpfs: { '/var/lib/pgadmin': 'rw,noexec,nosuid,nodev,size=256m,mode=0700,uid=10005,gid=10005' },
      networksAdvanced: [{ name: 'postgres-failover-front' }],
      ports: [published(5050)],
      uploads: [
        upload('/etc/pgadmin/login', 'admin@example.com'),
        upload('/etc/pgadmin/secrets/login_password', GENERATED),
        upload('/etc/pgadmin/secrets/pgpass', 'haproxy:5432:*:blink_user:12345\n'),
        upload('/etc/pgadmin/servers.json', JSON.stringify({ Servers: { 1: server } })),
      ],
      ...{ wait: true, waitTimeout: 600 },
    });
    expect(secrets).toEqual(['uploads']);
  });

  it('escapes what a passfile could misread', () => {
    expect(passfile('a:b', 'c\\d')).toBe('haproxy:5432:*:a\\:b:c\\\\d\n');
  });
});

describe('the container that tests restores', () => {
  it('has exactly these inputs: nothing to write but its own volume, and no secret', () => {
    const { inputs, secrets } = find(resources, 'Container', 'backup-check');
    expect(inputs).toEqual({
      ...{ ...common('backup-check'), name: 'backup-check', image: 'sha256:postgres-image', user: '10000:10000' },
      ...{ stopTimeout: 20, destroyGraceSeconds: 20 },
      command: ['nice', '-n', '10', 'node', '--disable-sigusr1', '/app/keeper.mjs', 'restore-tests'],
      readOnly: true,
      tmpfs: { '/tmp': 'rw,noexec,nosuid,nodev,size=16m,mode=1777' },
      ...{ memory: 1024, shmSize: 256, cpuShares: 64 },
      networksAdvanced: [inner(14)],
      mounts: [
        volume('backup-check-scratch', '/var/lib/postgresql'),
        { ...volume('postgres-backup', '/var/lib/postgres-backup'), readOnly: true },
      ],
    });
    expect(secrets).toEqual([]);
  });

  it('gets the key of its own connection by standard input, and neither passphrase nor cluster key', () => {
    const { inputs, secrets } = find(resources, 'Command', 'backup-check-config');
    const { stdin, ...rest } = inputs as { stdin: string };
    expect(CheckerConfig.parse(JSON.parse(stdin))).toEqual({
      monitor: { host: '10.201.43.11', port: 7403 },
      key: derivedPassword(GENERATED, 'checker'),
    });
    expect(stdin).not.toContain(GENERATED);
    expect(JSON.stringify(rest)).not.toContain(derivedPassword(GENERATED, 'checker'));
    expect(secrets).toEqual(['stdin']);
  });

  it('is not there without backups or with backupCheckEvery off, and the monitor tests none then', async () => {
    const without: Record<string, string>[] = [{ backup: 'false' }, { backupCheckEvery: 'off' }];
    for (const raw of without) {
      const all = await register(() => {
        makeCluster(raw);
      });
      expect(all.filter(({ name }) => name.startsWith('backup-check'))).toEqual([]);
      const [file] = find(all, 'Container', 'failover-monitor').inputs.uploads as { content: string }[];
      expect(MonitorConfig.parse(JSON.parse(file?.content ?? '')).backupCheckEveryMs).toBeUndefined();
    }
  });
});

describe('the pooler', () => {
  let withIt: Registered[] = [];
  beforeAll(async () => {
    withIt = await register(() => {
      const roles = { poolRoles: JSON.stringify({ report: VERIFIER }), poolPort: '7432' };
      makeCluster({ ...DATABASE, pooler: 'true', ...roles }, { databasePassword: PASSWORD });
    });
  });
  const file = () => {
    const [upload] = find(withIt, 'Container', 'pooler').inputs.uploads as { content: string }[];
    return PoolerConfig.parse(JSON.parse(upload?.content ?? ''));
  };

  it('has exactly these inputs', () => {
    const { inputs, secrets } = find(withIt, 'Container', 'pooler');
    expect(inputs).toEqual({
      ...running('pooler', 'pooler', '10006:10006', 10),
      tmpfs: { '/run/pooler': 'rw,noexec,nosuid,nodev,size=16m,mode=0700,uid=10006,gid=10006' },
      networksAdvanced: [inner(13), { name: 'postgres-failover-front', aliases: ['pooler'] }],
      ports: [published(6432, 7432), published(6433, 7433)],
      uploads: [upload('/etc/postgres-failover/pooler.json', expect.any(String))],
      healthcheck: { tests: ['CMD', 'pooler-health'], interval: '15s', timeout: '5s', retries: 2 },
    });
    expect(secrets).toEqual(['uploads']);
  });

  it('is told verifiers, the key of its own lease, and neither a password nor the cluster key', async () => {
    expect(file()).toEqual({
      monitor: { host: '10.201.43.11', port: 7401 },
      key: derivedPassword(GENERATED, 'pooler'),
      haproxy: { host: '10.201.43.10', port: 5440 },
      database: 'blink_db',
      tls: 'on',
      holdTimeoutMs: 30_000,
      poolSize: 20,
      pools: [
        { role: 'blink_user', port: 6432, verifier: await verifierOf(PASSWORD, Buffer.from(SALT, 'base64')) },
        { role: 'report', port: 6433, verifier: VERIFIER },
      ],
      backends: {
        alias: 'backends',
        connectQuery: expect.stringMatching(/^SET statement_timeout=0;SET search_path='public';.*'synchronous_commit'/),
      },
    });
    expect(JSON.stringify(file())).not.toContain(GENERATED);
    expect(file().backends?.connectQuery).not.toMatch(/\n|--/);
    expect(file().backends?.connectQuery.match(/SET /g)).toHaveLength(11);
  });

  it('is what the backends connect to, for writing', () => {
    const { inputs } = find(withIt, 'Container', 'backend');
    const urls = (inputs.uploads as { file: string; content: string }[]).map(({ content }) => content);
    expect(urls.slice(0, 2)).toEqual([
      'postgresql://blink_user:12345@haproxy:5433/blink_db?sslmode=disable',
      'postgresql://blink_user:12345@pooler:6432/backends?sslmode=disable',
    ]);
    expect(
      MonitorConfig.parse(
        JSON.parse(
          (find(withIt, 'Container', 'failover-monitor').inputs.uploads as { content: string }[])[0]?.content ?? '',
        ),
      ).pooler,
    ).toBe(true);
  });
});
