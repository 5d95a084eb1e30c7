/**
 * Checks the machine before anything is created: the engine answers, the images are staged, and every name, port and
 * subnet that the stack needs is free or belongs to the stack already. It reports all problems at once. `npm run up`
 * also uses it.
 */

import { existsSync, readFileSync, type Stats, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import * as pulumi from '@pulumi/pulumi';
import Docker from 'dockerode';
import { messageOf } from '../failover/contract/errors';
import { IDS } from '../failover/contract/layout';
import { boundAddresses, IPV6_LOOPBACK, sameAddress } from './addresses';
import { s3PathOf } from './backup-s3';
import { poolPorts, problemList } from './config';
import { overlaps } from './config-values';
import { imagesOf } from './image-args';
import { IMAGES_FOLDER, imageContext, STACK_LABEL } from './naming';
import { certificateProblems } from './own-certificate';
import { settledProblems } from './preflight-data';
import { missingRepository } from './restore-from';
import { isStale } from './sources';
import type { Topology } from './topology';

const ENGINE_DEADLINE_MS = 15_000;

/** Facts about the engine that the program needs. */
export interface Engine {
  /** Its own platform, for example `linux/amd64`; images are built for it. */
  readonly platform: string;
  /** The machine has ::1. False where that cannot be tried, because the engine runs on another machine. */
  readonly ipv6Loopback: boolean;
}

/** The objects on the engine, reduced to the parts that the checks compare. */
export interface EngineState {
  readonly containers: readonly {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    /** Host addresses and ports published at the moment; a stopped container has none. */
    readonly published: readonly { readonly address: string; readonly port: number }[];
  }[];
  readonly volumes: readonly { readonly name: string; readonly labels: Readonly<Record<string, string>> }[];
  readonly networks: readonly {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly subnets: readonly string[];
  }[];
}

/**
 * Why this process cannot listen on a port: `taken`, `address` (not an address of this machine), or undefined: no
 * reason is known.
 */
export type PortProbe = (port: number, address: string) => Promise<'taken' | 'address' | undefined>;

/**
 * Checks everything and returns the facts about the engine.
 *
 * @throws pulumi.RunError with every problem; nothing was created in that case.
 */
export async function preflight(topology: Topology, projectRoot = process.cwd()): Promise<Engine> {
  const context = contextProblem(process.env);
  if (context !== undefined) throw new pulumi.RunError(context);
  const docker = new Docker({ timeout: ENGINE_DEADLINE_MS });
  const [engine, state] = await ask(docker);
  const ipv6Loopback = isLocal() && (await listens(0, IPV6_LOOPBACK)) === undefined;
  const problems = [
    ...missingClient(),
    ...missingContexts(topology, projectRoot),
    ...settledProblems(topology, state.volumes),
    ...(isLocal() ? [...certificateProblems(topology), ...backupFolderProblems(topology)] : []),
    ...authorityProblems(topology),
    ...samePlaceProblems(topology),
    ...nameProblems(topology, state),
    ...subnetProblems(topology, state),
    ...missingRepository(topology.settings.restoreFrom, state.volumes, topology.nodes[0]?.volume, (path) =>
      isLocal() ? existsSync(path) : true,
    ),
    ...(await portProblems(topology, state, isLocal() ? probePort : async () => undefined, ipv6Loopback)),
  ];
  if (problems.length > 0) throw new pulumi.RunError(problemList(`Stack ${topology.stackLabel}`, problems));
  return { ...engine, ipv6Loopback };
}

/**
 * Reports a Docker context. This program would talk to the default engine, and the `docker` command to the context's.
 * `npm run up` turns the context into DOCKER_HOST, which comes before it.
 */
export function contextProblem(env: NodeJS.ProcessEnv): string | undefined {
  const { DOCKER_CONTEXT: name, DOCKER_HOST: host } = env;
  if (host || !name || name === 'default') return undefined;
  return (
    `DOCKER_CONTEXT=${name} is not known to plain pulumi: use the line that "npm run setup" prints, ` +
    'which sets DOCKER_HOST, or unset DOCKER_CONTEXT.'
  );
}

async function ask(docker: Docker): Promise<[Pick<Engine, 'platform'>, EngineState]> {
  try {
    const [version, containers, volumes, networks] = await Promise.all([
      docker.version(),
      docker.listContainers({ all: true }),
      docker.listVolumes(),
      docker.listNetworks(),
    ]);
    return [{ platform: `${version.Os}/${version.Arch}` }, reduce(containers, volumes.Volumes, networks)];
  } catch (error) {
    throw new pulumi.RunError(unreachable(error));
  }
}

function reduce(
  containers: readonly Docker.ContainerInfo[],
  volumes: readonly Docker.VolumeInspectInfo[] | null,
  networks: readonly Docker.NetworkInspectInfo[],
): EngineState {
  return {
    containers: containers.map((container) => ({
      name: container.Names[0]?.replace(/^\//, '') ?? container.Id,
      labels: container.Labels,
      published: container.Ports.flatMap(({ IP, PublicPort }) =>
        PublicPort ? [{ address: IP, port: PublicPort }] : [],
      ),
    })),
    volumes: (volumes ?? []).map((volume) => ({ name: volume.Name, labels: volume.Labels ?? {} })),
    networks: networks.map((network) => ({
      name: network.Name,
      labels: network.Labels ?? {},
      subnets: (network.IPAM?.Config ?? []).flatMap((config) => (config.Subnet ? [config.Subnet] : [])),
    })),
  };
}

function unreachable(error: unknown): string {
  const where = process.env.DOCKER_HOST ?? 'unix:///var/run/docker.sock';
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const hint =
    code === 'EACCES'
      ? 'This user may not use it: add the user to the group docker and log in again, or run as root.'
      : 'Start it (systemctl start docker, or npm run setup), or point DOCKER_HOST at a running one.';
  return `The Docker engine at ${where} does not answer (${messageOf(error)}). ${hint}`;
}

function missingContexts(topology: Topology, projectRoot: string): string[] {
  const missing = imagesOf(topology)
    .map((image) => imageContext(image))
    .filter((folder) => !existsSync(join(projectRoot, folder, 'Dockerfile')));
  if (missing.length > 0) return [`${missing.join(', ')}: not there; run "npm run setup", which stages the images`];
  return isStale(projectRoot, IMAGES_FOLDER)
    ? [`${IMAGES_FOLDER}: staged from other sources than those of now; run "npm run setup", which stages the images`]
    : [];
}

/** The folder of the backups must be there, and belong to the nodes' user: the engine changes no owner. */
export function backupFolderProblems({ backupFolder: folder }: Topology): string[] {
  if (folder === undefined) return [];
  let found: Stats;
  try {
    found = statSync(folder);
  } catch (error) {
    return [
      `backupFolder: ${folder} cannot be used (${messageOf(error)}); make it: install -d -o 10000 -g 10000 -m 700`,
    ];
  }
  if (!found.isDirectory()) return [`backupFolder: ${folder} is no folder`];
  if (found.uid === IDS.postgres && (found.mode & 0o700) === 0o700) return [];
  return [
    `backupFolder: ${folder} belongs to the user id ${found.uid}; run: chown 10000:10000 ${folder} && chmod 700 ${folder}`,
  ];
}

/** The authorities of S3 must be readable here: their text goes to the nodes. */
export function authorityProblems({ settings: { backupS3, restoreFrom } }: Topology): string[] {
  return [
    ...caFileProblems('backupS3.caFile', backupS3?.caFile),
    ...caFileProblems('restoreFrom.s3.caFile', restoreFrom?.caFile),
  ];
}

function caFileProblems(part: string, caFile: string | undefined): string[] {
  if (caFile === undefined) return [];
  try {
    if (readFileSync(caFile, 'utf8').includes('-----BEGIN CERTIFICATE-----')) return [];
    return [`${part}: ${caFile} has no certificate in PEM form`];
  } catch (error) {
    return [`${part}: ${caFile} cannot be read (${messageOf(error)})`];
  }
}

/** The backups of a restored stack must not go where it was restored from: both have the same system identifier. */
export function samePlaceProblems({ settings, stack }: Topology): string[] {
  const { backupS3, restoreFrom, namePrefix } = settings;
  const from = restoreFrom?.source.s3;
  if (backupS3 === undefined || from === undefined) return [];
  const path = s3PathOf(backupS3, namePrefix, stack);
  const isSame = backupS3.endpoint === from.endpoint && backupS3.bucket === from.bucket && path === from.path;
  const why = 'is where restoreFrom reads, and two histories would meet there: give backupS3 another path';
  return isSame ? [`backupS3.path: ${path} in bucket ${from.bucket} ${why}`] : [];
}

/** Reports a missing Docker client. It applies HAProxy's config and waits for the cluster (`docker exec`). */
function missingClient(): string[] {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.some((folder) => existsSync(join(folder, 'docker')))
    ? []
    : ['docker: the command line client is not on PATH; install it (Debian: docker.io or docker-cli)'];
}

/** Names that belong to a container, volume or network outside this stack. */
export function nameProblems(topology: Topology, state: EngineState): string[] {
  const { haproxy, monitor, backends, pgadmin, nodes, networks } = topology;
  const prometheus = topology.prometheus === undefined ? [] : [topology.prometheus];
  const backupCheck = topology.backupCheck === undefined ? [] : [topology.backupCheck];
  const optional = [...backends, ...prometheus, ...backupCheck, ...(pgadmin === undefined ? [] : [pgadmin])];
  const wanted = {
    containers: [haproxy, monitor, ...nodes, ...optional].map((container) => container.name),
    volumes: [
      ...[haproxy.configVolume, haproxy.socketsVolume, monitor.storeVolume],
      ...[...nodes, ...prometheus, ...backupCheck].map(({ volume }) => volume),
    ],
    networks: [networks.inner, networks.front],
  };
  return (['containers', 'volumes', 'networks'] as const).flatMap((kind) =>
    state[kind]
      .filter((object) => wanted[kind].includes(object.name) && isForeign(object, topology))
      .map(
        (object) =>
          `${kind.slice(0, -1)} ${object.name}: the name is taken by ${owner(object)}; ${remedy(object, topology)}`,
      ),
  );
}

/** Networks whose addresses the inner network would share. */
export function subnetProblems(topology: Topology, state: EngineState): string[] {
  return state.networks
    .filter((network) => isForeign(network, topology))
    .flatMap((network) =>
      network.subnets
        .filter((subnet) => overlaps(subnet, topology.settings.subnet))
        .map(
          (subnet) =>
            `subnet: ${topology.settings.subnet} overlaps Docker network ${network.name} (${subnet}); ` +
            'choose another private network of size /16 to /24',
        ),
    );
}

/**
 * Host ports that are taken by anything but this stack's own containers, and a bind address that this machine does not
 * have.
 */
export async function portProblems(
  topology: Topology,
  state: EngineState,
  probe: PortProbe,
  ipv6Loopback = false,
): Promise<string[]> {
  const { bindAddress } = topology.settings;
  const publishers = (foreign: boolean, port: number, address: string) =>
    state.containers.filter(
      (container) =>
        isForeign(container, topology) === foreign &&
        container.published.some((open) => open.port === port && sameAddress(open.address, address)),
    );
  const problems = new Set<string>();
  for (const [key, port] of [...Object.entries(topology.ports), ...poolPorts(topology.settings)]) {
    const addresses = ON_BOTH_LOOPBACKS.includes(key) ? boundAddresses(bindAddress, ipv6Loopback) : [bindAddress];
    for (const address of addresses) {
      if (port === undefined || publishers(false, port, address).length > 0) continue;
      const [holder] = publishers(true, port, address);
      const found = holder ? 'taken' : await probe(port, address);
      if (found === 'address') {
        problems.add(`bindAddress: ${address} is no address of this machine; use one that it has`);
      } else if (found === 'taken') {
        const who = holder ? `container ${holder.name}` : 'a process on this machine';
        const where = address === bindAddress ? '' : ` on ${address}`;
        // The ports of `poolRoles` are those after poolPort.
        const option = key in topology.ports ? key : 'poolPort';
        problems.add(
          `${key}: port ${port}${where} is in use by ${who}; free it or choose another (pulumi config set ${option} …)`,
        );
        break;
      }
    }
  }
  return [...problems];
}

const ON_BOTH_LOOPBACKS = ['writePort', 'readPort'];

type Labelled = { readonly labels: Readonly<Record<string, string>> };

function isForeign(object: Labelled, topology: Topology): boolean {
  return object.labels[STACK_LABEL] !== topology.stackLabel;
}

function owner({ labels }: Labelled): string {
  const compose = labels['com.docker.compose.project'];
  if (labels[STACK_LABEL]) return `stack ${labels[STACK_LABEL]}`;
  return compose ? `the Docker Compose project ${compose}` : 'something that is not of this stack';
}

/**
 * Advice for a name that is taken. An older compose stack of the user has the same names, and the tool that created an
 * object should also remove it.
 */
function remedy({ labels }: Labelled, { project, stack }: Topology): string {
  const [theirs, before] = labels[STACK_LABEL]?.split('/') ?? [];
  // What belongs to a stack of this project holds somebody's data, so nobody is told to remove it.
  if (before !== undefined && theirs === project)
    return (
      'set namePrefix; or, if this stack was called so before, give it its name back ' +
      `(npm run pulumi -- stack rename ${before} --stack ${stack})`
    );
  const files = labels['com.docker.compose.project.config_files'];
  if (labels['com.docker.compose.project']) {
    const file = files
      ? files
          .split(',')
          .map((path) => ` -f ${path}`)
          .join('')
      : '';
    return `take it down (docker-compose${file} down) or set namePrefix`;
  }
  return 'remove or rename it, or set namePrefix';
}

/** Ports can be tried only where the engine runs on this machine. */
function isLocal(): boolean {
  const host = process.env.DOCKER_HOST;
  return host === undefined || host === '' || host.startsWith('unix://');
}

/** Tries to listen. If this user may not open a port below 1024, the result says nothing. */
const probePort: PortProbe = async (port, address) => {
  const code = await listens(port, address);
  return code === 'EADDRINUSE' ? 'taken' : code === 'EADDRNOTAVAIL' ? 'address' : undefined;
};

/** Listens for a moment. Resolves with the error's code; undefined: it could. */
function listens(port: number, address: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'));
    server.listen({ port, host: address, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}
