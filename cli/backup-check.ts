/**
 * `backup check`: tests a restore in a container of its own, from the image of the leader. It has the repository read-only,
 * no capability, bounded memory, little processor time, and all that it writes is deleted with it. It never touches a node.
 */

import type { BackupPart } from '../failover/contract/api';
import { partsOf, type RepositoryName } from '../failover/contract/backups';
import { fromJson } from '../failover/contract/json';
import { BACKUP_CONFIG, PATHS } from '../failover/contract/layout';
import { type RestoreTestInput, RestoreTestResult } from '../failover/contract/restore-test';
import type { JobOptions } from './backup';
import { clientOf } from './commands';
import { EXIT, type ExitCode, Failed } from './exit';
import type { Io } from './io';
import type { Run } from './superuser';

const ASK_MS = 30_000;
/** A large database takes hours, ms. */
const TEST_LIMIT_MS = 24 * 3_600_000;
const MEMORY = '1g';
/** Every other container has 1024 shares, so PostgreSQL's work for clients goes first. */
const CPU_SHARES = '64';
const PIDS = '256';
/** Docker removes an anonymous volume together with its container. */
const VOLUME = `type=volume,target=${PATHS.nodeVolume},volume-label=postgres-failover.role=restore-test`;

type Promised = Pick<BackupPart, 'repository' | 'window'>;

/** What the test's container takes over from the leader's. */
export interface LeaderFacts {
  image: string;
  network: string;
  /** Name of the volume, or the folder of the host, with the repository; null: it has none. */
  repository: { type: string; source: string } | null;
  /** Entries of the container's hosts file, as `NAME:ADDRESS`. */
  hosts: readonly string[];
}

/** Docker's arguments. Nothing in them is secret: passphrase and keys come by standard input. */
export function containerArgs(
  name: string,
  { image, network, repository, hosts }: LeaderFacts,
  place: RepositoryName,
): string[] {
  const mount =
    repository && `type=${repository.type},source=${repository.source},target=${PATHS.backupVolume},readonly`;
  return [
    ...['run', '--rm', '-i', '--name', name, '--init', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges:true'],
    ...['--read-only', '--memory', MEMORY, '--memory-swap', MEMORY, '--cpu-shares', CPU_SHARES, '--pids-limit', PIDS],
    ...['--tmpfs', '/tmp:mode=1777,size=16m', '--shm-size', '256m', '--mount', VOLUME],
    // Only S3 needs a network.
    ...(place === 's3'
      ? ['--network', network, ...hosts.flatMap((host) => ['--add-host', host])]
      : ['--network', 'none']),
    ...(mount !== null && place === 'local' ? ['--mount', mount] : []),
    ...[image, 'nice', '-n', '10', 'node', '--disable-sigusr1', '/app/keeper.mjs', 'check-restore'],
  ];
}

async function output(run: Run, args: readonly string[]): Promise<string> {
  const { code, stdout, tail } = await run('docker', args, { deadlineMs: ASK_MS });
  if (code === 0) return stdout;
  throw new Failed(EXIT.failed, `docker ${args[0]} failed: ${tail.join(' ')}`);
}

async function leaderFacts(run: Run, leader: string): Promise<LeaderFacts> {
  const text = await output(run, ['container', 'inspect', '--format', '{{json .}}', leader]);
  const { Image, Mounts, NetworkSettings, HostConfig } = JSON.parse(text) as {
    Image: string;
    HostConfig: { ExtraHosts: string[] | null };
    Mounts: { Type: string; Name?: string; Source: string; Destination: string }[];
    NetworkSettings: { Networks: Record<string, unknown> };
  };
  const mount = Mounts.find(({ Destination }) => Destination === PATHS.backupVolume);
  const [network = 'none'] = Object.keys(NetworkSettings.Networks);
  const repository = mount === undefined ? null : { type: mount.Type, source: mount.Name ?? mount.Source };
  return { image: Image, network, repository, hosts: HostConfig.ExtraHosts ?? [] };
}

/** Passphrase and keys, from the leader's memory. */
async function inputOf(run: Run, leader: string, part: Promised): Promise<RestoreTestInput> {
  const { repository = 'local' } = part;
  const config = await output(run, ['exec', leader, 'cat', `${PATHS.archiveRun}/${BACKUP_CONFIG[repository]}`]);
  const file = /^repo\d-storage-ca-file=(\S+)$/m.exec(config)?.[1];
  const ca = file === undefined ? undefined : await output(run, ['exec', leader, 'cat', file]);
  const promisedMs = part.window === null ? null : Date.parse(part.window.to);
  return { repository, config, promisedMs, ...(ca !== undefined && { ca }) };
}

function partOf(first: BackupPart & { second?: BackupPart | undefined }, wanted: string | undefined): BackupPart {
  if (wanted === undefined) return first;
  const parts = partsOf<BackupPart>(first);
  const found = parts.find(({ repository = 'local' }) => repository === wanted);
  if (found !== undefined) return found;
  const names = parts.map(({ repository = 'local' }) => repository).join(' or ');
  throw new Failed(EXIT.usage, `--repository: ${JSON.stringify(wanted)} is refused; this stack has ${names}`);
}

export async function backupCheck(io: Io, options: JobOptions): Promise<ExitCode> {
  const target = io.target(options.stack);
  const client = clientOf(target);
  const [{ leader }, answer] = await Promise.all([client.cluster(), client.backups()]);
  if (leader === null) throw new Failed(EXIT.failed, 'There is no leader whose image and passphrase could be used.');
  const part = partOf(answer, options.repository);
  io.err(`the newest backup is restored in a container of its own, ${leader}-check; this takes as long as a restore`);
  const result = await restoreTest(io.run, leader, part);
  const say = result.result === 'done' ? io.out : (line: string) => io.err(io.paint('red', line));
  if (options.json) io.out(JSON.stringify(result, null, 2));
  else for (const line of linesOf(result)) say(line);
  return result.result === 'done' ? EXIT.ok : EXIT.failed;
}

/** Runs the test in its container, with the leader's image. @throws Failed when that could not be done. */
export async function restoreTest(run: Run, leader: string, part: Promised): Promise<RestoreTestResult> {
  const [facts, input] = await Promise.all([leaderFacts(run, leader), inputOf(run, leader, part)]);
  const args = containerArgs(`${leader}-check`, facts, input.repository);
  const ran = await run('docker', args, { deadlineMs: TEST_LIMIT_MS, input: JSON.stringify(input) });
  const result = fromJson(RestoreTestResult, ran.stdout.trim().split('\n').at(-1) ?? '');
  if (result === null) throw new Failed(EXIT.failed, `The test did not end as it should: ${ran.tail.join(' ')}`);
  return result;
}

function linesOf({ result, message, label, newest, tookMs }: RestoreTestResult): string[] {
  const what = `${label ?? 'no backup'}${newest === null ? '' : `, newest commit ${newest}`}`;
  return [`restore test ${result}: ${message}`, `${what} (${Math.round(tookMs / 1_000)} s)`];
}
