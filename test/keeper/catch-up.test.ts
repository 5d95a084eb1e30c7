import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { placeOf } from '../../failover/keeper/postgres/place';
import { CatchUp } from '../../failover/keeper/postgres/receive-wal';
import { testFolder } from '../rig/folder';

/** What PostgreSQL shows, and the runs of pg_receivewal that have not ended. */
const world = vi.hoisted(() => ({ title: '', running: 0, arguments: [] as string[] }));

vi.mock('../../failover/keeper/postgres/processes', async (own) => ({
  ...(await own<typeof import('../../failover/keeper/postgres/processes')>()),
  serverProcesses: async () => [
    { pid: 1, title: 'postgres -D data' },
    { pid: 2, title: world.title },
  ],
  run: (_tool: string, args: string[], { signal }: { signal: AbortSignal }) => {
    world.running += 1;
    world.arguments = args;
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => {
        world.running -= 1;
        reject(new Error('aborted'));
      });
    });
  },
}));

const MB = 1024 * 1024;
const TOLD = { timeout: 8_000, interval: 20 };
/** The rest that is left is reported at most this often. */
const TOLD_EVERY_MS = 3_000;
let volume: string;
let catchUp: CatchUp | null = null;
let told: string[];

function begin(reserveBytes: number): CatchUp {
  const place = placeOf('replica-1', 'k'.repeat(48), volume);
  const source = { name: 'primary', address: '10.0.0.20' };
  told = [];
  catchUp = new CatchUp(source, place, reserveBytes, { isRunning: () => true, progress: (text) => told.push(text) });
  return catchUp;
}

/** Whole segments 1 … n of 1 MB each, without their bytes on the disk. */
async function received(n: number): Promise<void> {
  const folder = join(volume, 'data', 'pg_wal');
  await mkdir(folder, { recursive: true });
  for (let i = 1; i <= n; i++) {
    const name = `00000002${i.toString(16).toUpperCase().padStart(16, '0')}`;
    await writeFile(join(folder, name), Buffer.alloc(i === 1 ? MB : 0));
  }
  await writeFile(join(folder, `00000002${'F'.repeat(16)}.partial`), '');
}

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  volume = testFolder();
  Object.assign(world, { title: 'postgres: replica-1: startup ', running: 0, arguments: [] });
});
afterEach(async () => {
  await catchUp?.end();
  vi.useRealTimers();
});

describe('a copy that replays what was received meanwhile', () => {
  it('says how much is left, and lets the walreceiver take over when it is little', async () => {
    await received(100);
    const begun = begin(0);
    await vi.waitFor(() => expect(world.running).toBe(1), TOLD);
    expect(world.arguments.join(' ')).toContain(`application_name='replica-1-receivewal'`);
    expect(world.arguments).toEqual(expect.arrayContaining(['-S', 'replica_1', '--no-loop']));
    world.title = 'postgres: replica-1: startup recovering 00000002000000000000000B';
    vi.advanceTimersByTime(TOLD_EVERY_MS);
    await vi.waitFor(() => expect(told).toEqual(['90 MB of WAL still to be replayed']), TOLD);
    expect(begun.isOver).toBe(false);
    world.title = 'postgres: replica-1: startup recovering 000000020000000000000055';
    await vi.waitFor(() => expect(begun.isOver).toBe(true), TOLD);
    expect(world.running).toBe(1);
    await begun.end();
    expect(world.running).toBe(0);
    expect((await readdir(join(volume, 'data', 'pg_wal'))).filter((name) => name.endsWith('.partial'))).toEqual([]);
  });

  it('receives no more while the disk has too little room', async () => {
    await received(100);
    begin(1e18);
    world.title = 'postgres: replica-1: startup recovering 00000002000000000000000B';
    vi.advanceTimersByTime(TOLD_EVERY_MS);
    const says = expect.stringMatching(/^only \d+ bytes \(\d+ MB\) are free on the disk/);
    await vi.waitFor(() => expect(told).toContainEqual(says), TOLD);
    expect(world.running).toBe(0);
  });
});
