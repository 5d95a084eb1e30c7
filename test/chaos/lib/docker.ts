/** What the faults do to containers, each with a deadline. */
import { existsSync, writeFileSync } from 'node:fs';
import { runOk } from '../../../scripts/lib/exec';
import { docker, sqlInside } from '../../rig/docker';
import { healthy } from '../../rig/view';
import { MONITOR, own, STACK } from './stack';

const HOST_LIMIT_MS = 120_000;
const UNPAUSE_PATIENCE_MS = 5_000;
/** HAProxy may take so long to see that a node was away: a look a second, with a second for the answer. */
const REACH_MS = 2_100;

/** Runs a program of the machine (nsenter, iptables, losetup …) and returns its output, trimmed. */
export async function host(program: string, ...args: readonly string[]): Promise<string> {
  return (await runOk(program, args, { deadlineMs: HOST_LIMIT_MS })).stdout.trim();
}

/** `docker <command>` of several containers at the same moment: one call would take them one after the other. */
const each =
  (command: string) =>
  async (...names: string[]): Promise<void> => {
    await Promise.all(names.map((name) => docker(command, name)));
  };

export const [kill, stop, start, restart] = [each('kill'), each('stop'), each('start'), each('restart')] as const;

/** Files that thaw a container which was paused here (control groups 1 and 2), by name. */
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
 * `docker unpause`. An engine whose health check began in the very moment of the pause waits for that check for ever and
 * can do nothing to the container any more (Docker 20.10); then the kernel is told directly.
 */
export async function unpause(name: string): Promise<void> {
  const patience = setTimeout(() => {
    for (const [file = '', word = ''] of thawFiles.get(name) ?? []) if (existsSync(file)) writeFileSync(file, word);
  }, UNPAUSE_PATIENCE_MS);
  await docker('unpause', name).finally(() => clearTimeout(patience));
}

/** Process id, on this machine, of a container's first process. */
export async function mainPid(container: string): Promise<number> {
  const pid = Number(await docker('inspect', '--format', '{{.State.Pid}}', container));
  if (!(Number.isInteger(pid) && pid > 1)) throw new Error(`${container} does not run`);
  return pid;
}

/** kill -9 of a process of this machine. */
export async function crashProcess(pid: Promise<number>): Promise<void> {
  process.kill(await pid, 'SIGKILL');
}

/** Processes of a container as this machine sees them. */
export async function processes(container: string): Promise<{ pid: number; title: string }[]> {
  const lines = (await docker('top', container, '-eo', 'pid,args')).split('\n').slice(1);
  return lines.flatMap((line) => {
    const [, pid, title] = /^\s*(\d+)\s+(.*)$/.exec(line) ?? [];
    return pid === undefined || title === undefined ? [] : [{ pid: Number(pid), title }];
  });
}

/** The postmaster of a node. */
export async function postmaster(container: string): Promise<number> {
  const found = (await processes(container)).find((p) => /(^|\/)postgres (-|.*-D )/.test(p.title));
  if (found === undefined) throw new Error(`${container} runs no postmaster`);
  return found.pid;
}

/** A query by the superuser over the node's local socket; a line each row. */
export async function local(container: string, sql: string, database?: string): Promise<string[]> {
  return (await sqlInside(container, sql, database)).split('\n').filter((line) => line !== '');
}

/** Waits until all is well, the node a counted standby, and gives it the lead by a planned switchover. */
export async function giveLead(node: string, limitMs: number): Promise<void> {
  await healthy(STACK, limitMs, REACH_MS);
  await docker('exec', MONITOR, 'switchover', node);
}

/** Brings all containers of the stack back to running, whatever a case left. */
export async function heal(): Promise<void> {
  const listed = await docker('ps', '--all', '--filter', `label=${own.label}`, '--format', '{{.Names}} {{.State}}');
  const states = listed.split('\n').map((line) => line.split(' '));
  const named = (state: string) => states.filter((s) => s[1] === state).map((s) => s[0] ?? '');
  for (const name of named('paused')) await unpause(name);
  const off = [...named('exited'), ...named('created')];
  if (off.length > 0) await start(...off);
}
