/** Access to the Docker engine through its command line client. Only objects with our label are changed. */
import { type RunResult, run, runOk } from './exec';

const ASK_MS = 10_000;
/** Limit of a removal, ms. A PostgreSQL container may take some time to stop. */
const REMOVE_MS = 120_000;

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
  return (await run('docker', ['image', 'inspect', '--format', '{{.Id}}', name], { deadlineMs: ASK_MS })).code === 0;
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
