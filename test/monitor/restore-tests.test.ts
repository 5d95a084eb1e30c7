/** When the monitor orders the test of a restore, and what it makes of its end. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { BackupsPart } from '../../failover/contract/api';
import type { RestoreTestResult } from '../../failover/contract/restore-test';
import type { CheckerState } from '../../failover/contract/restore-tests';
import { type AllRemembered, FileMemory } from '../../failover/monitor/restore-tests/memory';
import { RestoreTests, type ScheduleParts } from '../../failover/monitor/restore-tests/schedule';
import type { CheckerServer } from '../../failover/monitor/restore-tests/server';

const HOUR_MS = 3_600_000;
const EVERY_MS = 7 * 24 * HOUR_MS;
const BEGIN_MS = Date.parse('2026-06-01T12:00:00Z');
const LABEL = '20260601-110000F';
const S3 = {
  ...{ endpoint: 's3.example.com', bucket: 'b', region: 'r', path: '/p', key: 'K', secret: 'S' },
  ...{ uriStyle: 'path' as const, ca: 'PEM' },
};
const IDLE: CheckerState = { type: 'state', running: null, last: null };

function place(more: Partial<BackupsPart> = {}): BackupsPart {
  const made = { label: LABEL, type: 'full' as const, at: '2026-06-01T11:00:00Z', sizeBytes: 5 };
  return {
    ...{ repository: 'local', window: { from: made.at, to: '2026-06-01T11:59:00Z' }, lastFull: made, last: made },
    ...{ next: null, job: null, lastJob: null, old: null, problem: null, storedBytes: 5, freeBytes: 9, leftOut: 0 },
    archive: { open: true, waitingBytes: 0, lagSeconds: 1, archivedTo: null, gap: null, gaps: [] },
    backups: [{ label: LABEL }] as BackupsPart['backups'],
    ...more,
  };
}

function rig(places: BackupsPart[] = [place()], known: AllRemembered = {}) {
  let ms = 0;
  let ids = 0;
  const saved: AllRemembered[] = [];
  const lines: string[] = [];
  const checker: Pick<CheckerServer, 'state' | 'wanted'> = { state: IDLE, wanted: undefined };
  const parts: ScheduleParts = {
    ...{ everyMs: EVERY_MS, passphrase: 'P', s3: S3, checker },
    now: () => ({ stanza: 'c7', places }),
    memory: { load: async () => known, save: async (all) => void saved.push(all) },
    clock: { nowMs: () => ms },
    log: { write: (level, _subject, code, message) => void lines.push(`${level} ${code} ${message}`) },
    newId: () => `id-${++ids}`,
    wallMs: () => BEGIN_MS + ms,
  };
  const tests = new RestoreTests(parts);
  const later = (forMs: number) => {
    ms += forMs;
    tests.tick();
  };
  /** The id of the wanted test; null: none is. */
  const wanted = () => checker.wanted?.id ?? null;
  const end = (id: string, more: Partial<RestoreTestResult> = {}) => {
    const result: RestoreTestResult = {
      ...{ repository: 'local', result: 'done', message: 'sound', label: LABEL, sizeBytes: 5 },
      ...{ newest: '2026-06-01T11:59:00.000Z', ended: new Date(BEGIN_MS + ms).toISOString(), tookMs: 9_000 },
      ...more,
    };
    checker.state = { ...IDLE, last: { id, result } };
  };
  const run = (id: string, repository: 'local' | 's3' = 'local') => {
    checker.state = { ...IDLE, running: { id, repository, sinceMs: BEGIN_MS, step: 'pg_amcheck reads' } };
  };
  return { tests, checker, places, saved, lines, later, wanted, end, run };
}
const QUIET_MS = 600_000;

