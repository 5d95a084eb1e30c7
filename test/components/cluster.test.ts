import { describe, expect, it } from 'vitest';
import type { PostgresCluster } from '../../components/postgres-cluster';
import { endpoints } from '../../stack/endpoints';
import { find, listing, makeCluster, type Registered, register, topologyOf } from './mocks';

const cluster = (raw: Record<string, string> = {}, databasePassword?: string): Promise<Registered[]> =>
  register(() => {
    makeCluster(raw, { databasePassword });
  });

/** What there is with one primary, without replicas and without a backend. */
const SMALLEST = [
  'BackupCheck backup-check',
  'Command backup-check-config',
  'Command failover-monitor-log-folder',
  'Command haproxy-apply-config',
  'Command postgres-primary-ready',
  'Command serving',
  'Container backup-check',
  'Container failover-monitor',
  'Container haproxy',
  'Container postgres-primary',
  'HaProxy haproxy',
  'Image haproxy-image',
  'Image monitor-image',
  'Image postgres-image',
  'Monitor failover-monitor',
  'Network postgres-failover-front',
  'Network postgres-failover-inner',
  'PostgresCluster db',
  'PostgresNode postgres-primary',
  'RandomBytes password-salt',
  'RandomPassword certificate-authority',
  'RandomPassword cluster-key',
  'Volume backup-check-scratch',
  'Volume failover-monitor-store',
  'Volume haproxy-config',
  'Volume haproxy-sockets',
  'Volume postgres-backup',
  'Volume postgres-primary-data',
];
const replica = (i: number) => [
  `Command postgres-replica-${i}-ready`,
  `Container postgres-replica-${i}`,
  `PostgresNode postgres-replica-${i}`,
  `Volume postgres-replica-${i}-data`,
];
const BACKEND = [
  'Backend backend',
  'Command password-in-force',
  'Command tell-backends-password',
  'Container backend',
  'Image backend-image',
  'RandomPassword jwt-key',
];

