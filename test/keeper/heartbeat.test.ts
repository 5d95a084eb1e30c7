/** What counts as an answer of PostgreSQL, and when the postmaster has to prove itself. */
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { DatabaseError } from 'pg';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../failover/keeper/clock';
import { KeeperError } from '../../failover/keeper/ports';
import { Heartbeat, isAnswer, provePostmaster } from '../../failover/keeper/postgres/heartbeat';
import { seemsToRun } from '../../failover/keeper/postgres/processes';
import type { Session } from '../../failover/keeper/postgres/session';
import { testFolder } from '../rig/folder';

const sqlError = (code: string) => Object.assign(new DatabaseError('an error', 8, 'error'), { code });

describe('an answer', () => {
  it.each([
    ['a missing sequence', sqlError('42P01'), true],
    ['exhausted connections', sqlError('53300'), true],
    ['a lock that somebody keeps', sqlError('55P03'), true],
    ['a role that may not log in', sqlError('28000'), true],
    ['a server that starts or shuts down', sqlError('57P03'), false],
    ['a session that was ended', sqlError('57P01'), false],
    ['a refused connection', Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }), false],
    ['a limit', new Error('no answer from PostgreSQL within 10000 ms'), false],
  ])('is, or is not: %s', (_what, error, expected) => {
    expect(isAnswer(error)).toBe(expected);
  });
});

describe('the proof of the postmaster', () => {
  let folder: string;
  let server: Server;
  const sockets = new Set<Socket>();
  const path = () => join(folder, 'socket');
  const listen = (answer: (socket: Socket) => void) =>
    new Promise<void>((resolve) => {
      server = createServer((socket) => {
        sockets.add(socket);
        socket.on('error', () => undefined);
        socket.once('data', () => answer(socket));
      }).listen(path(), resolve);
    });

  beforeEach(() => {
    folder = testFolder();
  });
  afterEach(() => {
    for (const socket of sockets) socket.destroy();
    server?.close();
  });

  it('is one byte of its child', async () => {
    await listen((socket) => socket.write('N'));
    await provePostmaster(path(), 1_000);
  });

  it('is not given by one that cannot fork, closes, or stands still', async () => {
    let answer: (socket: Socket) => void = (socket) => socket.write('Ecould not fork new process for connection');
    await listen((socket) => answer(socket));
    await expect(provePostmaster(path(), 1_000)).rejects.toThrow('cannot make a process');
    answer = (socket) => socket.destroy();
    await expect(provePostmaster(path(), 1_000)).rejects.toThrow('closed');
    answer = () => undefined;
    await expect(provePostmaster(path(), 50)).rejects.toThrow('within 50 ms');
  });

  it('is asked of the kernel more often, which knows a process that is gone or stopped', () => {
    expect(seemsToRun(process.pid)).toBe(true);
    expect(seemsToRun(2 ** 30)).toBe(false);
  });
});

/** A PostgreSQL that a test steers. */
class Scripted {
  readonly journal: string[] = [];
  /** What the next statements end with; then they succeed. */
  failures: Error[] = [];
  openFails: Error | null = null;
  opens: () => Promise<void> = async () => undefined;
  proof: () => Promise<void> = async () => undefined;
  stopped = false;
  database = 'postgres';
  private n = 0;
  readonly heartbeat = new Heartbeat(
    {
      open: async () => {
        this.journal.push('open');
        if (this.openFails !== null) throw this.openFails;
        await this.opens();
        return {
          usable: true,
          database: this.database,
          destroy: () => this.journal.push('destroy'),
          ask: async () => {
            this.journal.push('beat');
            const failure = this.failures.shift();
            if (failure !== undefined) throw failure;
            this.n += 1;
            return [{ n: String(this.n) }];
          },
        } as unknown as Session;
      },
      prove: () => {
        this.journal.push('prove');
        return this.proof();
      },
      runs: () => !this.stopped,
    },
    // Its timers and its time are those that the test moves.
    systemClock,
  );
  times(what: string): number {
    return this.journal.filter((entry) => entry === what).length;
  }
}