describe('the schedule of tested restores', () => {
  it('begins when the monitor has run for ten minutes, with what a test needs', () => {
    const { later, wanted, checker, lines } = rig();
    later(QUIET_MS - 1_000);
    expect(wanted()).toBeNull();
    later(1_000);
    expect(checker.wanted?.order).toEqual({
      id: 'id-1',
      order: {
        ...{ repository: 'local', stanza: 'c7', passphrase: 'P' },
        promisedMs: Date.parse('2026-06-01T11:59:00Z'),
      },
    });
    expect(lines).toEqual([`INFO RESTORE_TEST_BEGUN ${LABEL} is restored as a test`]);
  });

  it('repeats a test after an interval, and remembers the last one over a restart', async () => {
    const { tests, later, wanted, run, end, lines, saved } = rig();
    later(QUIET_MS);
    run('id-1');
    later(1_000);
    expect(tests.view('local').running?.step).toBe('pg_amcheck reads');
    end('id-1');
    later(1_000);
    expect(wanted()).toBeNull();
    expect(tests.view('local')).toMatchObject({ last: { result: 'done', label: LABEL }, passedAgeSeconds: 1 });
    expect(lines.at(-1)).toContain(`INFO RESTORE_TEST_DONE ${LABEL} after 9 s: newest commit 2026-06-01T11:59:00.000Z`);
    later(EVERY_MS - 2_000);
    expect(wanted()).toBeNull();
    later(1_000);
    expect(wanted()).toBe('id-2');
    // A monitor that starts now.
    const next = rig([place()], saved.at(-1));
    await next.tests.begin();
    next.later(QUIET_MS);
    expect(next.wanted()).toBeNull();
    expect(next.tests.view('local').last?.label).toBe(LABEL);
  });

  it('waits while there is no backup, a job runs or is near, nothing is archived, or the container is away', () => {
    const job = { id: 'j', kind: 'full' as const, progress: null, since: null };
    const soon = { kind: 'full' as const, at: new Date(BEGIN_MS + QUIET_MS + 30_000).toISOString() };
    for (const more of [{ last: null }, { job }, { next: soon }, { problem: 'no key' }]) {
      const one = rig([place(more)]);
      one.later(QUIET_MS);
      expect(one.wanted()).toBeNull();
    }
    const shut = rig([place({ archive: { ...place().archive, open: false } })]);
    shut.later(QUIET_MS);
    expect(shut.wanted()).toBeNull();
    const away = rig();
    away.checker.state = null;
    away.later(QUIET_MS);
    expect(away.wanted()).toBeNull();
    expect(away.tests.view('local').problem).toContain('not connected');
  });

  it('tests both places in turn, and hands the secret of S3 over only for S3', () => {
    const { later, checker, end, wanted } = rig([place(), place({ repository: 's3' })]);
    later(QUIET_MS);
    expect(checker.wanted?.order?.order).not.toHaveProperty('s3');
    end('id-1');
    later(1_000);
    expect(wanted()).toBe('id-2');
    expect(checker.wanted?.order).toMatchObject({ ca: 'PEM', order: { repository: 's3', s3: { secret: 'S' } } });
    expect(checker.wanted?.order?.order.s3).not.toHaveProperty('ca');
    end('id-2', { repository: 's3' });
    later(1_000);
    expect(wanted()).toBeNull();
  });

  it('repeats a failed test after 1, 2, 4 hours', () => {
    const { tests, later, end, lines, wanted } = rig();
    later(QUIET_MS);
    for (const [id, hours] of [
      ['id-1', 1],
      ['id-2', 2],
      ['id-3', 4],
    ] as const) {
      expect(wanted()).toBe(id);
      end(id, { result: 'failed', message: 'the file x is damaged' });
      later(1_000);
      expect(tests.view('local').last).toMatchObject({ result: 'failed', message: 'the file x is damaged' });
      later(hours * HOUR_MS - 2_000);
      expect(wanted()).toBeNull();
      later(1_000);
    }
    expect(wanted()).toBe('id-4');
    expect(lines.filter((line) => line.startsWith('WARN RESTORE_TEST_FAILED'))).toHaveLength(3);
  });

  it('takes over the test that it finds when it starts, and learns of one that ended meanwhile', () => {
    const { later, run, end, wanted, tests } = rig();
    run('former');
    later(1_000);
    expect(wanted()).toBe('former');
    end('former');
    later(1_000);
    expect(wanted()).toBeNull();
    expect(tests.view('local').last?.result).toBe('done');
  });

  it('begins a test again an hour after its container was replaced, stayed away or did not begin', () => {
    const replaced = rig();
    replaced.later(QUIET_MS);
    replaced.run('id-1');
    replaced.later(1_000);
    replaced.checker.state = IDLE;
    replaced.later(1_000);
    const away = rig();
    away.later(QUIET_MS);
    away.run('id-1');
    away.later(1_000);
    away.checker.state = null;
    away.later(QUIET_MS - 1_000);
    expect(away.wanted()).toBe('id-1');
    away.later(2_000);
    away.checker.state = IDLE;
    const slow = rig();
    slow.later(QUIET_MS);
    slow.later(61_000);
    for (const { lines, later, wanted } of [replaced, away, slow]) {
      expect(lines.at(-1)).toMatch(/^WARN RESTORE_TEST_STOPPED /);
      expect(wanted()).toBeNull();
      later(HOUR_MS - 61_000);
      expect(wanted()).toBeNull();
      later(61_000);
      expect(wanted()).toBe('id-2');
    }
  });

  it('gives up a test that does not end', () => {
    const { later, run, lines, wanted } = rig();
    later(QUIET_MS);
    run('id-1');
    later(1_000);
    later(25 * HOUR_MS);
    expect(wanted()).toBeNull();
    expect(lines.at(-1)).toContain('it did not end');
  });

  it('does not blame a backup that the schedule removed meanwhile', () => {
    const { tests, later, end, places, lines } = rig();
    later(QUIET_MS);
    places[0] = place({ backups: [] });
    end('id-1', { result: 'failed', message: 'unable to open' });
    later(1_000);
    expect(lines.at(-1)).toContain('INFO RESTORE_TEST_STOPPED');
    expect(tests.view('local').last).toBeNull();
  });

  it('says once that no test passed for two intervals', () => {
    const { tests, later, checker, lines } = rig();
    later(1_000);
    checker.state = null;
    later(2 * EVERY_MS);
    expect(tests.view('local').old).toBeNull();
    later(1_000);
    later(1_000);
    expect(tests.view('local').old).toBe('no restore passed its test yet');
    expect(lines.filter((line) => line.includes('RESTORE_TEST_OLD'))).toHaveLength(1);
  });
});

describe('the memory of tested restores', () => {
  let folder = '';
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('survives a restart, and a file that is no memory counts as none', async () => {
    folder = mkdtempSync(join(tmpdir(), 'restore-tests-'));
    const one = { sinceMs: 1, last: null, lastId: 'x', passedMs: 2, failures: 0 };
    await new FileMemory(folder).save({ s3: one });
    expect(await new FileMemory(folder).load()).toEqual({ s3: one });
    writeFileSync(join(folder, 'restore-tests.json'), '{"s3": 5}');
    expect(await new FileMemory(folder).load()).toEqual({});
  });
});
