/** The stack's containers and ports, as the engine reports them. */
import { connect } from 'node:net';
import { z } from 'zod';
import { Connected } from '../../scripts/lib/docker';
import { run } from '../../scripts/lib/exec';
import { poolPorts } from '../../stack/config';
import { NAMES, STACK_LABEL } from '../../stack/naming';
import type { Topology } from '../../stack/topology';
import { type ContainerFact, DockerState, type NetworkFact, type PortFact } from './facts';

const ASK_MS = 10_000;
const CONNECT_MS = 1_000;

const Inspected = z.object({
  Name: z.string(),
  Image: z.string(),
  RestartCount: z.number(),
  State: z.object({
    Status: DockerState,
    ExitCode: z.number(),
    Error: z.string(),
    OOMKilled: z.boolean(),
    StartedAt: z.string(),
  }),
  Config: z.object({ Labels: z.record(z.string(), z.string()).nullable() }),
  NetworkSettings: z.object({
    Networks: z.record(z.string(), Connected),
    Ports: z.record(z.string(), z.array(z.object({ HostPort: z.string() })).nullable()).nullable(),
  }),
});
type Inspected = z.infer<typeof Inspected>;

interface WantedNetwork {
  name: string;
  /** Fixed address; undefined: the engine chooses one. */
  address?: string;
  /** Name by which the others find the container. */
  alias?: string;
}

interface Wanted {
  name: string;
  role: ContainerFact['role'];
  networks: WantedNetwork[];
}

function wanted({
  haproxy,
  monitor,
  nodes,
  backends,
  prometheus,
  pgadmin,
  pooler,
  backupCheck,
  networks,
}: Topology): Wanted[] {
  const { inner, front } = networks;
  const at = ({ name, address }: { name: string; address: string }, role: ContainerFact['role']): Wanted => ({
    ...{ name, role, networks: [{ name: inner, address }] },
  });
  /** On both networks; on the front one the others find it by its alias. */
  const between = (one: { name: string; address: string }, role: 'haproxy' | 'pooler'): Wanted => {
    const { networks: onInner } = at(one, role);
    return { name: one.name, role, networks: [...onInner, { name: front, alias: NAMES[role] }] };
  };
  return [
    between(haproxy, 'haproxy'),
    at(monitor, 'monitor'),
    ...nodes.map((node) => at(node, 'node')),
    ...backends.map(
      ({ name }): Wanted => ({ name, role: 'backend', networks: [{ name: front, alias: NAMES.backend }] }),
    ),
    ...(pooler === undefined ? [] : [between(pooler, 'pooler')]),
    ...(backupCheck === undefined ? [] : [at(backupCheck, 'checker')]),
    ...(prometheus === undefined ? [] : [at(prometheus, 'prometheus')]),
    ...(pgadmin === undefined ? [] : [{ name: pgadmin.name, role: 'pgadmin' as const, networks: [{ name: front }] }]),
  ];
}

/** How a container is connected that the stack connects otherwise; null: all is well. */
export function networkFact(
  { name: network, address, alias }: WantedNetwork,
  found: z.infer<typeof Connected> | undefined,
): NetworkFact | null {
  const flags = { ip: address, alias };
  const options = Object.entries(flags).map(([flag, value]) => (value === undefined ? '' : `--${flag} ${value} `));
  const fact = (problem: string | null) => ({ network, options: options.join(''), problem });
  if (found === undefined) return fact(null);
  if (address !== undefined && found.IPAMConfig?.IPv4Address !== address)
    return fact(`with the address ${found.IPAddress || 'that the engine chooses'} instead of ${address}`);
  return alias === undefined || found.Aliases?.includes(alias) ? null : fact(`without its name ${alias}`);
}

/** Inspects every container that the stack should have, and the ports that they publish. */
export async function lookAtContainers(
  topology: Topology,
): Promise<{ containers: ContainerFact[]; ports: PortFact[] }> {
  const all = wanted(topology);
  // The exit code only says that a container is missing. The existing ones are printed all the same.
  const result = await run('docker', ['container', 'inspect', ...all.map(({ name }) => name)], { deadlineMs: ASK_MS });
  const inspected = z.array(Inspected).parse(JSON.parse(result.stdout || '[]'));
  const found = new Map(inspected.map((one) => [one.Name.replace(/^\//, ''), one]));
  return {
    containers: all.map((one) => containerFact(one, found.get(one.name), topology)),
    ports: await Promise.all(portsOf(topology).map((port) => portFact(port, found))),
  };
}

function containerFact(
  { name, role, networks }: Wanted,
  found: Inspected | undefined,
  topology: Topology,
): ContainerFact {
  const state = found?.State.Status ?? 'missing';
  const connected = found?.NetworkSettings.Networks ?? {};
  const wrong = networks.map((network) => networkFact(network, connected[network.name]));
  return {
    name,
    role,
    state,
    exitCode: found?.State.ExitCode ?? 0,
    error: found?.State.Error ?? '',
    outOfMemory: found?.State.OOMKilled ?? false,
    foreign: found !== undefined && found.Config.Labels?.[STACK_LABEL] !== topology.stackLabel,
    wrongNetworks: state === 'running' ? wrong.filter((fact) => fact !== null) : [],
    image: found?.Image ?? '',
    // The count begins anew when a person starts the container.
    restartedAt: found !== undefined && found.RestartCount > 0 ? Date.parse(found.State.StartedAt) : null,
  };
}

type WantedPort = Pick<PortFact, 'key' | 'port' | 'owner'> & { address: string };

/**
 * The host ports of a stack, each with the container that publishes it. HAProxy publishes those without another owner.
 */
export function portsOf({ ports, haproxy, monitor, prometheus, pgadmin, pooler, settings }: Topology): WantedPort[] {
  const { bindAddress } = settings;
  const address = bindAddress === '0.0.0.0' ? '127.0.0.1' : bindAddress;
  const owners: Partial<Record<string, string>> = {
    monitorPort: monitor.name,
    prometheusPort: prometheus?.name,
    pgadminPort: pgadmin?.name,
    poolPort: pooler?.name,
  };
  const named = Object.entries(ports).flatMap(([key, port]) =>
    port === undefined ? [] : [{ key, port, owner: owners[key] ?? haproxy.name, address }],
  );
  if (pooler === undefined) return named;
  return [...named, ...poolPorts(settings).map(([key, port]) => ({ key, port, owner: pooler.name, address }))];
}

async function portFact({ address, ...port }: WantedPort, found: ReadonlyMap<string, Inspected>): Promise<PortFact> {
  const own = Object.values(found.get(port.owner)?.NetworkSettings.Ports ?? {}).flatMap((bindings) => bindings ?? []);
  const published = own.some(({ HostPort }) => HostPort === String(port.port));
  const taken = !published && (await somebodyListens(address, port.port));
  return { ...port, published, takenBy: taken ? await holderOf(port.port) : null };
}

function somebodyListens(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: CONNECT_MS });
    const end = (listens: boolean) => {
      socket.destroy();
      resolve(listens);
    };
    socket.once('connect', () => end(true));
    socket.once('timeout', () => end(false));
    socket.once('error', () => end(false));
  });
}

async function holderOf(port: number): Promise<string> {
  const args = ['ps', '--filter', `publish=${port}`, '--format', '{{.Names}}'];
  const [name] = (await run('docker', args, { deadlineMs: ASK_MS })).stdout.split('\n');
  return name ? `container ${name}` : 'a process on this machine';
}
