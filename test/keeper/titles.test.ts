import { describe, expect, it } from 'vitest';
import {
  isArchiver,
  isConnecting,
  isLogger,
  isStartup,
  isUnnamed,
  isWalsender,
  timelineOf,
} from '../../failover/keeper/postgres/processes';
import { readSample, type Sample, StartupProcess } from '../../failover/keeper/postgres/startup-process';

const FILE = '00000002000000000000001A';
/** What a client may call itself, as user and as database. */
const HOSTILE = [
  'startup',
  `startup recovering ${FILE}`,
  `startup waiting for ${FILE}`,
  'walsender',
  'logger',
  'archiver',
  `archiver last was ${FILE}`,
  'walsender r 10.0.0.2(5) streaming 0/3000060',
  'x 10.0.0.2(5) authentication',
  '\npostgres: a: startup',
  'postgres -D /data',
  '%u%d',
];
const client = (user: string, database: string, activity: string) =>
  `postgres: a: ${user} ${database} 10.0.0.9(40112) ${activity}`;

describe("the titles of PostgreSQL's processes", () => {
  it('are told apart', () => {
    expect(isStartup('postgres: a: startup', 'a')).toBe(true);
    expect(isStartup(`postgres: a: startup recovering ${FILE}`, 'a')).toBe(true);
    expect(isStartup(`postgres: b: startup recovering ${FILE}`, 'a')).toBe(false);
    expect(timelineOf(`postgres: a: startup waiting for ${FILE}`)).toBe(2);
    expect(isWalsender('postgres: a: walsender failover_replication 10.0.0.21(41732) streaming 0/3000060')).toBe(true);
    expect(isWalsender('postgres: a: walsender reader db [local] START_REPLICATION')).toBe(false);
    expect(isWalsender('postgres: a: walsender reader db 10.0.0.3(5) START_REPLICATION')).toBe(true);
    expect(isConnecting(client('app', 'db', 'authentication'))).toBe(true);
    expect(isConnecting(client('app\nx', 'db', 'startup'))).toBe(true);
    expect(isArchiver('postgres: a: archiver', 'a')).toBe(true);
    for (const does of ['archiving', 'last was', 'failed on'])
      expect(isArchiver(`postgres: a: archiver ${does} ${FILE}`, 'a')).toBe(true);
    expect(isArchiver('postgres: a: archiver last was 00000002.history', 'a')).toBe(true);
    expect(isLogger('postgres: a: logger', 'a')).toBe(true);
    expect(isUnnamed('/usr/lib/postgresql/17/bin/postgres -D /data')).toBe(true);
  });

  it('are no other ones because of what a client calls itself', () => {
    for (const user of HOSTILE) {
      for (const database of HOSTILE) {
        for (const activity of ['idle', 'SELECT', 'idle in transaction', 'SELECT waiting', '']) {
          const title = client(user, database, activity).trim();
          const answers = [isStartup, isArchiver, isLogger].map((is) => is(title, 'a'));
          answers.push(isWalsender(title), isConnecting(title), isUnnamed(title));
          expect(answers, title).toEqual(Array(6).fill(false));
          expect(timelineOf(title), title).toBeNull();
        }
      }
    }
  });
});

describe('a startup process that has nothing left to apply', () => {
  const sample = (part: Partial<Sample>): Sample => ({ sleeps: true, processorMs: 0, sleepsTaken: 0, ...part });
  /** Looks every 20 ms for a second; the last answer. */
  const watch = (at: (ms: number) => Sample | null): number => {
    const standstill = new StartupProcess('a');
    let last = 0;
    for (let ms = 0; ms <= 1_000; ms += 20) last = standstill.see(at(ms), ms);
    return last;
  };

  it('sleeps, uses hardly any processor time, and wakes again and again', () => {
    expect(watch((ms) => sample({ processorMs: ms / 100, sleepsTaken: ms / 20 }))).toBe(1_000);
    expect(watch((ms) => sample({ processorMs: ms / 100, sleepsTaken: null }))).toBe(1_000);
  });

  it('is told from one that works, runs, waits for a disk, hangs, or is gone', () => {
    expect(watch((ms) => sample({ processorMs: ms / 2, sleepsTaken: ms / 20 }))).toBe(0);
    expect(watch((ms) => sample({ sleeps: ms % 400 !== 0, sleepsTaken: ms / 20 }))).toBe(0);
    expect(watch(() => sample({ sleeps: false }))).toBe(0);
    expect(watch(() => sample({}))).toBe(0);
    expect(watch(() => null)).toBe(0);
  });

  it('is read from what the kernel tells, whatever its name', () => {
    const stat = `48 (postgres) S) S 1 1 1 0 -1 4194304 78 0 0 0 7 5 0 0 20 0 1 0 144272`;
    expect(readSample(stat, 'Name:\tpostgres\nvoluntary_ctxt_switches:\t31\nnonvoluntary_ctxt_switches:\t2\n')).toEqual(
      {
        sleeps: true,
        processorMs: 120,
        sleepsTaken: 31,
      },
    );
    expect(readSample(stat, '').sleepsTaken).toBeNull();
  });
});