describe('the heartbeat', () => {
  let postgres: Scripted;
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    postgres = new Scripted();
    postgres.heartbeat.start();
  });
  afterEach(() => {
    postgres.heartbeat.stop();
    vi.useRealTimers();
  });
  const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

  it('counts ten a second and proves the postmaster without a session for each proof', async () => {
    await pass(10_000);
    const { count, ageMs } = postgres.heartbeat.read();
    expect(count).toBeGreaterThan(90);
    expect(ageMs).toBeLessThanOrEqual(100);
    expect(postgres.times('prove')).toBeGreaterThanOrEqual(3);
    expect(postgres.times('open')).toBeLessThanOrEqual(2);
    await pass(10_000);
    expect(postgres.times('open')).toBeGreaterThanOrEqual(2);
  });

  it('begins with a ping that wakes the process, waits a little for the next ping, and beats without one', async () => {
    await pass(1_000);
    const before = postgres.times('beat');
    const ping = async () => {
      postgres.heartbeat.awake();
      await pass(0);
      return postgres.times('beat') - before;
    };
    await pass(10);
    expect(await ping()).toBe(0);
    await pass(30);
    expect(await ping()).toBe(1);
    await pass(110);
    expect(await ping()).toBe(2);
    await pass(130);
    expect(postgres.times('beat') - before).toBe(3);
    await pass(100);
    expect(postgres.times('beat') - before).toBe(4);
  });

  it('stays young while PostgreSQL answers with errors, asks less often, and goes on when they end', async () => {
    await pass(1_000);
    const { count } = postgres.heartbeat.read();
    postgres.failures = Array.from({ length: 20 }, () => sqlError('42P01'));
    const before = postgres.times('beat');
    await pass(3_000);
    expect(postgres.heartbeat.read()).toMatchObject({ count });
    expect(postgres.heartbeat.read().ageMs).toBeLessThanOrEqual(200);
    expect(postgres.times('beat') - before).toBeLessThan(10);
    postgres.failures = [];
    await pass(1_000);
    expect(postgres.heartbeat.read().count).toBeGreaterThan(count);
  });

  it.each([
    ['starts or shuts down', () => sqlError('57P03')],
    ['breaks every connection', () => new Error('Connection terminated unexpectedly')],
  ])('ages while PostgreSQL %s', async (_what, error) => {
    await pass(1_000);
    postgres.failures = Array.from({ length: 100 }, error);
    await pass(2_000);
    expect(postgres.heartbeat.read().ageMs).toBeGreaterThan(1_900);
  });

  it('ages within four beats of a stop of the postmaster, although old sessions are served (S27)', async () => {
    await pass(1_000);
    postgres.stopped = true;
    postgres.opens = () => new Promise(() => undefined);
    await pass(2_000);
    expect(postgres.heartbeat.read().ageMs).toBeGreaterThanOrEqual(1_600);
  });

  it('ages within two seconds where the kernel shows nothing and no connection is taken', async () => {
    await pass(1_000);
    postgres.proof = () => new Promise(() => undefined);
    await pass(4_500);
    expect(postgres.heartbeat.read().ageMs).toBeGreaterThanOrEqual(2_300);
  });

  it('takes a superuser that is locked out for no hang, as long as the postmaster answers', async () => {
    await pass(1_000);
    postgres.failures = [new Error('Connection terminated unexpectedly')];
    postgres.openFails = new KeeperError('SUPERUSER_LOCKED_OUT', 'nobody gets in');
    await pass(3_000);
    expect(postgres.heartbeat.read().ageMs).toBeLessThanOrEqual(300);
    postgres.proof = () => Promise.reject(new Error('refused'));
    await pass(3_000);
    expect(postgres.heartbeat.read().ageMs).toBeGreaterThan(2_500);
  });

  it('leaves a session that is in another database when the sequence is missing there', async () => {
    postgres.heartbeat.stop();
    postgres.database = 'template1';
    postgres.heartbeat.start();
    await pass(1_000);
    const before = postgres.times('open');
    postgres.failures = [sqlError('42P01')];
    await pass(1_000);
    expect(postgres.times('open')).toBe(before + 1);
  });
});
