import { describe, expect, it } from 'vitest';
import { contextProblem, type EngineState, nameProblems, portProblems, subnetProblems } from '../../stack/preflight';
import { settledProblems } from '../../stack/preflight-data';
import { topologyOf } from '../components/mocks';
import { VERIFIER } from '../rig/verifier';

const EMPTY: EngineState = { containers: [], volumes: [], networks: [] };
const OWN = { 'postgres-failover.stack': 'postgres-failover/test' };
const OTHER = { 'postgres-failover.stack': 'postgres-failover/other' };
const free = async () => undefined;

const container = (name: string, labels: Record<string, string>, address = '', port = 0) => ({
  name,
  labels,
  published: port ? [{ address, port }] : [],
});

describe('before a deployment, a name', () => {
  it("that is the stack's own is no problem", () => {
    const state = {
      containers: [container('postgres-primary', OWN)],
      volumes: [{ name: 'postgres-primary-data', labels: OWN }],
      networks: [{ name: 'postgres-failover-inner', labels: OWN, subnets: ['10.201.43.0/24'] }],
    };
    expect(nameProblems(topologyOf(), state)).toEqual([]);
    expect(subnetProblems(topologyOf(), state)).toEqual([]);
  });

  it("that is another's is named, for containers, volumes and networks at once", () => {
    const state = {
      containers: [container('postgres-primary', OTHER), container('unrelated', {})],
      volumes: [{ name: 'haproxy-sockets', labels: {} }],
      networks: [{ name: 'postgres-failover-front', labels: {}, subnets: [] }],
    };
    expect(nameProblems(topologyOf(), state)).toEqual([
      'container postgres-primary: the name is taken by stack postgres-failover/other; set namePrefix; or, if this stack ' +
        'was called so before, give it its name back (npm run pulumi -- stack rename other --stack test)',
      'volume haproxy-sockets: the name is taken by something that is not of this stack; remove or rename it, or set namePrefix',
      'network postgres-failover-front: the name is taken by something that is not of this stack; remove or rename it, or set namePrefix',
    ]);
  });

  it('of an older compose stack is named as such, with the command that takes it down', () => {
    const labels = {
      'com.docker.compose.project': 'blink',
      'com.docker.compose.project.config_files': '/srv/blink/docker-compose.simple-failover.yml',
    };
    expect(nameProblems(topologyOf(), { ...EMPTY, containers: [container('haproxy', labels)] })).toEqual([
      'container haproxy: the name is taken by the Docker Compose project blink; ' +
        'take it down (docker-compose -f /srv/blink/docker-compose.simple-failover.yml down) or set namePrefix',
    ]);
  });

  it('of a backend matters only when there is one', () => {
    const problems = (name: string, raw: Record<string, string>) =>
      nameProblems(topologyOf(raw), { ...EMPTY, containers: [container(name, {})] });
    expect([problems('backend', {}).length, problems('backend', { backend: 'false' }).length]).toEqual([1, 0]);
    expect([problems('backend-2', { backendReplicas: '2' }).length, problems('backend-2', {}).length]).toEqual([1, 0]);
    expect([problems('pgadmin', { pgadmin: 'true' }).length, problems('pgadmin', {}).length]).toEqual([1, 0]);
  });
});

describe('before a deployment, a port', () => {
  it("that this stack's own container publishes is no problem", async () => {
    const state = { ...EMPTY, containers: [container('haproxy', OWN, '127.0.0.1', 5434)] };
    const probe = async (port: number) => (port === 5434 ? ('taken' as const) : undefined);
    expect(await portProblems(topologyOf(), state, probe)).toEqual([]);
  });

  it('that another container or process holds is named with its key', async () => {
    const state = { ...EMPTY, containers: [container('web', {}, '0.0.0.0', 8000)] };
    const probe = async (port: number) => (port === 5435 ? ('taken' as const) : undefined);
    expect(await portProblems(topologyOf(), state, probe)).toEqual([
      'readPort: port 5435 is in use by a process on this machine; free it or choose another (pulumi config set readPort …)',
      'backendPort: port 8000 is in use by container web; free it or choose another (pulumi config set backendPort …)',
    ]);
  });

  it('of the pooler is looked at as well, those of its further roles included', async () => {
    const topology = topologyOf({ pooler: 'true', poolRoles: JSON.stringify({ report: VERIFIER }) });
    const probe = async (port: number) => (port === 6432 || port === 6433 ? ('taken' as const) : undefined);
    const message = (key: string, port: number) =>
      `${key}: port ${port} is in use by a process on this machine; free it or choose another (pulumi config set poolPort …)`;
    expect(await portProblems(topology, EMPTY, probe)).toEqual([
      message('poolPort', 6432),
      message('poolRoles (report)', 6433),
    ]);
  });

  it('that is taken on ::1 alone is named, too, where HAProxy publishes there', async () => {
    const probe = async (port: number, address: string) =>
      port === 5434 && address === '::1' ? ('taken' as const) : undefined;
    const words =
      'writePort: port 5434 on ::1 is in use by a process on this machine; free it or choose another (pulumi config set writePort …)';
    expect(await portProblems(topologyOf(), EMPTY, probe, true)).toEqual([words]);
    expect(await portProblems(topologyOf(), EMPTY, probe, false)).toEqual([]);
    // A stack of an earlier release publishes on 127.0.0.1 alone.
    const earlier = { ...EMPTY, containers: [container('haproxy', OWN, '127.0.0.1', 5434)] };
    expect(await portProblems(topologyOf(), earlier, probe, true)).toEqual([words]);
    const state = { ...EMPTY, containers: [container('web', {}, '::', 5435), container('own', OWN, '::1', 5434)] };
    expect(await portProblems(topologyOf(), state, probe, true)).toEqual([
      'readPort: port 5435 on ::1 is in use by container web; free it or choose another (pulumi config set readPort …)',
    ]);
  });

  it('on another address is no problem', async () => {
    const state = { ...EMPTY, containers: [container('web', {}, '192.168.1.5', 8000)] };
    expect(await portProblems(topologyOf(), state, free)).toEqual([]);
  });

  it('on an address that this machine does not have is told once', async () => {
    expect(await portProblems(topologyOf({ bindAddress: '10.9.9.9' }), EMPTY, async () => 'address')).toEqual([
      'bindAddress: 10.9.9.9 is no address of this machine; use one that it has',
    ]);
  });
});