describe('the cluster', () => {
  const PGADMIN = ['Container pgadmin', 'Image pgadmin-image', 'PgAdmin pgadmin', 'RandomPassword pgadmin-password'];
  const MORE = ['Backend backend-2', 'Backend backend-3', 'Container backend-2', 'Container backend-3'];
  it.each<[string, Record<string, string>, string[]]>([
    ['one replica and a backend by default', {}, [...replica(1), ...BACKEND]],
    ['no replica with replicas 0 and no backend with backend false', { replicas: '0', backend: 'false' }, []],
    ['eight replicas with replicas 8', { replicas: '8' }, [...[1, 2, 3, 4, 5, 6, 7, 8].flatMap(replica), ...BACKEND]],
    ['three backends with backendReplicas 3', { backendReplicas: '3' }, [...replica(1), ...BACKEND, ...MORE]],
    ['none of them without a backend', { replicas: '0', backend: 'false', backendReplicas: '3' }, []],
    [
      'a pooler with pooler true',
      { pooler: 'true' },
      [...replica(1), ...BACKEND, 'Container pooler', 'Image pooler-image', 'Pooler pooler'],
    ],
    [
      'pgAdmin with pgadmin true, also without a backend',
      { replicas: '0', backend: 'false', pgadmin: 'true' },
      [...PGADMIN, 'Command password-in-force'],
    ],
  ])('has exactly these parts: %s', async (_, raw, parts) => {
    expect(listing(await cluster(raw, '12345'))).toEqual([...SMALLEST, ...parts].sort());
  });

  it('makes a password where none was given', async () => {
    const expected = [...SMALLEST, ...replica(1), ...BACKEND, 'RandomPassword database-password'];
    expect(listing(await cluster())).toEqual(expected.sort());
  });

  it('has an output for each part that runs, and no undefined one', async () => {
    const names = async (raw: Record<string, string>) => {
      const made: PostgresCluster[] = [];
      await register(() => {
        made.push(makeCluster(raw));
      });
      const outputs = { ...endpoints(topologyOf(raw)), ...made[0]?.secretOutputs() };
      expect(Object.values(outputs)).not.toContain(undefined);
      return Object.keys(outputs);
    };
    const always = [
      'psql',
      'monitorUrl',
      'statsUrl',
      'logFile',
      'clientPlaces',
      'writeUrl',
      'readUrl',
      'databasePassword',
      'adminToken',
    ];
    expect((await names({ backend: 'false', backup: 'false' })).sort()).toEqual(always.sort());
    const optional = [
      'apiUrl',
      'apiDocsUrl',
      'prometheusUrl',
      'pgadminUrl',
      'pgadminLogin',
      'poolUrl',
      'backupPassphrase',
    ];
    const all = await names({ pgadmin: 'true', monitoring: 'true', pooler: 'true' });
    expect(all).toEqual(expect.arrayContaining([...always, ...optional]));
  });

  it('leaves every input of HAProxy, its config and the other backends as they are when backends come', async () => {
    const before = await cluster({}, '12345');
    const after = await cluster({ backendReplicas: '8' }, '12345');
    for (const name of ['haproxy', 'failover-monitor', 'backend'])
      expect(find(after, 'Container', name)).toEqual(find(before, 'Container', name));
    const config = (all: Registered[]) => find(all, 'Command', 'haproxy-apply-config');
    expect(config(after)).toEqual(config(before));
    const { name, ...second } = find(after, 'Container', 'backend-2').inputs;
    const { name: _, ...first } = find(after, 'Container', 'backend').inputs;
    expect(name).toBe('backend-2');
    expect(second).toEqual(first);
  });

  it('leaves every input of a running node as it is, whatever can be tuned', async () => {
    const before = await cluster({}, '12345');
    const tuned = {
      ...{ replicas: '3', hangTimeout: '5s', syncMode: 'asynchronous', onNoReplica: 'block', maxLag: '1GB' },
      ...{ readFallback: 'false', startGrace: '1s', switchback: 'false', switchbackAfter: '1m', holdTimeout: '5s' },
      ...{
        backup: 'true',
        backupQueue: '1GB',
        writePort: '6434',
        bindAddress: '0.0.0.0',
        databaseName: 'other',
        databaseUser: 'other',
        backend: 'false',
      },
    };
    const after = await cluster(tuned, 'other');
    for (const name of ['postgres-primary', 'postgres-replica-1'])
      expect(find(after, 'Container', name)).toEqual(find(before, 'Container', name));
  });

  it('builds its images for the given platform from the staged folders, side by side', async () => {
    const resources = await cluster({ namePrefix: 'prg-', baseImage: 'debian:x' });
    for (const image of ['postgres', 'haproxy', 'monitor', 'backend']) {
      expect(find(resources, 'Image', `${image}-image`).inputs).toMatchObject({
        imageName: `postgres-failover/${image}:prg-test`,
        skipPush: true,
        build: {
          context: `build/images/${image}`,
          args: { BASE_IMAGE: 'debian:x' },
          builderVersion: 'BuilderV1',
          platform: 'linux/arm64',
        },
      });
    }
  });

  it('puts the fixed addresses on an own subnet and leaves the front one to Docker', async () => {
    const resources = await cluster({ subnet: '10.214.0.0/16' });
    expect(find(resources, 'Network', 'postgres-failover-inner').inputs).toEqual({
      name: 'postgres-failover-inner',
      labels: [
        { label: 'postgres-failover.role', value: 'network' },
        { label: 'postgres-failover.stack', value: 'postgres-failover/test' },
      ],
      ipamConfigs: [{ subnet: '10.214.0.0/16' }],
    });
    expect(find(resources, 'Network', 'postgres-failover-front').inputs).not.toHaveProperty('ipamConfigs');
  });

  it('has PostgreSQL check its settings before the monitor is touched, and only where there are some', async () => {
    const resources = await cluster({ postgresSettings: '{"work_mem":"8MB","jit":false}', nodeMemory: '2GB' });
    const { inputs } = find(resources, 'Command', 'postgres-settings-check');
    expect(inputs).toMatchObject({
      stdin: '{"jit":"off","work_mem":"8MB"}',
      environment: { POSTGRES_IMAGE: 'sha256:postgres-image', MEMORY: '2147483648' },
      triggers: ['sha256:postgres-image', '{"jit":"off","work_mem":"8MB"}', 2147483648],
    });
    expect(inputs.create).toMatch(
      /^docker run --rm .*--network none --read-only --cap-drop ALL.* --memory "\$MEMORY" /,
    );
    expect(JSON.stringify(find(resources, 'Container', 'failover-monitor').inputs.uploads)).toContain('work_mem');
    const before = await cluster({}, '12345');
    const after = await cluster({ postgresSettings: '{"max_connections":250}' }, '12345');
    const changed = after.filter((r) => {
      const old = before.find((b) => b.name === r.name && b.type === r.type);
      return JSON.stringify(old?.inputs) !== JSON.stringify(r.inputs);
    });
    expect(listing(changed)).toEqual(['Command postgres-settings-check', 'Container failover-monitor']);
  });

  it('waits at the end until it serves, again whenever a container is a new one', async () => {
    const resources = await cluster({ replicas: '2', backendReplicas: '2', namePrefix: 'prg-' });
    expect(find(resources, 'Command', 'serving').inputs).toEqual({
      create: 'docker exec -e PGFAILOVER_LEFT_STOPPED prg-failover-monitor wait-serving 180',
      triggers: [
        'db-failover-monitor-id',
        'db-haproxy-id',
        'db-postgres-primary-id',
        'db-postgres-replica-1-id',
        'db-postgres-replica-2-id',
        'db-backend-id',
        'db-backend-2-id',
      ],
    });
  });

  it('waits for a node in a step of its own, which fails without taking the container with it', async () => {
    const resources = await cluster({ namePrefix: 'prg-' });
    expect(find(resources, 'Command', 'postgres-replica-1-ready').inputs).toEqual({
      create: 'docker exec prg-failover-monitor pgfailover wait-node prg-postgres-replica-1 300',
      triggers: ['db-postgres-replica-1-id'],
    });
    expect(find(resources, 'Container', 'postgres-replica-1').inputs).not.toHaveProperty('wait');
  });

  it('keeps every password and key out of all inputs but the secret ones', async () => {
    const resources = await cluster({}, 'pass-phrase-1');
    for (const { name, inputs, secrets } of resources) {
      const open = Object.entries(inputs).filter(([key]) => !secrets.includes(key));
      expect(`${name} ${JSON.stringify(open)}`).not.toMatch(/pass-phrase-1|generated-|SCRAM/);
    }
    const holders = resources.filter((resource) => resource.secrets.length > 0).map((resource) => resource.name);
    const nodes = ['postgres-primary', 'postgres-replica-1'];
    expect(holders).toEqual([
      ...['backend', 'backup-check-config', 'failover-monitor', 'password-in-force'],
      ...[...nodes, 'tell-backends-password'],
    ]);
  });
});
