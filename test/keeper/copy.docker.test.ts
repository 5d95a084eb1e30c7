/**
 * Copies of a leader that writes all the time, on real nodes: one whose verification takes far longer than the leader keeps
 * write-ahead log for, aborted and killed ones, one on a small disk, and tablespaces.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NodeSettings, Status, Target } from '../../failover/contract/messages';
import { copySlotName, slotName } from '../../failover/contract/naming';
import { buildImage, docker, dockerQuietly, removeNode, startNode } from './node-containers';
import { ScriptedMonitor } from './scripted-monitor';

const PLAIN = 'copy-postgres:test';
const IMAGE = 'copy-postgres-slow:test';
const NETWORK = 'copy-inner';
const HOST = '10.217.67.1';
const PORT = 17_467;
const KEY = 'c'.repeat(48);
const [A, B, SMALL] = ['copy-a', 'copy-b', 'copy-small'] as const;
const ADDRESS: Record<string, string> = { [A]: '10.217.67.20', [B]: '10.217.67.21', [SMALL]: '10.217.67.22' };
const MB = 1024 * 1024;
const KEPT_MB = 128;
const CHECKPOINT_MB = 64;
const SETTINGS: NodeSettings = {
  nodes: [A, B, SMALL].map((name) => ({ name, address: ADDRESS[name] ?? '' })),
  haproxyAddress: HOST,
  monitorAddress: HOST,
  subnet: '10.217.67.0/24',
  databaseName: 'app',
  databaseUser: 'app',
  databasePassword: 'secret',
  postgresSettings: {
    wal_keep_size: '0',
    max_slot_wal_keep_size: `${KEPT_MB}MB`,
    max_wal_size: `${CHECKPOINT_MB}MB`,
    min_wal_size: '2MB',
  },
};
/**
 * Seconds that a verification takes longer, and MB of write-ahead log a second: together several times what the leader may
 * keep. Decision 18 was measured with 60 and 600 seconds.
 */
const VERIFY_S = Number(process.env.COPY_VERIFY_S ?? 30);
const RATE = Number(process.env.COPY_RATE ?? 20);
/** Longer than the verification, and time to replay what came meanwhile. */
const COPY_LIMIT_MS = (VERIFY_S + 120) * 1_000;

const monitor = new ScriptedMonitor(KEY, SETTINGS);
const figures: Record<string, unknown> = {};

const psqlOn = (node: string, text: string) => docker('exec', node, 'psql', '-U', 'postgres', '-Atc', text);
const psql = (text: string) => psqlOn(A, text);
const streams = (s: Status) => s.done && s.postgres.streamingFrom === A;
const copy: Target = { kind: 'follow', leader: A, method: 'copy' };
const stream: Target = { kind: 'follow', leader: A, method: 'stream' };
const begun = (node: string) => monitor.view(node).notes.filter((n) => n.startsWith('COPY_BEGUN')).length;
const done = (node: string) => monitor.view(node).notes.filter((n) => n.startsWith('COPY_DONE')).length;
const inVolume = async (node: string, folder = '') => {
  const names = await docker('exec', node, 'ls', `/var/lib/postgresql/${folder}`).catch(() => '');
  return names.split('\n').filter((name) => name !== '');
};
const leftovers = async (node: string) => (await inVolume(node)).filter((name) => name.startsWith('data.'));
const slots = async () => (await psql('SELECT slot_name FROM pg_replication_slots ORDER BY 1')).split('\n');

