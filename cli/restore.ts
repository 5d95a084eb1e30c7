/** `restore --to …`: makes a new stack beside the old one from its backups. Works also when nothing of the old one runs. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import type { RestoreTarget } from '../failover/contract/backups';
import { PATHS as INSIDE, RESTORED_FILE } from '../failover/contract/layout';
import { printTarget, type RepositoryLook, Restored } from '../failover/contract/restore';
import { run, runOk } from '../scripts/lib/exec';
import { PATHS } from '../scripts/lib/paths';
import { checkStackName, optionOf, readStack } from '../scripts/lib/stack';
import { KEYS } from '../stack/keys';
import { NAMES } from '../stack/naming';
import { type Changing, confirmed } from './commands';
import { EXIT, type ExitCode, Failed } from './exit';
import type { Io } from './io';
import { bytes } from './render';
import { type Backups, backupsOf, keptBackups, placeWords, restoreFromParts } from './restore-from';
import { lookAt } from './restore-look';
import {
  freeName,
  freePorts,
  freeSubnet,
  type NewStack,
  newStackFile,
  PORT_KEYS,
  type Ports,
  prefixOf,
  replicasOf,
  whyNoRoom,
  whyNotRestorable,
} from './restore-plan';
import { targetOf } from './restore-target';
import type { Target } from './target';

export interface RestoreOptions extends Changing {
  to: string;
  new?: string;
  passphraseStdin?: boolean;
  /** `local` or `s3`. */
  repository?: string;
  s3Stdin?: boolean;
  replicas?: string;
}

const DOCKER_MS = 60_000;
const PULUMI_MS = 120_000;
/** A restore of a large database takes hours, ms. */
const UP_MS = 48 * 3_600_000;

export async function restore(io: Io, options: RestoreOptions): Promise<ExitCode> {
  const target = targetOf(options.to);
  if (options.new !== undefined) checkStackName(options.new);
  const replicas = options.replicas === undefined ? undefined : replicasOf(options.replicas);
  const old = io.target(options.stack);
  const backups = await sourceOf(io, options, old);
  const look = await lookAt(old, backups, target);
  const nodes = 1 + (replicas ?? Number(old.info.value('replicas', '1')));
  const refusal = whyNotRestorable(target, look) ?? whyNoRoom(look, nodes);
  if (refusal !== null) throw new Failed(EXIT.failed, refusal);
  const stack = { ...(await place(old, options.new)), replicas };
  for (const line of planOf(old, target, stack, look, backups, nodes)) io.err(line);
  if (options.dryRun) return EXIT.ok;
  if (!options.yes) await confirmed(io);
  const { stanza, timeline } = look;
  await configure(old, stack, backups, { stanza, timeline, to: printTarget(target) });
  await bringUp(io, stack, options.json === true);
  const restored = await reached(stack);
  if (options.json) io.out(JSON.stringify(answerOf(stack, target, restored), null, 2));
  else for (const line of guide(old, stack, restored)) io.out(line);
  return EXIT.ok;
}

/** From which place, and with what it is opened. @throws Failed */
async function sourceOf(io: Io, options: RestoreOptions, old: Target): Promise<Backups> {
  const { repository, s3Stdin, passphraseStdin } = options;
  if (s3Stdin !== true) return backupsOf(old, repository, () => passphraseOf(io, options, old));
  if (passphraseStdin === true || repository === 'local')
    throw new Failed(EXIT.usage, '--s3-stdin has place and passphrase: give it without the other option.');
  return keptBackups(await io.input());
}

async function passphraseOf(io: Io, options: RestoreOptions, old: Target): Promise<string> {
  if (options.passphraseStdin !== true) return old.backupPassphrase();
  const passphrase = (await io.input()).replace(/\r?\n$/, '');
  if (passphrase === '' || /[\r\n\0]/.test(passphrase))
    throw new Failed(EXIT.usage, 'The passphrase on stdin must be one line that is not empty.');
  return passphrase;
}

/** Name, ports and subnet that are free. */
async function place(old: Target, wanted: string | undefined): Promise<NewStack> {
  const taken = readdirSync(PATHS.root).flatMap((file) => /^Pulumi\.(.+)\.yaml$/.exec(file)?.[1] ?? []);
  const name = wanted ?? freeName(old.stack, new Date(), taken);
  if (taken.includes(name)) throw new Failed(EXIT.usage, `There is a stack "${name}" already; choose another --new.`);
  const others = taken.map((other) => readStack(other));
  const before = Object.fromEntries(
    Object.entries(PORT_KEYS).map(([key, port]) => [key, Number(old.info.value(key, String(port)))]),
  ) as Ports;
  const used = new Set(
    others.flatMap(({ value }) => Object.entries(PORT_KEYS).map(([key, port]) => Number(value(key, String(port))))),
  );
  const ports = await freePorts(before, async (port) => !used.has(port) && (await isFree(port)));
  if (ports === null) throw new Failed(EXIT.failed, 'No free ports were found for the new stack.');
  const subnet = freeSubnet([
    ...(await dockerSubnets()),
    ...others.map(({ value }) => value('subnet', String(KEYS.subnet.default))),
  ]);
  if (subnet === null) throw new Failed(EXIT.failed, 'No free subnet was found for the new stack.');
  return { name, prefix: prefixOf(name), ports, subnet };
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}

