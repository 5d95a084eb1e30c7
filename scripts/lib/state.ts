/** What Pulumi's state of a stack says of the engine's objects. */
import { z } from 'zod';
import type { NetworkOfContainer } from './docker';
import { runOk } from './exec';
import { PATHS } from './paths';
import type { Ready } from './setup';

const EXPORT_MS = 60_000;

const Inputs = z.object({
  name: z.string().optional(),
  labels: z.array(z.object({ label: z.string(), value: z.string() })).optional(),
  networksAdvanced: z
    .array(z.object({ name: z.string(), ipv4Address: z.string().optional(), aliases: z.array(z.string()).optional() }))
    .optional(),
  environment: z.object({ LOG_FOLDER: z.string().optional() }).optional(),
});

const Resource = z.object({
  urn: z.string(),
  type: z.string(),
  id: z.string().optional(),
  /** It was replaced, and the old one still has to be removed. */
  delete: z.boolean().optional(),
  inputs: Inputs.catch({}).optional(),
  outputs: z.object({ repoDigest: z.string().optional() }).catch({}).optional(),
});

/** `pulumi stack export`, reduced to what is read here. */
export const Exported = z.object({
  deployment: z.object({
    resources: z.array(Resource).nullish(),
    pending_operations: z.array(z.object({ type: z.string() })).nullish(),
  }),
});
export type Exported = z.infer<typeof Exported>;

/** An object that the state names. */
export interface Known {
  kind: 'container' | 'volume' | 'network' | 'image' | 'log folder';
  urn: string;
  /** The engine's id of the object; for a folder, its path. */
  id: string;
  name: string;
  /** Its label with the purpose. */
  role: string;
  /** Networks that it is to be attached to. */
  networks: readonly NetworkOfContainer[];
}

export interface State {
  known: readonly Known[];
  /** A run was interrupted while it made something, and the state does not know whether that is there. */
  isInterrupted: boolean;
}

const KINDS: Readonly<Record<string, Known['kind']>> = {
  'docker:index/container:Container': 'container',
  'docker:index/volume:Volume': 'volume',
  'docker:index/network:Network': 'network',
  'docker:index/image:Image': 'image',
  'command:local:Command': 'log folder',
};
const ROLE = 'postgres-failover.role';

/** Reads an export. Pure. */
export function stateOf({ deployment }: Exported): State {
  const known = (deployment.resources ?? []).flatMap(
    ({ urn, type, id, inputs = {}, outputs, ...resource }): Known[] => {
      const kind = KINDS[type];
      const found =
        kind === 'image' ? outputs?.repoDigest : kind === 'log folder' ? inputs.environment?.LOG_FOLDER : id;
      if (kind === undefined || found === undefined || resource.delete) return [];
      const role = inputs.labels?.find(({ label }) => label === ROLE)?.value ?? '';
      const networks = (inputs.networksAdvanced ?? []).map(({ name, ipv4Address, aliases = [] }) => ({
        ...{ name, address: ipv4Address, aliases },
      }));
      return [{ kind, urn, id: found, name: inputs.name ?? urn.split('::').at(-1) ?? urn, role, networks }];
    },
  );
  return { known, isInterrupted: (deployment.pending_operations ?? []).length > 0 };
}

/** Asks Pulumi for the state of the stack. */
export async function readState({ cli, env, info }: Ready): Promise<State> {
  const args = ['stack', 'export', '--stack', info.stack, '--non-interactive'];
  const { stdout } = await runOk(cli.command, args, { cwd: PATHS.root, env, deadlineMs: EXPORT_MS });
  return stateOf(Exported.parse(JSON.parse(stdout)));
}
