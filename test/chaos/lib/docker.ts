/** Docker commands of the faults, each with a time limit. */
import { existsSync, writeFileSync } from 'node:fs';
import { runOk } from '../../../scripts/lib/exec';
import { docker, sqlInside } from '../../rig/docker';
import { healthy } from '../../rig/view';
import { MONITOR, own, STACK } from './stack';

const HOST_LIMIT_MS = 120_000;
const UNPAUSE_PATIENCE_MS = 5_000;
/**
 * Time until HAProxy has noticed that a node was away: it checks once a second and waits a second for the answer, ms.
 */
const REACH_MS = 2_100;

/** Runs a program on the host (nsenter, iptables, losetup …) and returns its output, trimmed. */
export async function host(program: string, ...args: readonly string[]): Promise<string> {
  return (await runOk(program, args, { deadlineMs: HOST_LIMIT_MS })).stdout.trim();
}

/** `docker <command>` for several containers at the same time: a single call would do them one after the other. */
const each =
  (command: string) =>
  async (...names: string[]): Promise<void> => {
    await Promise.all(names.map((name) => docker(command, name)));
  };

export const [kill, stop, start, restart] = [each('kill'), each('stop'), each('start'), each('restart')] as const;

/**
 * By container: files of its control group (versions 1 and 2), and the text that ends a pause when it is written there.
 */
const thawFiles = new Map<string, string[][]>();

export async function pause(name: string): Promise<void> {
  const id = await docker('inspect', '--format', '{{.Id}}', name);
  thawFiles.set(name, [
    [`/sys/fs/cgroup/freezer/docker/${id}/freezer.state`, 'THAWED'],
    [`/sys/fs/cgroup/system.slice/docker-${id}.scope/cgroup.freeze`, '0'],
    [`/sys/fs/cgroup/docker/${id}/cgroup.freeze`, '0'],
  ]);
  await docker('pause', name);
}

/**
 * `docker unpause`. When a health check began at the moment of the pause, Docker 20.10 waits for that check for ever,
 * and every command for this container hangs. Then the pause is ended by writing to the control group.
 */
export async function unpause(name: string): Promise<void> {
  const patience = setTimeout(() => {
    for (const [file = '', word = ''] of thawFiles.get(name) ?? []) if (existsSync(file)) writeFileSync(file, word);
  }, UNPAUSE_PATIENCE_MS);
  await docker('unpause', name).finally(() => clearTimeout(patience));
}

/** Process id, on the host, of a container's first process. */
export async function mainPid(container: string): Promise<number> {
  const pid = Number(await docker('inspect', '--format', '{{.State.Pid}}', container));
  if (!(Number.isInteger(pid) && pid > 1)) throw new Error(`${container} does not run`);
  return pid;
}

/** `kill -9` of a process on the host. */
export async function crashProcess(pid: Promise<number>): Promise<void> {
  process.kill(await pid, 'SIGKILL');
}

/** Processes of a container, with their ids on the host. */
export async function processes(container: string): Promise<{ pid: number; title: string }[]> {
  const lines = (await docker('top', container, '-eo', 'pid,args')).split('\n').slice(1);
  return lines.flatMap((line) => {
    const [, pid, title] = /^\s*(\d+)\s+(.*)$/.exec(line) ?? [];
    return pid === undefined || title === undefined ? [] : [{ pid: Number(pid), title }];
  });
}

/** Process id, on the host, of a node's postmaster. */
export async function postmaster(container: string): Promise<number> {
  const found = (await processes(container)).find((p) => /(^|\/)postgres (-|.*-D )/.test(p.title));
  if (found === undefined) throw new Error(`${container} runs no postmaster`);
  return found.pid;
}

/** A query by the superuser over the node's local socket; one line for each row. */
export async function local(container: string, sql: string, database?: string): Promise<string[]> {
  return (await sqlInside(container, sql, database)).split('\n').filter((line) => line !== '');
}

/** Waits until the cluster is healthy, and gives the node the lead by a planned switchover. */
export async function giveLead(node: string, limitMs: number): Promise<void> {
  await healthy(STACK, limitMs, REACH_MS);
  await docker('exec', MONITOR, 'switchover', node);
}

/** Starts or unpauses every container of the stack that a case left stopped or paused. */
export async function heal(): Promise<void> {
  const listed = await docker('ps', '--all', '--filter', `label=${own.label}`, '--format', '{{.Names}} {{.State}}');
  const states = listed.split('\n').map((line) => line.split(' '));
  const named = (state: string) => states.filter((s) => s[1] === state).map((s) => s[0] ?? '');
  for (const name of named('paused')) await unpause(name);
  const off = [...named('exited'), ...named('created')];
  if (off.length > 0) await start(...off);
}