async function dockerSubnets(): Promise<string[]> {
  const ids = (await runOk('docker', ['network', 'ls', '-q'], { deadlineMs: DOCKER_MS })).stdout
    .split('\n')
    .filter(Boolean);
  const format = '{{range .IPAM.Config}}{{.Subnet}} {{end}}';
  const args = ['network', 'inspect', '--format', format, ...ids];
  return (await runOk('docker', args, { deadlineMs: DOCKER_MS })).stdout
    .split(/\s+/)
    .filter((word) => word.includes('.'));
}

function planOf(
  old: Target,
  target: RestoreTarget,
  { name, ports, subnet, prefix }: NewStack,
  look: RepositoryLook,
  { at, because }: Backups,
  nodes: number,
): string[] {
  const { writePort, readPort, monitorPort, statsPort } = ports;
  const size = Math.max(0, ...look.backups.map(({ sizeBytes }) => sizeBytes));
  return [
    `Stack ${old.stack} as of ${printTarget(target)} is restored into a new stack beside it; ${old.stack} stays as it is.`,
    `  from       ${placeWords(at)}, which is only read${because === '' ? '' : `: ${because}`}`,
    `  stack      ${name} (config Pulumi.${name}.yaml, names ${prefix}…)`,
    `  ports      write ${writePort}, read ${readPort}, page ${monitorPort}, statistics ${statsPort}, on 127.0.0.1`,
    `  subnet     ${subnet}`,
    `  data       about ${bytes(size)} for each of ${nodes} ${nodes === 1 ? 'node' : 'nodes'}, timeline ${look.timeline} of ${look.stanza}`,
    `It is never removed by itself: npm run destroy -- --stack ${name} --volumes removes it, also when this is interrupted.`,
  ];
}

/** Writes the new stack's config. What is secret goes through stdin, because every user can read arguments. */
async function configure(
  old: Target,
  stack: NewStack,
  backups: Backups,
  what: Readonly<Record<string, string | number>>,
): Promise<void> {
  const { setUp } = await import('../scripts/lib/setup.js');
  const file = join(PATHS.root, `Pulumi.${old.stack}.yaml`);
  const before: unknown = existsSync(file) ? parse(readFileSync(file, 'utf8')) : {};
  const { plain, secrets } = restoreFromParts(backups);
  const text = stringify(newStackFile({ ...(before as object) }, old.info.project, stack, { ...plain, ...what }));
  writeFileSync(join(PATHS.root, `Pulumi.${stack.name}.yaml`), text, { flag: 'wx' });
  const ready = await setUp(stack.name, 'state', { silent: true, create: true });
  for (const [part, input] of Object.entries(secrets)) {
    const args = ['config', 'set', '--secret', '--path', `restoreFrom.${part}`, '--stack', stack.name];
    const options = { cwd: PATHS.root, env: ready.env, deadlineMs: PULUMI_MS, input };
    await runOk(ready.cli.command, [...args, '--non-interactive'], options);
  }
}

async function bringUp(io: Io, { name }: NewStack, quiet: boolean): Promise<void> {
  const args = [join(PATHS.root, 'scripts', 'start.mjs'), 'up', '--stack', name];
  const code = quiet
    ? (await run(process.execPath, args, { cwd: PATHS.root, deadlineMs: UP_MS, onLine: io.err })).code
    : await io.foreground(process.execPath, args, process.env);
  if (code === 0) return;
  const remove = `npm run destroy -- --stack ${name} --volumes`;
  throw new Failed(
    EXIT.failed,
    `Stack ${name} is not up (exit code ${code}). npm run up -- --stack ${name} goes on; ${remove} removes it.`,
  );
}

/** How far the data goes. */
async function reached({ prefix }: NewStack): Promise<Restored> {
  const node = `${prefix}${NAMES.primary}`;
  const args = ['exec', node, 'cat', `${INSIDE.backupVolume}/${RESTORED_FILE}`];
  return Restored.parse(JSON.parse((await runOk('docker', args, { deadlineMs: DOCKER_MS })).stdout));
}

function answerOf({ name, ports, subnet, prefix }: NewStack, target: RestoreTarget, restored: Restored) {
  return { stack: name, to: printTarget(target), ...restored, prefix, subnet, ports };
}

function guide(old: Target, { name, prefix }: NewStack, { lastCommit, lsn }: Restored): string[] {
  const database = old.info.value('databaseName', 'app');
  const dump = `docker exec ${prefix}${NAMES.primary} pg_dump -U postgres -t public.TABLE ${database}`;
  return [
    `Stack ${name} has all up to ${lastCommit ?? 'the end of the backup'} (${lsn}).`,
    `  look at it         npm run failover -- psql --stack ${name}`,
    `  bring a table back ${dump} | npm run -s failover -- psql${optionOf(old)}`,
    `  remove it          npm run destroy -- --stack ${name} --volumes && rm Pulumi.${name}.yaml`,
  ];
}
