/** Access to the Docker engine through its command line client. Only objects with our label are changed. */
import { z } from 'zod';
import { ROLE_LABEL, STACK_LABEL } from '../../stack/naming';
import { type RunResult, run, runOk } from './exec';

const ASK_MS = 10_000;
/** Limit of a removal, ms. A PostgreSQL container may take some time to stop. */
const REMOVE_MS = 120_000;
const START_MS = 60_000;

function docker(args: readonly string[], deadlineMs = ASK_MS): Promise<RunResult> {
  return runOk('docker', args, { deadlineMs });
}

function lines(result: RunResult): string[] {
  return result.stdout.split('\n').filter((line) => line.trim() !== '');
}

/** The state of the engine as a client sees it. */
export type EngineState =
  | { kind: 'answers'; version: string }
  | { kind: 'no-client' }
  | { kind: 'denied' }
  | { kind: 'silent'; words: string };

/** Asks the engine for its version, within `deadlineMs`. */
export async function engineState(deadlineMs = 5_000): Promise<EngineState> {
  const result = await run('docker', ['version', '--format', '{{.Server.Version}}'], { deadlineMs });
  const words = result.tail.join('\n');
  if (result.code === 0) return { kind: 'answers', version: result.stdout.trim() };
  if (result.code === 127) return { kind: 'no-client' };
  return /permission denied/i.test(words) ? { kind: 'denied' } : { kind: 'silent', words };
}

/** True when the image is in the local engine. */
export async function hasImage(name: string): Promise<boolean> {
  return (await imageId(name)) !== null;
}

/** Id of an image of the local engine; null: it is not there. */
export async function imageId(name: string): Promise<string | null> {
  const result = await run('docker', ['image', 'inspect', '--format', '{{.Id}}', name], { deadlineMs: ASK_MS });
  return result.code === 0 ? result.stdout.trim() : null;
}

/** A label of an image, or an empty string. */
export async function imageLabel(image: string, label: string): Promise<string> {
  const format = `{{index .Config.Labels "${label}"}}`;
  const result = await run('docker', ['image', 'inspect', '--format', format, image], { deadlineMs: ASK_MS });
  return result.code === 0 ? result.stdout.trim().replace('<no value>', '') : '';
}

/** Tags (`repository:tag`) of the local images that match a reference pattern. */
export async function imageTags(reference: string): Promise<string[]> {
  const format = '{{.Repository}}:{{.Tag}}';
  return lines(await docker(['image', 'ls', '--filter', `reference=${reference}`, '--format', format])).sort();
}

/** Removes an image; false when a container or another image needs it. */
export async function removeImage(name: string): Promise<boolean> {
  return (await run('docker', ['image', 'rm', name], { deadlineMs: REMOVE_MS })).code === 0;
}

/** Removes an image that no tag leads to any more, unless a container or another image needs it. */
export async function removeUntagged(id: string): Promise<void> {
  const tags = await run('docker', ['image', 'inspect', '--format', '{{len .RepoTags}}', id], { deadlineMs: ASK_MS });
  if (tags.code === 0 && tags.stdout.trim() === '0') await removeImage(id);
}

/** Label of all images of our Dockerfiles, build stages included. Its value begins with {@link TITLE}. */
const TITLE_LABEL = 'org.opencontainers.image.title';
const TITLE = 'postgres-failover:';

/** Removes the untagged images of builds: build stages, and images whose tag a newer image has taken. */
export async function removeUntaggedImages(): Promise<void> {
  const listed = await docker([
    'image',
    'ls',
    '--quiet',
    '--filter',
    'dangling=true',
    '--filter',
    `label=${TITLE_LABEL}`,
  ]);
  for (const id of lines(listed)) if ((await imageLabel(id, TITLE_LABEL)).startsWith(TITLE)) await removeImage(id);
}

export async function volumesOf(label: string): Promise<string[]> {
  return lines(await docker(['volume', 'ls', '--filter', `label=${label}`, '--format', '{{.Name}}'])).sort();
}

export async function removeVolume(name: string): Promise<void> {
  await docker(['volume', 'rm', name], REMOVE_MS);
}

export async function containersOf(label: string): Promise<string[]> {
  const format = '{{.Names}}';
  return lines(await docker(['ps', '--all', '--filter', `label=${label}`, '--format', format])).sort();
}

export async function networksOf(label: string): Promise<string[]> {
  return lines(await docker(['network', 'ls', '--filter', `label=${label}`, '--format', '{{.Name}}'])).sort();
}

/** Removes all containers, networks and volumes with a label, in any state. Returns their names. */
export async function removeAllOf(label: string): Promise<string[]> {
  const containers = await containersOf(label);
  if (containers.length > 0) await docker(['rm', '--force', '--volumes', ...containers], REMOVE_MS);
  const networks = await networksOf(label);
  if (networks.length > 0) await docker(['network', 'rm', ...networks], REMOVE_MS);
  const volumes = await volumesOf(label);
  if (volumes.length > 0) await docker(['volume', 'rm', ...volumes], REMOVE_MS);
  return [...containers, ...networks, ...volumes];
}

/** A container as the engine lists it. */
export interface EngineContainer {
  id: string;
  name: string;
  /** `running`, `paused`, `restarting`, `exited`, `created` or `dead`. */
  state: string;
  /** The engine's words for people, for example `Exited (137) 3 minutes ago`. */
  status: string;
  /** Label of the stack that it belongs to, `<project>/<stack>`; empty for a container of other people. */
  stack: string;
  /** Label with its purpose; empty as above. */
  role: string;
  /** Networks to which it is attached; empty for a container of other people. */
  networks: NetworkOfContainer[];
}

