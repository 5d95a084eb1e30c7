/** `psql`: opens psql on the right node, with the password from the stack's outputs. */

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { PORTS } from '../failover/contract/layout';
import { run } from '../scripts/lib/exec';
import { addressIn } from '../stack/config-values';
import { HOST } from '../stack/topology';
import { type Common, fullName, tellNoticesIfHeard } from './commands';
import { EXIT, Failed } from './exit';
import type { Io } from './io';
import { superuserOf } from './superuser';
import type { Target } from './target';

const ASK_MS = 10_000;

export interface PsqlOptions extends Common {
  /** Through the read port. */
  readOnly?: boolean;
}

/**
 * Without a node, psql runs as the application's role through HAProxy, like an application. With a node, it runs as a
 * superuser inside that node, see {@link superuserOf}. Returns psql's own exit code (0 to 3; psql manual, "Exit
 * Status").
 */
export async function psql(
  io: Io,
  node: string | undefined,
  args: readonly string[],
  options: PsqlOptions,
): Promise<number> {
  if (node !== undefined && options.readOnly === true)
    throw new Failed(
      EXIT.usage,
      `--read-only leads through the read port; inside ${node} psql may write. Leave out one.`,
    );
  const target = io.target(options.stack);
  await tellNoticesIfHeard(io, target);
  const call =
    node === undefined ? await throughHaproxy(target, options.readOnly === true) : await inNode(io, target, node);
  return io.foreground(call.command, [...call.args, ...args], { ...process.env, ...call.env });
}

interface Call {
  command: string;
  args: string[];
  env: Record<string, string>;
}

/** Passwords are passed through the environment, because every user can read arguments. */
async function throughHaproxy(target: Target, readOnly: boolean): Promise<Call> {
  const { info } = target;
  const login = ['-U', info.value('databaseUser', 'app'), '-d', info.value('databaseName', 'app')];
  const env = { PGPASSWORD: await target.password() };
  if (isOnPath('psql')) {
    const port = readOnly ? info.value('readPort', '5435') : info.value('writePort', '5434');
    return { command: 'psql', args: ['-h', target.host, '-p', port, ...login], env };
  }
  const node = await runningNode(target);
  const address = addressIn(info.value('subnet', '10.201.43.0/24'), HOST.haproxy);
  const port = String(readOnly ? PORTS.haproxyRead : PORTS.haproxyWrite);
  const inside = ['exec', ...terminal(), '--env', 'PGPASSWORD', node, 'psql', '-h', address, '-p', port, ...login];
  return { command: 'docker', args: inside, env };
}

async function inNode(io: Io, target: Target, node: string): Promise<Call> {
  const name = fullName(target, node);
  if (!target.nodes.includes(name))
    throw new Failed(EXIT.usage, `There is no node "${node}". Known: ${target.nodes.join(', ')}.`);
  const role = await superuserOf(io.run, name, ASK_MS);
  const login = ['psql', '-U', role, '-d', target.info.value('databaseName', 'app')];
  return { command: 'docker', args: ['exec', ...terminal(), name, ...login], env: {} };
}

function terminal(): string[] {
  return process.stdin.isTTY === true && process.stdout.isTTY === true ? ['-it'] : ['-i'];
}

async function runningNode(target: Target): Promise<string> {
  for (const name of target.nodes) {
    const args = ['container', 'inspect', '--format', '{{.State.Running}} {{.State.Paused}}', name];
    if ((await run('docker', args, { deadlineMs: ASK_MS })).stdout.trim() === 'true false') return name;
  }
  throw new Failed(
    EXIT.failed,
    'There is no psql on PATH, and no node runs whose psql could be used: npm run failover -- doctor',
  );
}

function isOnPath(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return folder !== '';
    } catch {
      return false;
    }
  });
}