/** Looks again until it holds. */
async function eventually(holds: () => Promise<boolean>, what: string, limitMs = 30_000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** How long verifications on a node take longer from now on. */
const slow = (node: string, seconds: number) =>
  docker('exec', node, 'sh', '-c', `echo ${seconds} > /run/keeper/verify-seconds`);

/** Writes rows and filler on the leader: a transaction each 50 ms, `RATE` MB a second. */
class Writer {
  /** Largest size of the leader's `pg_wal` that was seen, MB. */
  walMb = 0;
  /** Names of what received from the leader. */
  readonly receivers = new Set<string>();
  private readonly work: Promise<void>;
  private stopped = false;
  private writtenMb = 0;
  private readonly fromMs = performance.now();

  constructor() {
    this.work = this.write();
  }

  private async write(): Promise<void> {
    while (!this.stopped) {
      const due = ((performance.now() - this.fromMs) / 1_000) * RATE - this.writtenMb;
      const count = Math.max(0, Math.min(2 * RATE, Math.floor(due)));
      if (count > 0) {
        await psql(
          `INSERT INTO rows (filler) SELECT repeat(md5(n::text), 30) FROM generate_series(1, 100) n;
           SELECT count(pg_logical_emit_message(false, 'filler', repeat('x', ${MB}))) FROM generate_series(1, ${count})`,
        );
        this.writtenMb += count;
      }
      const [wal, receivers] = (
        await psql(
          `SELECT (SELECT sum(size) FROM pg_ls_waldir()), (SELECT string_agg(application_name, ',') FROM pg_stat_replication)`,
        )
      ).split('|');
      this.walMb = Math.max(this.walMb, Number(wal) / MB);
      for (const name of (receivers ?? '').split(',')) if (name !== '') this.receivers.add(name);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  /** Resolves with what was written, MB a second. */
  async end(): Promise<number> {
    this.stopped = true;
    await this.work;
    return Math.round(this.writtenMb / ((performance.now() - this.fromMs) / 1_000));
  }
}

/** The shipped image with a verification that takes as long as a file says. */
async function buildSlowImage(): Promise<void> {
  await buildImage(PLAIN);
  const folder = mkdtempSync(join(tmpdir(), 'copy-image-'));
  const bin = '/usr/lib/postgresql/17/bin';
  try {
    writeFileSync(
      join(folder, 'pg_verifybackup'),
      `#!/bin/sh\nsleep "$(cat /run/keeper/verify-seconds 2>/dev/null || echo 0)"\nexec ${bin}/pg_verifybackup.real "$@"\n`,
      { mode: 0o755 },
    );
    writeFileSync(
      join(folder, 'Dockerfile'),
      `FROM ${PLAIN}\nUSER root\nRUN mv ${bin}/pg_verifybackup ${bin}/pg_verifybackup.real && install -d -o 10000 -g 10000 /spaces
COPY pg_verifybackup ${bin}/pg_verifybackup\nUSER 10000:10000\n`,
    );
    const environment = { ...process.env, DOCKER_BUILDKIT: '0' };
    await promisify(execFile)('docker', ['build', '-q', '-t', IMAGE, folder], { env: environment });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const BASE = { image: IMAGE, network: NETWORK, monitor: { host: HOST, port: PORT }, clusterKey: KEY };

beforeAll(async () => {
  await Promise.all([A, B, SMALL].map(removeNode));
  await dockerQuietly('network', 'rm', NETWORK);
  await docker('network', 'create', '--subnet', '10.217.67.0/24', '--gateway', HOST, NETWORK);
  await monitor.listen(HOST, PORT);
  await buildSlowImage();
  await Promise.all([A, B].map((name) => startNode({ ...BASE, name, address: ADDRESS[name] ?? '' })));
  for (const name of [A, B]) await monitor.until(name, (s) => s.postgres.state === 'absent', 'first status', 20_000);
  await monitor.done(A, 1, { kind: 'bootstrap' });
  await monitor.done(A, 1, { kind: 'lead', sync: { leader: A, k: 0, members: [] } });
  await psql('CREATE TABLE rows (id bigserial PRIMARY KEY, filler text)');
});

afterAll(async () => {
  console.log(`figures: ${JSON.stringify(figures)}`);
  monitor.close();
  if (process.env.KEEP_NODES !== undefined) return;
  await Promise.all([A, B, SMALL].map(removeNode));
  await dockerQuietly('network', 'rm', NETWORK);
  await dockerQuietly('rmi', IMAGE);
  await dockerQuietly('rmi', PLAIN);
});

describe('a copy of a leader that writes all the time', () => {
  it(
    'ends in a standby that streams, at the first attempt, and the leader keeps no more than it may',
    async () => {
      await slow(B, VERIFY_S);
      const writer = new Writer();
      const fromMs = performance.now();
      const seq = monitor.order(B, 1, copy);
      try {
        await monitor.wait(
          () => done(B) > 0,
          'copied',
          COPY_LIMIT_MS,
          () => monitor.view(B).notes.slice(-5).join('\n'),
        );
        // Under names that are no node's: nothing counts before it streams (S25).
        expect([...writer.receivers].filter((name) => name !== `${B}-basebackup`)).toEqual([`${B}-receivewal`]);
        figures['copied and verified, ms'] = Math.round(performance.now() - fromMs);
        await monitor.until(B, (s) => s.accepted?.seq === seq && streams(s), 'streams', COPY_LIMIT_MS);
        figures['copy ordered → streams, ms'] = Math.round(performance.now() - fromMs);
      } finally {
        figures['written, MB/s'] = await writer.end();
        figures['largest pg_wal of the leader, MB'] = Math.round(writer.walMb);
        figures.told = monitor
          .view(B)
          .notes.filter((n) => /still to be replayed/.test(n))
          .slice(-3);
      }
      expect(begun(B)).toBe(1);
      // What a slot may keep, what a checkpoint is about to give back, and what is written in between.
      expect(writer.walMb).toBeLessThan(KEPT_MB + 2 * CHECKPOINT_MB + 4 * RATE);
      const rows = await psql('SELECT count(*) FROM rows');
      await eventually(async () => (await psqlOn(B, 'SELECT count(*) FROM rows')) === rows, 'all rows');
      expect(await leftovers(B)).toEqual([]);
      expect(await inVolume(B, 'data')).not.toContain('keeper.catching_up');
    },
    2 * COPY_LIMIT_MS,
  );

  it('leaves nothing behind when it is aborted, and the old data streams again', async () => {
    const { dataId } = await monitor.until(B, streams, 'streams', 20_000);
    await slow(B, 600);
    const writer = new Writer();
    try {
      monitor.order(B, 1, { ...copy, replaces: dataId ?? '' });
      await eventually(async () => (await inVolume(B, 'data.wal')).length > 20, 'receives');
      expect(await slots()).toContain(copySlotName(B));
      const fromMs = performance.now();
      monitor.order(B, 1, stream);
      const again = await monitor.until(B, streams, 'streams again', 20_000);
      figures['copy aborted → old data streams, ms'] = Math.round(performance.now() - fromMs);
      expect(again.dataId).toBe(dataId);
      await eventually(async () => (await leftovers(B)).length === 0, 'no leftovers');
      await eventually(async () => !(await slots()).includes(copySlotName(B)), 'no slot of a copy');
    } finally {
      await writer.end();
    }
  });

  it('leaves nothing behind when the container is killed in the middle of it', async () => {
    const { dataId } = await monitor.until(B, streams, 'streams', 20_000);
    await slow(B, 600);
    monitor.order(B, 1, { ...copy, replaces: dataId ?? '' });
    await eventually(async () => (await inVolume(B, 'data.wal')).length > 1, 'receives');
    await docker('kill', B);
    await monitor.wait(() => !monitor.view(B).connected, 'break', 10_000);
    await docker('start', B);
    await monitor.until(B, (s) => s.postgres.state === 'stopped', 'is back', 20_000);
    await eventually(async () => (await leftovers(B)).length === 0, 'no leftovers');
    monitor.order(B, 1, stream);
    const again = await monitor.until(B, streams, 'streams again', 20_000);
    expect(again.dataId).toBe(dataId);
  });

  it('goes on receiving when the container is killed while it replays what was received', async () => {
    const { dataId } = await monitor.until(B, streams, 'streams', 20_000);
    const [copies, order] = [begun(B), { ...copy, replaces: dataId ?? '' }];
    await slow(B, 20);
    const writer = new Writer();
    try {
      monitor.order(B, 1, order);
      const copied = done(B);
      await monitor.wait(() => done(B) > copied, 'copied', 60_000);
      await docker('kill', B);
      await monitor.wait(() => !monitor.view(B).connected, 'break', 10_000);
      expect(await slots()).toContain(slotName(B));
      await docker('start', B);
      await monitor.until(B, (s) => s.postgres.state === 'stopped', 'is back', 20_000);
      monitor.order(B, 1, order);
      await monitor.until(B, streams, 'streams', 60_000);
      expect(begun(B)).toBe(copies + 1);
    } finally {
      await writer.end();
    }
  });
});

describe('a leader that is stopped while it is copied', () => {
  it('does not wait for the copy, and the old data follows it again once it leads', async () => {
    const { dataId } = await monitor.until(B, streams, 'streams', 20_000);
    await slow(B, 600);
    monitor.order(B, 1, { ...copy, replaces: dataId ?? '' });
    await eventually(async () => (await inVolume(B, 'data.wal')).length > 1, 'receives');
    await psql('INSERT INTO rows (filler) VALUES (repeat(md5(random()::text), 1000))');
    const fromMs = performance.now();
    await monitor.done(A, 1, { kind: 'stop' });
    figures['leader stopped during a copy, ms'] = Math.round(performance.now() - fromMs);
    // A walsender that does not advance is ended after one second (S18).
    expect(performance.now() - fromMs).toBeLessThan(5_000);
    await monitor.done(A, 2, { kind: 'lead', sync: { leader: A, k: 0, members: [] } });
    monitor.order(B, 2, stream);
    const again = await monitor.until(B, streams, 'streams again', 20_000);
    expect(again.dataId).toBe(dataId);
    await eventually(async () => (await leftovers(B)).length === 0, 'no leftovers');
  });
});

describe('a copy on a disk that gets full meanwhile', () => {
  it('is stopped before it is full, says what is needed and free, and rests longer each time', async () => {
    const options = ['--opt', 'type=tmpfs', '--opt', 'device=tmpfs', '--opt', 'o=size=320m,uid=10000,gid=10000'];
    await docker('volume', 'create', '--driver', 'local', ...options, `${SMALL}-data`);
    await startNode({ ...BASE, name: SMALL, address: ADDRESS[SMALL] ?? '' });
    await monitor.until(SMALL, (s) => s.postgres.state === 'absent', 'first status', 20_000);
    await psql('TRUNCATE rows');
    await psql('CHECKPOINT');
    await slow(SMALL, 600);
    const free = async () => {
      const text = await docker('exec', SMALL, 'df', '-m', '--output=avail', '/var/lib/postgresql');
      return Number(text.split('\n').at(-1));
    };
    const before = await free();
    const writer = new Writer();
    let least = before;
    try {
      monitor.order(SMALL, 2, copy);
      const failed = () => monitor.view(SMALL).status?.failure ?? null;
      await eventually(async () => {
        least = Math.min(least, await free());
        return failed() !== null;
      }, 'is stopped');
      figures['least room on the small disk, MB'] = least;
      expect(failed()?.code).toBe('DISK_TOO_SMALL');
      expect(failed()?.message).toMatch(
        /was stopped: it needs \d+ bytes \(128 MB\) that stay free, \d+ bytes \(\d+ MB\) are free/,
      );
      expect(failed()?.tries).toBe(1);
      expect(least).toBeGreaterThan(64);
      await eventually(async () => (await leftovers(SMALL)).length === 0, 'no leftovers');
      await monitor.until(SMALL, (s) => (s.failure?.tries ?? 0) >= 2, 'is tried again', 60_000);
    } finally {
      await writer.end();
      await removeNode(SMALL);
    }
  });
});

describe('a copy of a leader with a tablespace', () => {
  const folder = '/spaces/one';

  const crashes = () => monitor.view(B).notes.filter((n) => n.startsWith('POSTGRES_CRASHED')).length;

  it('gets its folder by itself, where PostgreSQL ends because it is missing', async () => {
    await slow(B, 0);
    const before = await monitor.until(B, streams, 'streams', 20_000);
    await docker('exec', A, 'mkdir', folder);
    const ended = crashes();
    await psql(`CREATE TABLESPACE one LOCATION '${folder}'`);
    await psql('CREATE TABLE far (n int) TABLESPACE one');
    await psql('INSERT INTO far SELECT generate_series(1, 1000)');
    await eventually(async () => crashes() > ended, 'ends');
    const { dataId } = await monitor.until(B, streams, 'streams', 20_000);
    expect(dataId).toBe(before.dataId);
    expect(crashes()).toBe(ended + 1);
    await eventually(async () => (await psqlOn(B, 'SELECT count(*) FROM far')) === '1000', 'has its rows');
  });

  it('has it at the same path, once the old data is allowed to go', async () => {
    const { dataId } = await monitor.until(B, streams, 'streams', 20_000);
    const order: Target = { ...copy, replaces: dataId ?? '' };
    monitor.order(B, 2, order);
    const refused = await monitor.until(B, (s) => s.failure !== null, 'is refused', 30_000);
    expect(refused.failure).toMatchObject({ code: 'TABLESPACE_IN_USE' });
    expect(refused.failure?.message).toContain(`the copy needs ${folder} of tablespace "one"`);
    monitor.order(B, 2, stream);
    const again = await monitor.until(B, streams, 'streams again', 20_000);
    expect(again.dataId).toBe(dataId);
    expect(await psqlOn(B, 'SELECT count(*) FROM far')).toBe('1000');

    monitor.settle({ ...SETTINGS, rebuildInPlace: true });
    monitor.order(B, 2, { ...order, keepOld: true });
    await monitor.until(B, (s) => s.failure?.code === 'TABLESPACE_IN_USE', 'keeps the old data', 30_000);
    monitor.order(B, 2, order);
    const copied = await monitor.until(B, (s) => streams(s) && s.dataId !== dataId, 'streams a copy', 60_000);
    expect(copied.failure).toBeNull();
    expect(await psqlOn(B, 'SELECT count(*) FROM far')).toBe('1000');
    await psql('INSERT INTO far VALUES (0)');
    await eventually(async () => (await psqlOn(B, 'SELECT count(*) FROM far')) === '1001', 'replays into it');
  });

  it('is told which folder is missing, makes nothing worse meanwhile, and goes on once it is there', async () => {
    const { dataId } = await monitor.until(B, streams, 'streams', 20_000);
    await docker('exec', A, 'mkdir', '-p', '/spaces/closed/two');
    await docker('exec', B, 'touch', '/spaces/closed');
    const ended = crashes();
    await psql(`CREATE TABLESPACE two LOCATION '/spaces/closed/two'`);
    await psql('CREATE TABLE closed TABLESPACE two AS SELECT generate_series(1, 1000) AS n');
    await eventually(async () => crashes() > ended, 'ends');
    const checkpoints = await psql('SELECT num_requested FROM pg_stat_checkpointer');
    monitor.order(B, 2, { ...copy, replaces: dataId ?? '' });
    const refused = await monitor.until(B, (s) => (s.failure?.tries ?? 0) >= 2, 'is refused twice', 30_000);
    expect(refused.failure).toMatchObject({ code: 'TABLESPACE_IN_USE' });
    expect(refused.failure?.message).toBe(
      `the copy needs /spaces/closed/two of tablespace "two", which ${B} does not have and cannot make: make it, or use one in /var/lib/postgresql`,
    );
    // The leader did nothing for these attempts.
    expect(await psql('SELECT num_requested FROM pg_stat_checkpointer')).toBe(checkpoints);
    await docker('exec', B, 'rm', '/spaces/closed');
    monitor.order(B, 2, stream);
    const again = await monitor.until(B, streams, 'streams again', 30_000);
    expect(again.dataId).toBe(dataId);
    await eventually(async () => (await psqlOn(B, 'SELECT count(*) FROM closed')) === '1000', 'has its rows');
  });

  it('is not started without it, so that no node leads without its rows', async () => {
    await docker('exec', B, 'mv', folder, `${folder}.gone`);
    await docker('kill', B);
    await monitor.wait(() => !monitor.view(B).connected, 'break', 10_000);
    await docker('start', B);
    await monitor.until(B, (s) => s.postgres.state === 'stopped', 'is back', 20_000);
    monitor.order(B, 2, { kind: 'freeze' });
    const refused = await monitor.until(B, (s) => s.failure !== null, 'is not started', 20_000);
    const message = `${folder}, the folder of a tablespace of this data, is gone`;
    expect(refused.failure).toEqual({ code: 'MUST_COPY', message });
    await docker('exec', B, 'mv', `${folder}.gone`, folder);
    monitor.order(B, 2, stream);
    await monitor.until(B, streams, 'streams', 20_000);
  });

  it('is not hindered by what an aborted copy left in it', async () => {
    await removeNode(B);
    await startNode({ ...BASE, name: B, address: ADDRESS[B] ?? '' });
    await monitor.until(B, (s) => s.postgres.state === 'absent', 'first status', 20_000);
    await slow(B, 600);
    monitor.order(B, 2, copy);
    await eventually(async () => (await inVolume(B, `../../..${folder}`)).length > 0, 'is copied');
    monitor.order(B, 2, { kind: 'wait', reason: 'the test aborts the copy' });
    await eventually(async () => (await inVolume(B, `../../..${folder}`)).length === 0, 'is empty again');
    await slow(B, 0);
    monitor.order(B, 2, copy);
    await monitor.until(B, streams, 'streams', 60_000);
    expect(await psqlOn(B, 'SELECT count(*) FROM far')).toBe('1001');
  });
});