/** A network of a container as the engine describes it. */
export const Connected = z.object({
  /** What the engine was asked for; without it the engine chose the address. */
  IPAMConfig: z.object({ IPv4Address: z.string().optional() }).nullish(),
  /** Empty while the container is stopped. */
  IPAddress: z.string().optional(),
  Aliases: z.array(z.string()).nullish(),
});

/** All containers of the engine, in any state. */
export async function allContainers(): Promise<EngineContainer[]> {
  const fields = ['.ID', '.Names', '.State', '.Status', `.Label "${STACK_LABEL}"`, `.Label "${ROLE_LABEL}"`];
  const format = fields.map((field) => `{{${field}}}`).join('\t');
  const listed = lines(await docker(['ps', '--all', '--no-trunc', '--format', format])).map((line) => {
    const [id = '', name = '', state = '', status = '', stack = '', role = ''] = line.split('\t');
    return { id, name, state, status, stack, role };
  });
  const networks = await networksById(listed.filter(({ stack }) => stack !== '').map(({ id }) => id));
  return listed.map((one) => ({ ...one, networks: networks.get(one.id) ?? [] }));
}

/** The networks of containers. One that has gone meanwhile has none. */
async function networksById(ids: readonly string[]): Promise<Map<string, NetworkOfContainer[]>> {
  if (ids.length === 0) return new Map();
  const format = '{{.Id}}\t{{json .NetworkSettings.Networks}}';
  const inspected = await run('docker', ['container', 'inspect', '--format', format, ...ids], { deadlineMs: ASK_MS });
  return new Map(
    lines(inspected).map((line) => {
      const [id = '', json = '{}'] = line.split('\t');
      const all = Object.entries(z.record(z.string(), Connected).parse(JSON.parse(json)));
      const networks = all.map(([name, { IPAMConfig, Aliases }]) => ({
        ...{ name, address: IPAMConfig?.IPv4Address, aliases: Aliases ?? [] },
      }));
      return [id, networks];
    }),
  );
}

/** Names of all volumes, each with the label of its stack, which is empty for a volume of other people. */
export async function allVolumes(): Promise<Map<string, string>> {
  const format = `{{.Name}}\t{{.Label "${STACK_LABEL}"}}`;
  const listed = lines(await docker(['volume', 'ls', '--format', format])).map((line) => line.split('\t'));
  return new Map(listed.map(([name = '', stack = '']) => [name, stack]));
}

/** Ids of all networks. */
export async function allNetworks(): Promise<string[]> {
  return lines(await docker(['network', 'ls', '--no-trunc', '--quiet']));
}

/** Starts a stopped container, or lets a paused one go on. */
export function startAgain({ id, state }: EngineContainer): Promise<RunResult> {
  return run('docker', [state === 'paused' ? 'unpause' : 'start', id], { deadlineMs: START_MS });
}

/** Ends a container in its own time and removes it. Its volumes stay. */
export async function removeContainer({ id, state }: EngineContainer): Promise<void> {
  if (state === 'running') await run('docker', ['stop', id], { deadlineMs: REMOVE_MS });
  await docker(['rm', '--force', id], REMOVE_MS);
}

/** Attaches a container to a network as it should be, whether it is attached to it or not. */
export async function connectAgain(
  { id: container, networks }: EngineContainer,
  network: NetworkOfContainer,
): Promise<void> {
  if (networks.some(({ name }) => name === network.name))
    await docker(['network', 'disconnect', network.name, container], START_MS);
  const address = network.address === undefined ? [] : ['--ip', network.address];
  const aliases = network.aliases.flatMap((alias) => ['--alias', alias]);
  await docker(['network', 'connect', ...address, ...aliases, network.name, container], START_MS);
}

/** A network that a container is to be attached to. */
export interface NetworkOfContainer {
  name: string;
  /** Its fixed address there. */
  address: string | undefined;
  aliases: readonly string[];
}

/** The last lines that a container wrote. */
export async function lastLines(id: string, count: number): Promise<string[]> {
  return (await run('docker', ['logs', '--tail', String(count), id], { deadlineMs: ASK_MS })).tail;
}

/** A step of a build that goes on has been committed by then, ms after its end. */
const STEP_COMMITTED_MS = 120_000;

/**
 * Removes the stopped containers of builds of our images. The vendor's builder leaves one for each step; those have the
 * labels of the image that was being built, and not the label of a stack. Younger ones may be of a build that goes on.
 * @returns how many it removed
 */
export async function removeBuildContainers(): Promise<number> {
  const format = `{{.ID}}\t{{.Label "${STACK_LABEL}"}}\t{{.Label "${TITLE_LABEL}"}}`;
  const filters = ['status=exited', 'status=created'].flatMap((filter) => ['--filter', filter]);
  const listed = lines(await docker(['ps', '--all', ...filters, '--format', format])).map((line) => line.split('\t'));
  const steps = listed.filter(([, stack, title]) => stack === '' && title?.startsWith(TITLE)).map(([id = '']) => id);
  if (steps.length === 0) return 0;
  const times = '{{.Id}}\t{{.Created}}\t{{.State.FinishedAt}}';
  const inspected = await run('docker', ['container', 'inspect', '--format', times, ...steps], { deadlineMs: ASK_MS });
  const left = lines(inspected).flatMap((line) => {
    const [id = '', ...moments] = line.split('\t');
    return moments.every((moment) => Date.now() - Date.parse(moment) > STEP_COMMITTED_MS) ? [id] : [];
  });
  if (left.length > 0) await run('docker', ['rm', ...left], { deadlineMs: REMOVE_MS });
  return left.length;
}
