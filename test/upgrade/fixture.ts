/** A release's state as it is kept in test/fixtures/, and how the stack in it is called. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runOk } from '../../scripts/lib/exec';
import { PATHS } from '../../scripts/lib/paths';
import { type Ready, setUp } from '../../scripts/lib/setup';
import { TIMEOUTS } from '../timeouts';

/** Name of the stack, prefix of its containers and, in the making, of what is in Docker. */
export const STACK = 'release';
export const FIXTURES = join(PATHS.root, 'test', 'fixtures');
/** Stands for the project's folder, whose path gets into the state with the log folder. */
export const ROOT_MARK = '/project';
const STACK_FILE = join(PATHS.root, `Pulumi.${STACK}.yaml`);
const PASSPHRASES: Record<string, string> = { '0.1.0': 'test' };

export const stateOf = (version: string): string => join(FIXTURES, `state-${version}.json`);
export const configOf = (version: string): string => join(FIXTURES, `state-${version}.yaml`);

/** Every release that has a fixture. */
export function versions(): string[] {
  return readdirSync(FIXTURES).flatMap((name) => /^state-(.+)\.json$/.exec(name)?.[1] ?? []);
}

/** A stack that believes to be what the release made; nothing of it is in Docker. */
export interface Imported {
  ready: Ready;
  pulumi: (...args: string[]) => Promise<string>;
  remove: () => void;
}

/** Imports a release's state into a Pulumi state of its own. */
export async function importState(version: string): Promise<Imported> {
  if (existsSync(STACK_FILE)) throw new Error(`${STACK_FILE} is there: another run, or a stack of that name`);
  const folder = mkdtempSync(join(tmpdir(), 'postgres-failover-upgrade-'));
  const remove = () => {
    rmSync(folder, { recursive: true, force: true });
    rmSync(STACK_FILE, { force: true });
  };
  try {
    writeFileSync(STACK_FILE, readFileSync(configOf(version), 'utf8'));
    const file = join(folder, 'state.json');
    writeFileSync(file, readFileSync(stateOf(version), 'utf8').replaceAll(`"${ROOT_MARK}/`, `"${PATHS.root}/`));
    process.env.PULUMI_BACKEND_URL = `file://${folder}`;
    process.env.PULUMI_CONFIG_PASSPHRASE = PASSPHRASES[version] ?? STACK;
    const ready = await setUp(STACK, 'deploy', { silent: true, create: true });
    const options = { cwd: PATHS.root, env: ready.env, deadlineMs: TIMEOUTS.pulumi };
    const pulumi = async (...args: string[]) =>
      (await runOk(ready.cli.command, [...args, '--stack', STACK, '--non-interactive'], options)).stdout;
    await pulumi('stack', 'import', '--file', file);
    return { ready, pulumi, remove };
  } catch (error) {
    remove();
    throw error;
  }
}
