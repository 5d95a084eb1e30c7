/** Pulumi's mocks for the component tests: records what a program registers, in order. Import before any component. */
import * as pulumi from '@pulumi/pulumi';
import { checkConfig } from '../../stack/config';
import { buildTopology, type Topology } from '../../stack/topology';

export interface Registered {
  readonly type: string;
  readonly name: string;
  /** Inputs with secrets unwrapped. */
  readonly inputs: Record<string, unknown>;
  /** Paths of the inputs that were marked secret, for example `uploads[0].content`. */
  readonly secrets: readonly string[];
}

/** What generated passwords are under mocks. */
export const GENERATED = 'generated-'.repeat(4);
const SECRET_SIGNATURE = '4dabf18193072939515e22adb298388d';

let registered: Registered[] = [];

void pulumi.runtime.setMocks(
  {
    newResource: ({ type, name, inputs }) => {
      const secrets: string[] = [];
      registered.push({ type, name, inputs: unwrap(inputs, '', secrets) as Record<string, unknown>, secrets });
      const state = {
        ...inputs,
        ...(type === 'docker:index/image:Image' ? { repoDigest: `sha256:${name}` } : {}),
        ...(type === 'random:index/randomPassword:RandomPassword' ? { result: GENERATED } : {}),
      };
      return { id: `${name}-id`, state };
    },
    call: ({ inputs }) => inputs,
  },
  'postgres-failover',
  'test',
);

/** Registers what `build` makes, waits for all of it, and returns it in order of name. */
export async function register(build: () => void): Promise<Registered[]> {
  registered = [];
  build();
  await pulumi.runtime.disconnect();
  return registered.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The one resource with this type's last part and name. */
export function find(resources: readonly Registered[], kind: string, name: string): Registered {
  const found = resources.find((r) => r.type.endsWith(`:${kind}`) && r.name === name);
  if (!found) throw new Error(`no ${kind} ${name} among ${listing(resources).join(', ')}`);
  return found;
}

/** `Kind name` of each, sorted. */
export function listing(resources: readonly Registered[]): string[] {
  return resources.map((r) => `${r.type.split(':').at(-1)} ${r.name}`).sort();
}

/** A topology out of a few config values. */
export function topologyOf(raw: Record<string, string> = {}): Topology {
  const { settings, problems } = checkConfig(raw);
  if (!settings) throw new Error(problems.join('\n'));
  return buildTopology(settings, { project: 'postgres-failover', stack: 'test', projectRoot: '/project' });
}

/** Inputs reach mocks with secrets wrapped as `{ signature: …, value }`. */
function unwrap(value: unknown, path: string, secrets: string[]): unknown {
  if (Array.isArray(value)) return value.map((item, i) => unwrap(item, `${path}[${i}]`, secrets));
  if (typeof value !== 'object' || value === null) return value;
  if (SECRET_SIGNATURE in value && 'value' in value) {
    secrets.push(path);
    return unwrap(value.value, path, secrets);
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, unwrap(item, path === '' ? key : `${path}.${key}`, secrets)]),
  );
}
