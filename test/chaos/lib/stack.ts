/** The fault matrix's own stack: its names, ports and addresses, and how it is brought up and taken down. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { containersOf, removeAllOf } from '../../../scripts/lib/docker';
import { run } from '../../../scripts/lib/exec';
import { PATHS } from '../../../scripts/lib/paths';
import { TIMEOUTS } from '../../timeouts';

export const STACK = {
  name: 'chaos',
  prefix: 'chaos-',
  label: 'postgres-failover.stack=postgres-failover/chaos',
  host: '127.0.0.1',
  subnet: '10.98.30.0/24',
  writePort: 17434,
  readPort: 17435,
  statsPort: 17000,
  monitorPort: 17088,
  database: 'blink_db',
  user: 'blink_user',
  password: 'chaos-12345',
} as const;

/** Everything that the matrix keeps: the stack's state, what is done, and each run's evidence. Not in the repository. */
export const FOLDER = join(PATHS.root, 'state', STACK.name);
export const LOG = join(PATHS.root, 'logs', STACK.name, 'failover.log');
const STACK_FILE = join(PATHS.root, `Pulumi.${STACK.name}.yaml`);
/** Asked for at each call: `--engine` sets DOCKER_HOST on the way. */
const environment = () => ({
  ...process.env,
  PULUMI_BACKEND_URL: `file://${join(FOLDER, 'pulumi')}`,
  PULUMI_CONFIG_PASSPHRASE: STACK.name,
  NO_COLOR: '1',
});

/** Containers by their role; the last number of an address is fixed by the topology. */
export const HAPROXY = `${STACK.prefix}haproxy`;
export const MONITOR = `${STACK.prefix}failover-monitor`;
const ADDRESS = STACK.subnet.replace(/0\/24$/, '');

export function nodeNames(replicas: number): string[] {
  const names = Array.from({ length: replicas }, (_, i) => `${STACK.prefix}postgres-replica-${i + 1}`);
  return [`${STACK.prefix}postgres-primary`, ...names];
}

/** Address of a container of the stack on the inner network. */
export function addressOf(container: string): string {
  if (container === HAPROXY) return `${ADDRESS}10`;
  if (container === MONITOR) return `${ADDRESS}11`;
  const replica = /postgres-replica-(\d)$/.exec(container)?.[1];
  return `${ADDRESS}${20 + Number(replica ?? 0)}`;
}

export function dataVolume(node: string): string {
  return `${node}-data`;
}

function config(replicas: number): Record<string, string | number> {
  return {
    replicas,
    namePrefix: STACK.prefix,
    subnet: STACK.subnet,
    writePort: STACK.writePort,
    readPort: STACK.readPort,
    statsPort: STACK.statsPort,
    monitorPort: STACK.monitorPort,
    databaseName: STACK.database,
    databaseUser: STACK.user,
    databasePassword: STACK.password,
    // The clients of the matrix speak SQL; the backend has its own tests.
    backend: 'false',
    // Which node leads after a fault is the fault's own doing; the switchback has its own case.
    switchback: 'false',
  };
}

/** Keeps the salt that Pulumi wrote into the file: without it the stack's secrets are lost. */
function writeStackFile(replicas: number): void {
  const before: unknown = existsSync(STACK_FILE) ? parse(readFileSync(STACK_FILE, 'utf8')) : {};
  const salt = typeof before === 'object' && before !== null && 'encryptionsalt' in before ? before.encryptionsalt : '';
  const entries = Object.entries(config(replicas)).map(([key, value]) => [`postgres-failover:${key}`, value]);
  const head = typeof salt === 'string' && salt !== '' ? { encryptionsalt: salt } : {};
  writeFileSync(STACK_FILE, stringify({ ...head, config: Object.fromEntries(entries) }));
}

async function command(name: string, args: readonly string[], say: (line: string) => void): Promise<void> {
  const start = join(PATHS.root, 'scripts', 'start.mjs');
  const options = { cwd: PATHS.root, env: environment(), deadlineMs: TIMEOUTS.firstUp, onLine: say };
  const result = await run(process.execPath, [start, name, '--stack', STACK.name, ...args], options);
  if (result.code !== 0) throw new Error(`${name} failed (exit code ${result.code})\n${result.tail.join('\n')}`);
}

/** Says what the running stack was brought up from, so that it is not done again for nothing. */
const STAMP = join(FOLDER, 'stack.txt');

/** `npm run up` of the stack, unless it runs with this many replicas from this very tree already. */
export async function bringUp(tree: string, replicas: number, say: (line: string) => void): Promise<void> {
  const stamp = `${tree} ${replicas}`;
  const runs = (await containersOf(STACK.label)).length === replicas + 3;
  if (runs && existsSync(STAMP) && readFileSync(STAMP, 'utf8') === stamp) return;
  rmSync(STAMP, { force: true });
  mkdirSync(join(FOLDER, 'pulumi'), { recursive: true });
  writeStackFile(replicas);
  await command('up', [], say).catch(async (error: unknown) => {
    // An earlier run may have been killed in the middle of it, and then the stack is locked: it holds nothing of worth.
    say(`${String(error)}\nOnce more, from nothing.`);
    await takeDown(say);
    mkdirSync(join(FOLDER, 'pulumi'), { recursive: true });
    writeStackFile(replicas);
    await command('up', [], say);
  });
  writeFileSync(STAMP, stamp);
}

/** `npm run destroy -- --volumes`, and whatever may be left after it. */
export async function takeDown(say: (line: string) => void): Promise<void> {
  if (existsSync(STACK_FILE)) await command('destroy', ['--volumes'], say).catch((error) => say(String(error)));
  await removeAllOf(STACK.label);
  rmSync(STAMP, { force: true });
  rmSync(join(FOLDER, 'pulumi'), { recursive: true, force: true });
  rmSync(STACK_FILE, { force: true });
}
