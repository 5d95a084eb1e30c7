import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { expect, it } from 'vitest';
import { messageOf } from '../../failover/contract/errors';
import { backlogOf, run, waitingConnections } from '../../failover/keeper/postgres/processes';
import { waitFor } from '../rig/wait';

const LIMIT_MS = 10_000;
const TABLE = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1538 00000000:0000 0A 00000000:0000000C 00:00000000 00000000 10000        0 15731689 1 00000000ac5ceff1 100 0 0 10 0
   1: 0A1E620A:1538 0A1E6214:BDEE 01 00000000:000000FF 00:00000000 00000000 10000        0 15731690 1 00000000ac5ceff2 20 4 30 10 -1
   2: 00000000:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000 10000        0 15731691 1 00000000ac5ceff3 100 0 0 10 0
`;

it('counts the connections that wait at one port, and no bytes of those that stand', () => {
  expect(backlogOf(TABLE, 5432)).toBe(12);
  expect(backlogOf(TABLE, 8080)).toBe(3);
  expect(backlogOf('', 5432)).toBe(0);
});

it("reads the kernel's own table: a server that stands still takes nobody", { timeout: LIMIT_MS }, async () => {
  const listens =
    "require('net').createServer().listen(0, '127.0.0.1', function () { console.log(this.address().port) })";
  const server = spawn(process.execPath, ['-e', listens], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const port = Number(await new Promise((resolve) => server.stdout.once('data', resolve)));
    server.kill('SIGSTOP');
    expect(await waitingConnections(port)).toBe(0);
    const client = connect(port, '127.0.0.1');
    client.on('error', () => undefined);
    await new Promise((resolve) => client.once('connect', resolve));
    expect(await waitingConnections(port)).toBe(1);
  } finally {
    server.kill('SIGKILL');
  }
});

it('an aborted program does nothing any more, also when one that it has begun holds its pipes', async () => {
  const abort = new AbortController();
  let pid = 0;
  const onError = (text: string) => {
    pid = Number(text);
    abort.abort();
  };
  const running = run('sh', ['-c', 'echo $$ >&2; sleep 9'], { limitMs: LIMIT_MS, signal: abort.signal, onError });
  const fromMs = performance.now();
  await expect(running).rejects.toThrow('aborted');
  expect(performance.now() - fromMs).toBeLessThan(LIMIT_MS / 2);
  expect(pid).toBeGreaterThan(0);
  expect(() => process.kill(pid, 0)).toThrow('ESRCH');
});

it('a program that was killed leaves no process behind, which would hold its connections and pipes', async () => {
  const fromMs = performance.now();
  const failed = await run('sh', ['-c', 'sleep 300 & echo $! >&2; kill -KILL $$'], { limitMs: LIMIT_MS }).catch(
    messageOf,
  );
  expect(performance.now() - fromMs).toBeLessThan(LIMIT_MS / 2);
  const [, child = ''] = /^sh ended with SIGKILL: (\d+)$/.exec(String(failed)) ?? [];
  // It is a zombie until the first process of this machine has noticed its end.
  const isLeft = () =>
    readFile(`/proc/${child}/stat`, 'utf8').then(
      (stat) => !/\) Z /.test(stat),
      () => false,
    );
  await waitFor('the end of the other process', LIMIT_MS, async () => !(await isLeft()), 10);
});

it('the error of a program that was ended at its limit says so, under the name that it is given', async () => {
  const running = run('sh', ['-c', 'echo waits for a lock >&2; sleep 9'], { limitMs: 200, name: 'tool' });
  await expect(running).rejects.toThrow('tool did not end within 0.2 s: waits for a lock');
});

it('the error of a program begins with what the program calls an error, and not with its hints', async () => {
  const lines = ['WARN: before', 'ERROR: [103]: no repository', '  HINT: one', ...'abcdefgh'].join('\n');
  const failed = run('sh', ['-c', `printf '${lines}' >&2; exit 103`], { limitMs: LIMIT_MS });
  await expect(failed).rejects.toThrow('sh ended with 103: ERROR: [103]: no repository HINT: one a b c');
});

it('a program that is not there is an error', async () => {
  await expect(run('no-such-program', [], { limitMs: LIMIT_MS })).rejects.toThrow('ENOENT');
});
