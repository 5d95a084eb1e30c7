/**
 * What a person stopped or removed by hand, made right before Pulumi runs. Pulumi compares the program with its own
 * state and does not look at the engine. So what is stopped is started here, and what is gone is taken out of the
 * state, which makes Pulumi make it again. Both of the CLIs and their providers need this.
 */
import { existsSync } from 'node:fs';
import { DATA_ROLE } from '../../stack/naming';
import type { EngineContainer, NetworkOfContainer } from './docker';
import type { Known } from './state';

/** The objects of the engine, of all stacks and of other people. */
export interface EngineObjects {
  containers: readonly EngineContainer[];
  /** By name, with the label of the stack. */
  volumes: ReadonlyMap<string, string>;
  /** Ids. */
  networks: readonly string[];
  /** Ids of those images of the state that exist. */
  images: readonly string[];
  /** Folders of the state that exist. */
  folders: readonly string[];
}

export interface Repair {
  /** Stopped and paused containers that run again. */
  start: EngineContainer[];
  /** Stopped nodes that are left as they are, by name. */
  left: string[];
  /** Containers that are not attached to one of their networks, or with another address or name than the stack's. */
  reconnect: { container: EngineContainer; network: NetworkOfContainer }[];
  /** What is gone from the engine, so that the state forgets it. */
  missing: Known[];
  /** What Pulumi makes again although the state has it. */
  replace: Known[];
  /** Containers of the stack that the state does not know: an interrupted run left them. */
  strays: EngineContainer[];
}

/** Role of a node's container. */
export const NODE_ROLE = 'postgres';
const MONITOR_ROLE = 'monitor';
const STOPPED = ['exited', 'created', 'dead'];

/** Compares the state with the engine. Pure. */
export function repairOf(
  known: readonly Known[],
  engine: EngineObjects,
  stack: string,
  options: { leaveStopped: boolean },
): Repair {
  const of = (kind: Known['kind']) => known.filter((one) => one.kind === kind);
  const byId = new Map(engine.containers.map((container) => [container.id, container]));
  const present = of('container').flatMap((one) => {
    const container = byId.get(one.id);
    return container === undefined ? [] : [{ known: one, container }];
  });
  const replace = [
    ...of('image').filter(({ id }) => !engine.images.includes(id)),
    ...of('log folder').filter(({ id }) => !engine.folders.includes(id)),
  ];
  // The folder in a running monitor is the one that was removed.
  const spoilt = replace.some(({ kind }) => kind === 'log folder')
    ? present.filter(({ container }) => container.role === MONITOR_ROLE).map(({ container }) => container)
    : [];
  const stopped = present
    .map(({ container }) => container)
    .filter((one) => (STOPPED.includes(one.state) || one.state === 'paused') && !spoilt.includes(one));
  const left = options.leaveStopped ? stopped.filter(({ role }) => role === NODE_ROLE) : [];
  const ids = new Set(of('container').map(({ id }) => id));
  return {
    start: stopped.filter((one) => !left.includes(one)),
    left: left.map(({ name }) => name),
    reconnect: present
      .filter(({ container }) => !left.includes(container) && !spoilt.includes(container))
      .flatMap(({ known: one, container }) =>
        one.networks.filter((network) => !isConnected(container, network)).map((network) => ({ container, network })),
      ),
    missing: [
      ...of('container').filter(({ id }) => !byId.has(id) || spoilt.some((one) => one.id === id)),
      ...of('volume').filter(({ id }) => !engine.volumes.has(id)),
      ...of('network').filter(({ id }) => !engine.networks.includes(id)),
    ],
    replace,
    strays: [...spoilt, ...engine.containers.filter((one) => one.stack === stack && !ids.has(one.id))],
  };
}

/** Attached to the network with the address and the names that the stack gives it. */
function isConnected({ networks }: EngineContainer, { name, address, aliases }: NetworkOfContainer): boolean {
  const found = networks.find((one) => one.name === name);
  if (found === undefined || (address !== undefined && found.address !== address)) return false;
  return aliases.every((alias) => found.aliases.includes(alias));
}

/** What the sentences of a refusal name. */
export interface Place {
  /** `<project>/<stack>` */
  label: string;
  /** ` --stack NAME` for the commands that are advised; empty for the stack that is meant without it. */
  option: string;
  /** Where the engine answers. */
  engine: string;
}

/**
 * A difference between state and engine that is not mended, because data would be lost or taken: one sentence with the
 * way back. Null when there is none. Pure.
 */
export function refusalOf(
  known: readonly Known[],
  engine: EngineObjects,
  { label, option, engine: at }: Place,
): string | null {
  const [project = '', stack = ''] = label.split('/');
  const data = known.filter(({ kind, role }) => kind === 'volume' && role === DATA_ROLE);
  const labels = [
    ...data.map(({ id }) => engine.volumes.get(id) ?? ''),
    ...known.flatMap(({ id }) => engine.containers.find((one) => one.id === id)?.stack ?? ''),
  ];
  const former = labels.find((one) => one !== '' && one !== label);
  if (former !== undefined) {
    const before = former.replace(`${project}/`, '');
    return (
      `Stack ${stack} was called ${before} when its containers and volumes were made, and they carry that name. ` +
      `A stack that runs keeps its name; give it back: npm run pulumi -- stack rename ${before} --stack ${stack}`
    );
  }
  if (data.length > 0 && data.every(({ id }) => !engine.volumes.has(id)))
    return (
      `No data volume of stack ${stack} is on the engine at ${at} (${data.map(({ name }) => name).join(', ')}): ` +
      'this is another engine, or the data was removed. Point DOCKER_HOST at the engine that has it; or begin with an ' +
      `empty database: npm run destroy --${option}, then npm run up${option && ` --${option}`}`
    );
  const own = engine.containers.filter((one) => one.stack === label);
  if (known.length === 0 && own.length > 0)
    return (
      `Containers of a stack ${label} are here (${own.map(({ name }) => name).join(', ')}), and the state of this ` +
      'folder does not know them: the stack was made from another folder, or was renamed. Go on in that folder or under ' +
      'its new name; or choose another name here (npm run up -- --stack NAME, with namePrefix, ports and subnet of its own). ' +
      'If its state is lost: remove the containers (docker rm), the data stays, and npm run up takes it again'
    );
  return null;
}

/** The folders of the state that exist. */
export function existingFolders(known: readonly Known[]): string[] {
  return known.filter(({ kind, id }) => kind === 'log folder' && existsSync(id)).map(({ id }) => id);
}
