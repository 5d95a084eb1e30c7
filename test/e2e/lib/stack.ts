/** The end-to-end test's own stack, run by the very commands that a person types. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { imageTags, removeAllOf, removeImage } from '../../../scripts/lib/docker';
import { type RunResult, run, runOk } from '../../../scripts/lib/exec';
import { PATHS } from '../../../scripts/lib/paths';
import { E2E_LABEL } from '../../../scripts/lib/phases';
import { IMAGES, imageTag } from '../../../stack/naming';
import { TIMEOUTS } from '../../timeouts';

/** Beside the dev stack's ports and names, so that neither disturbs the other. */
export const STACK = {
  name: 'e2e',
  prefix: 'e2e-',
  label: E2E_LABEL,
  host: '127.0.0.1',
  writePort: 15434,
  readPort: 15435,
  statsPort: 15000,
  backendPort: 18000,
  monitorPort: 18008,
  database: 'blink_db',
  user: 'blink_user',
  password: 'e2e-12345',
} as const;

const CONFIG = {
  namePrefix: STACK.prefix,
  subnet: '10.216.43.0/24',
  writePort: STACK.writePort,
  readPort: STACK.readPort,
  statsPort: STACK.statsPort,
  backendPort: STACK.backendPort,
  monitorPort: STACK.monitorPort,
  databaseName: STACK.database,
  databaseUser: STACK.user,
  databasePassword: STACK.password,
  backendReplicas: '2',
  // The first tests look at where the lead stays; one of its own switches it on.
  switchback: 'false',
};
/** Tag that keeps the layers during the test. While it is there `destroy` takes the builds' leftovers for another stack's. */
const KEPT = 'e2e-kept-layers';
const STACK_FILE = join(PATHS.root, `Pulumi.${STACK.name}.yaml`);

export interface E2eStack {
  /** Runs `npm run <command> -- --stack e2e …` and returns how it ended. */
  command: (command: string, args?: readonly string[], limitMs?: number) => Promise<RunResult>;
  /** Keeps the images' layers under other names, so that an `up` after a `destroy` need not build them anew. */
  keepLayers: () => Promise<void>;
  dropLayers: () => Promise<void>;
  /** Removes everything that the stack may have left, its files included. */
  remove: () => Promise<void>;
}

/** The base image is for all tests, and `destroy --volumes` removes it where set-up made it: it comes back in the end. */
const BASE = 'debian:trixie-slim';
const KEPT_BASE = 'e2e-kept-base:latest';

export async function keepBase(): Promise<void> {
  await docker(['tag', BASE, KEPT_BASE]);
}

export async function giveBaseBack(): Promise<void> {
  await docker(['tag', KEPT_BASE, BASE]);
  await removeImage(KEPT_BASE);
}

/** Writes the stack's config and gives it a state folder of its own. */
export async function makeStack(): Promise<E2eStack> {
  const state = mkdtempSync(join(tmpdir(), 'postgres-failover-e2e-'));
  const entries = Object.entries(CONFIG).map(([key, value]) => [`postgres-failover:${key}`, value]);
  writeFileSync(STACK_FILE, stringify({ config: Object.fromEntries(entries) }));
  const env = {
    ...process.env,
    PULUMI_BACKEND_URL: `file://${state}`,
    PULUMI_CONFIG_PASSPHRASE: STACK.name,
    NO_COLOR: '1',
  };
  await removeAllOf(STACK.label);
  await keepBase();
  return {
    command: (command, args = [], limitMs = TIMEOUTS.pulumi) => {
      const start = join(PATHS.root, 'scripts', 'start.mjs');
      const options = { cwd: PATHS.root, env, deadlineMs: limitMs, onLine: (line: string) => console.log(line) };
      return run(process.execPath, [start, command, '--stack', STACK.name, ...args], options);
    },
    keepLayers: async () => {
      // Those of what is optional were not built.
      for (const image of IMAGES)
        for (const tag of await imageTags(imageTag(image, STACK.prefix, STACK.name)))
          await docker(['tag', tag, `postgres-failover/${image}:${KEPT}`]);
    },
    dropLayers,
    remove: async () => {
      await removeAllOf(STACK.label);
      await dropLayers();
      await giveBaseBack();
      rmSync(state, { recursive: true, force: true });
      rmSync(STACK_FILE, { force: true });
    },
  };
}

async function dropLayers(): Promise<void> {
  for (const tag of await imageTags(`postgres-failover/*:${KEPT}`)) await removeImage(tag);
}

/** A container of the stack by its name without the prefix. */
export function container(name: string): string {
  return `${STACK.prefix}${name}`;
}

/** Runs `docker …` and returns its output, trimmed. */
export async function docker(args: readonly string[], limitMs: number = TIMEOUTS.docker): Promise<string> {
  return (await runOk('docker', args, { deadlineMs: limitMs })).stdout.trim();
}
