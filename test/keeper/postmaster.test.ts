/**
 * The postmaster's process, with PostgreSQL replaced by a program that installs its handlers late, as PostgreSQL does.
 */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { Place } from '../../failover/keeper/postgres/place';
import { type Exit, Postmaster } from '../../failover/keeper/postgres/postmaster';
import { handles } from '../../failover/keeper/postgres/processes';
import type { ServerLog } from '../../failover/keeper/postgres/server-log';
import { testFolder } from '../rig/folder';
import { waitFor } from '../rig/wait';

let folder: string;
let postmaster: Postmaster | null = null;
let said: string;
let exits: Exit[];
beforeEach(() => {
  folder = testFolder();
  vi.stubEnv('PATH', `${folder}:${process.env.PATH}`);
  [said, exits] = ['', []];
});
afterEach(async () => {
  await postmaster?.stop();
  vi.unstubAllEnvs();
});

function begin(program: string): Postmaster {
  const path = join(folder, 'postgres');
  writeFileSync(path, `#!/bin/sh\n${program}\n`);
  chmodSync(path, 0o755);
  const hear = (text: string) => {
    said += text;
  };
  postmaster = new Postmaster({
    place: { node: 'a', data: folder } as Place,
    ...{ serverArguments: [], blind: false, controlStamp: () => null, warning: { text: null } },
    log: { hearStray: hear, hearEarly: hear } as unknown as ServerLog,
    onExit: (exit) => exits.push(exit),
  });
  return postmaster;
}
const says = (words: string) => waitFor(words, 5_000, () => said.includes(words), 5);

it('survives a reload and a request to promote before it has handlers for them, and takes them afterwards', async () => {
  const late = begin(
    `echo begun; while [ ! -e ${folder}/go ]; do sleep 0.01; done; trap 'echo reloads' HUP; trap 'echo promotes' USR1
     echo ready; while :; do sleep 0.01; done`,
  );
  for (const at of ['at once', 'soon']) {
    late.signal('SIGHUP');
    late.signal('SIGUSR1');
    if (at === 'at once') await says('begun');
  }
  writeFileSync(join(folder, 'go'), '');
  await says('ready');
  expect(exits).toEqual([]);
  expect(said).not.toMatch(/reloads|promotes/);
  late.signal('SIGHUP');
  await says('reloads');
  late.signal('SIGUSR1');
  await says('promotes');
});

it('ends when it is told to before it has handlers, as a server that has done nothing', async () => {
  const late = begin('echo begun; while :; do sleep 0.01; done');
  await says('begun');
  await late.stop();
  expect(exits).toEqual([{ code: null, how: 'signal SIGINT', told: true }]);
});

it('knows which signals a process handles', () => {
  const hears = () => undefined;
  process.on('SIGWINCH', hears);
  expect(handles(process.pid, 'SIGWINCH')).toBe(true);
  process.off('SIGWINCH', hears);
  expect(handles(process.pid, 'SIGXFSZ')).toBe(false);
  expect(handles(2 ** 22 + 1, 'SIGHUP')).toBe(false);
});
