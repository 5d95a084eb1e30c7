/** The stack's containers and ports, as the engine reports them. */
import { connect } from 'node:net';
import { z } from 'zod';
import { run } from '../../scripts/lib/exec';
import { STACK_LABEL } from '../../stack/naming';
import type { Topology } from '../../stack/topology';
import { type ContainerFact, DockerState, type PortFact } from './facts';

const ASK_MS = 10_000;
const CONNECT_MS = 1_000;

const Inspected = z.object({
  Name: z.string(),
  State: z.object({
    Status: DockerState,
    ExitCode: z.number(),
    Error: z.string(),
    OOMKilled: z.boolean(),
  }),
  Config: z.object({ Labels: z.record(z.string(), z.string()).nullable() }),
  NetworkSettings: z.object({
    Networks: z.record(z.string(), z.unknown()),
    Ports: z.record(z.string(), z.array(z.object({ HostPort: z.string() })).nullable()).nullable(),
  }),
});
type Inspected = z.infer<typeof Inspected>;

interface Wanted {
  name: string;
  role: ContainerFact['role'];
  networks: string[];
}

function wanted({ haproxy, monitor, nodes, backends, prometheus, pgadmin, networks }: Topology): Wanted[] {
  const { inner, front } = networks;
  return [
    { name: haproxy.name, role: 'haproxy', networks: [inner, front] },
    { name: monitor.name, role: 'monitor', networks: [inner] },
    ...nodes.map(({ name }) => ({ name, role: 'node' as const, networks: [inner] })),
    ...backends.map(({ name }) => ({ name, role: 'backend' as const, networks: [front] })),
    ...(prometheus === undefined ? [] : [{ name: prometheus.name, role: 'prometheus' as const, networks: [inner] }]),
    ...(pgadmin === undefined ? [] : [{ name: pgadmin.name, role: 'pgadmin' as const, networks: [front] }]),
  ];
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
  const connected = Object.keys(found?.NetworkSettings.Networks ?? {});
  return {
    name,
    role,
    state,
    exitCode: found?.State.ExitCode ?? 0,
    error: found?.State.Error ?? '',
    outOfMemory: found?.State.OOMKilled ?? false,
    foreign: found !== undefined && found.Config.Labels?.[STACK_LABEL] !== topology.stackLabel,
    missingNetworks: state === 'running' ? networks.filter((network) => !connected.includes(network)) : [],
  };
}

type WantedPort = Pick<PortFact, 'key' | 'port' | 'owner'> & { address: string };

/**
 * The host ports of a stack, each with the container that publishes it. HAProxy publishes those without another owner.
 */
export function portsOf({ ports, haproxy, monitor, prometheus, pgadmin, settings }: Topology): WantedPort[] {
  const { bindAddress } = settings;
  const address = bindAddress === '0.0.0.0' ? '127.0.0.1' : bindAddress;
  const owners: Partial<Record<string, string>> = {
    monitorPort: monitor.name,
    prometheusPort: prometheus?.name,
    pgadminPort: pgadmin?.name,
  };
  return Object.entries(ports).flatMap(([key, port]) =>
    port === undefined ? [] : [{ key, port, owner: owners[key] ?? haproxy.name, address }],
  );
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