describe('before a deployment, a subnet', () => {
  it("that overlaps another's network is named", () => {
    const networks = [
      { name: 'vpn', labels: {}, subnets: ['10.0.0.0/8'] },
      { name: 'bridge', labels: {}, subnets: ['172.17.0.0/16', 'fd00::/64'] },
    ];
    expect(subnetProblems(topologyOf(), { ...EMPTY, networks })).toEqual([
      'subnet: 10.201.43.0/24 overlaps Docker network vpn (10.0.0.0/8); choose another private network of size /16 to /24',
    ]);
  });
});

describe('before a deployment, a Docker context', () => {
  it('that plain pulumi does not know is refused, with the variable and the way', () => {
    expect(contextProblem({ DOCKER_CONTEXT: 'other' })).toBe(
      'DOCKER_CONTEXT=other is not known to plain pulumi: use the line that "npm run setup" prints, ' +
        'which sets DOCKER_HOST, or unset DOCKER_CONTEXT.',
    );
  });

  it('is no problem where DOCKER_HOST comes before it, or where it is the default one', () => {
    expect(contextProblem({ DOCKER_CONTEXT: 'other', DOCKER_HOST: 'unix:///run/other.sock' })).toBeUndefined();
    for (const name of [undefined, '', 'default']) expect(contextProblem({ DOCKER_CONTEXT: name })).toBeUndefined();
  });
});

describe('before a deployment, what is settled with the data', () => {
  const ROLE = { ...OWN, 'postgres-failover.role': 'postgres-data' };
  const LABELS = { ...ROLE, 'postgres-failover.database': 'app', 'postgres-failover.owner': 'app' };
  const made = (name: string, labels: Record<string, string> = LABELS) => ({ name, labels });
  const REMOVE = 'or remove the data first (npm run destroy -- --volumes)';

  it('may stay as it is, and is of no matter without data or with data of an earlier release, which does not tell', () => {
    expect(settledProblems(topologyOf(), [made('postgres-primary-data')])).toEqual([]);
    expect(settledProblems(topologyOf({ databaseName: 'other' }), [])).toEqual([]);
    expect(settledProblems(topologyOf({ databaseName: 'other' }), [made('postgres-primary-data', ROLE)])).toEqual([]);
  });

  it('is refused when it changes, with the value that must stay', () => {
    const volumes = [made('postgres-primary-data')];
    expect(settledProblems(topologyOf({ databaseName: 'other', databaseUser: 'me' }), volumes)).toEqual([
      `databaseName: "other" is refused; the data of this stack was made with "app", which must stay, ${REMOVE}`,
      `databaseUser: "me" is refused; the data of this stack was made with "app", which must stay, ${REMOVE}`,
    ]);
  });

  it('is refused when another prefix would begin with empty volumes, but not for other stacks’ data', () => {
    expect(settledProblems(topologyOf({ namePrefix: 'b-' }), [made('a-postgres-primary-data')])).toEqual([
      `namePrefix: "b-" is refused; the data of this stack is in volume a-postgres-primary-data, so it must stay "a-", ${REMOVE}`,
    ]);
    const others = [made('a-postgres-primary-data', { ...LABELS, ...OTHER })];
    expect(settledProblems(topologyOf({ namePrefix: 'b-' }), others)).toEqual([]);
  });
});
