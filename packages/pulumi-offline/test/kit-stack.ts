/** What the tests of the kit share: a project folder of its own for each, the real CLI, and looks at the daemon. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { type InlineProgramArgs, LocalWorkspace, type PulumiFn, type Stack } from '@pulumi/pulumi/automation';
import { installKit, type Kit } from '../index';
import type { BoxOptions } from './program/box';

const exec = promisify(execFile);
/** The repository: its packages are used, and what was built for it. */
const PROJECT_DIR = resolve(__dirname, '../../..');
const CACHE_DIR = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'postgres-failover');
const COMMAND_LIMIT_MS = 180_000;
const STACK = 'test';

export interface Project {
  kit: Kit;
  folder: string;
  options: BoxOptions;
  env: NodeJS.ProcessEnv;
}

/** @param subnet a number that no other test uses */
export async function makeProject(name: string, subnet: number): Promise<Project> {
  const kit = await installKit({ projectDir: PROJECT_DIR, cacheDir: CACHE_DIR });
  mkdirSync(join(PROJECT_DIR, 'build'), { recursive: true });
  // Inside the project, so that the program finds the project's packages.
  const folder = mkdtempSync(join(PROJECT_DIR, 'build/kit-test-'));
  cpSync(join(__dirname, 'program'), folder, { recursive: true });
  cpSync(join(__dirname, 'context'), join(folder, 'context'), { recursive: true });
  mkdirSync(join(folder, 'state'));
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ extends: join(PROJECT_DIR, 'tsconfig.json'), include: ['*.ts'] }),
  );
  const env = { ...process.env, ...kit.env, PULUMI_CONFIG_PASSPHRASE: 'test' };
  const options = { prefix: `kit-test-${name}`, subnet, context: join(folder, 'context') };
  return { kit, folder, options, env };
}

/** A stack whose program is a function of the test. */
export async function inlineStack(project: Project, program: PulumiFn): Promise<Stack> {
  const args: InlineProgramArgs = { stackName: STACK, projectName: 'kit-test', program };
  // The Automation API looks for the CLI on the PATH of this process.
  process.env.PATH = project.kit.env.PATH;
  return LocalWorkspace.createOrSelectStack(args, {
    workDir: project.folder,
    pulumiHome: project.kit.env.PULUMI_HOME,
    envVars: { ...project.kit.env, PULUMI_CONFIG_PASSPHRASE: 'test' },
  });
}

/** Starts the CLI in the project's folder; its output is gathered in `output`. */
export function startPulumi(
  project: Project,
  args: string[],
): { child: ChildProcess; ended: Promise<number | null>; output: string[] } {
  const all = [...args, '--stack', STACK, '--non-interactive'];
  const child = spawn(project.kit.pulumi, all, { cwd: project.folder, env: project.env, timeout: COMMAND_LIMIT_MS });
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => output.push(text));
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve(code));
  });
  return { child, ended, output };
}

/** Runs the CLI to its end. */
export async function pulumi(project: Project, ...args: string[]): Promise<{ code: number | null; output: string }> {
  const { ended, output } = startPulumi(project, args);
  const code = await ended;
  return { code, output: output.join('') };
}

/** The options of the program in the folder; the stack must exist. */
export async function setOptions(project: Project, changes: Partial<BoxOptions>): Promise<void> {
  const value = JSON.stringify({ ...project.options, ...changes });
  const result = await pulumi(project, 'config', 'set', 'box', value);
  if (result.code !== 0) throw new Error(result.output);
}

/** Removes what the tests of this project made, whatever state they left. */
export async function cleanUp(project: Project): Promise<void> {
  const { prefix } = project.options;
  await docker('rm', '--force', '--volumes', `${prefix}-box`).catch(() => '');
  await docker('network', 'rm', `${prefix}-net`).catch(() => '');
  await docker('volume', 'rm', '--force', `${prefix}-data`).catch(() => '');
  await docker('rmi', '--force', `${prefix}:test`).catch(() => '');
  rmSync(project.folder, { recursive: true, force: true });
}

/** Runs `docker …`; a build by the same builder as the kit's. */
export async function docker(...args: string[]): Promise<string> {
  const env = { ...process.env, DOCKER_BUILDKIT: '0' };
  const { stdout } = await exec('docker', args, { timeout: COMMAND_LIMIT_MS, env });
  return stdout.trim();
}

/** What is left of the project on the daemon, by name. */
export async function leftOf(project: Project): Promise<string[]> {
  const filter = ['--filter', `name=${project.options.prefix}`, '--format'];
  const lists = await Promise.all([
    docker('ps', '--all', ...filter, '{{.Names}}'),
    docker('network', 'ls', ...filter, '{{.Name}}'),
    docker('volume', 'ls', ...filter, '{{.Name}}'),
  ]);
  return lists.flatMap((list) => list.split('\n')).filter((name) => name !== '');
}

/** The state file as it lies on the disk. */
export function stateFile(project: Project): string {
  return readFileSync(join(project.folder, 'state/.pulumi/stacks/kit-test', `${STACK}.json`), 'utf8');
}

/** Waits until `look` answers true. @throws at the limit, naming what did not come */
export async function until(what: string, look: () => Promise<boolean> | boolean, limitMs = 60_000): Promise<void> {
  const deadlineMs = Date.now() + limitMs;
  while (!(await look())) {
    if (Date.now() > deadlineMs) throw new Error(`${what} did not come within ${limitMs / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
