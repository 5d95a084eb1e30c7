/** What a restore asks pgBackRest for, and what it says when the repository cannot bring back what is asked for. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RestoreTarget } from '../../failover/contract/backups';
import { failureOf } from '../../failover/keeper/postgres/recover';
import { restoreCommand, restoreData, zoned } from '../../failover/keeper/postgres/restore';
import { archivedTimeline, timelineFor } from '../../failover/keeper/postgres/restore-timeline';

const S = Date.UTC(2026, 0, 31, 5, 0, 0) / 1_000;
const at = (second: number): RestoreTarget => ({ kind: 'time', atMs: (S + second) * 1_000 });
const LATEST: RestoreTarget = { kind: 'latest' };
const FIRST = '20260131-050000F';
const SECOND = '20260131-050000F_20260131-060000I';
const AFTER = '20260131-070000F';

/** A full backup and an incremental one on timeline 1, a full one on timeline 2. */
const backup = (label: string, type: string, stop: number, file: string, lsn: string) => ({
  ...{ label, type, error: false, timestamp: { start: S + stop - 5, stop: S + stop } },
  ...{ lsn: { start: lsn, stop: lsn }, archive: { start: file, stop: file } },
  info: { size: 1, repository: { delta: 1 } },
});
const BACKUPS = [
  backup(FIRST, 'full', 10, '000000010000000000000003', '0/300028'),
  backup(SECOND, 'incr', 100, '000000010000000000000005', '0/500028'),
  backup(AFTER, 'full', 200, '000000020000000000000007', '0/700028'),
];
/** Leader 1 until second 150, leader 2 until second 250, then leader 3. */
const HISTORIES: Record<string, { text: string; second: number }> = {
  '00000002.history': { text: '1\t0/6000A0\tno recovery target specified\n', second: 150 },
  '00000003.history': {
    text: '1\t0/6000A0\tno recovery target specified\n\n2\t0/8000A0\tno recovery target specified\n',
    second: 250,
  },
};

/** The files that pgBackRest reads, and the options of its restores. */
class Tool {
  readonly restores: string[][] = [];
  /** What `restore` writes to its log. */
  lines = '';

  readonly run = async (args: readonly string[], { onError }: { onError?: (text: string) => void }) => {
    const [last = '', before = ''] = [args.at(-1), args.at(-2)];
    if (last === 'info') return JSON.stringify([{ backup: BACKUPS, status: { code: 0, message: 'ok' } }]);
    if (before === 'repo-ls')
      return JSON.stringify(last === 'archive/c1' ? { '.': { type: 'path' }, '17-1': { type: 'path' } } : this.files());
    if (before === 'repo-get') return HISTORIES[last.split('/').at(-1) ?? '']?.text ?? '';
    this.restores.push([...args]);
    onError?.(this.lines);
    return '';
  };

  private files() {
    const histories = Object.entries(HISTORIES).map(([name, { second }]) => [name, { type: 'file', time: S + second }]);
    const folders = [1, 2, 3].map((n) => [`0000000${n}00000000`, { type: 'path' }]);
    return Object.fromEntries([...histories, ...folders]);
  }
}

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'restore-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function restored(target: RestoreTarget, timeline: number, tool = new Tool()): Promise<string[]> {
  const job = {
    ...{ stanza: 'c1', target, timeline, data: join(folder, 'data'), configPath: '/c' },
    ...{ signal: new AbortController().signal, progress: () => undefined },
  };
  await restoreData(job, tool.run);
  return tool.restores[0] ?? [];
}

describe('the options of a restore', () => {
  it('names moment, zone, timeline and the last backup before it', async () => {
    const options = await restored(at(120), 3);
    expect(options).toEqual(
      expect.arrayContaining([
        ...['--type=time', '--target=2026-01-31 05:02:00.000+00', '--target-exclusive', '--target-action=promote'],
        ...['--target-timeline=3', `--set=${SECOND}`, `--pg1-path=${join(folder, 'data')}`],
      ]),
    );
    expect(options.at(-1)).toBe('restore');
  });

  it('takes the end of the archive from the newest backup of that timeline', async () => {
    expect(await restored(LATEST, 3)).toEqual(
      expect.arrayContaining(['--type=default', '--target-timeline=3', `--set=${AFTER}`]),
    );
    expect(await restored(LATEST, 1)).toContain(`--set=${SECOND}`);
  });

  it('stops at the end of a backup, on a timeline that has the file of its end', async () => {
    expect(await restored({ kind: 'backup', label: FIRST }, 3)).toEqual(
      expect.arrayContaining([
        ...['--type=immediate', `--set=${FIRST}`, '--recovery-option=recovery_target_timeline=3'],
      ]),
    );
  });

  it('tells how much is copied', async () => {
    const tool = new Tool();
    tool.lines =
      'P01 DETAIL: restore file /d/base/1/2 (bundle 1/2, 8KB, 12.50%) checksum ab\nP01 DETAIL: restore file /d/a (8KB, 40%) checksum ab\n';
    const shares: number[] = [];
    const signal = new AbortController().signal;
    const job = { stanza: 'c1', target: LATEST, timeline: 3, data: join(folder, 'data'), configPath: '/c', signal };
    await restoreData({ ...job, progress: (share) => void shares.push(share) }, tool.run);
    expect(shares).toEqual([0.4]);
  });

  it('lets no failure of pgBackRest look like the end of the archive', () => {
    // PostgreSQL takes exit codes up to 125 for a file that is not there.
    expect(restoreCommand('/c', 'c1', '/d')).toBe(
      'timeout -s KILL 60 pgbackrest --config=/c --stanza=c1 --pg1-path=/d archive-get %f "%p" || { [ $? -eq 1 ] && exit 1; exit 255; }',
    );
  });
});

describe('what the repository cannot bring back', () => {
  const refused = (target: RestoreTarget, timeline: number) =>
    restored(target, timeline).then(
      () => 'restored',
      (error: Error & { code?: string }) => `${error.code}: ${error.message}`,
    );

  it('names the first second when the moment is before it', async () => {
    expect(await refused(at(5), 3)).toBe(
      'RESTORE_IMPOSSIBLE: 2026-01-31 05:00:05.000+00 is before the end of the first backup: the first second there is, is 2026-01-31 05:00:11.000+00',
    );
  });

  it('names the backups that are there', async () => {
    expect(await refused({ kind: 'backup', label: '20250101-000000F' }, 3)).toBe(
      `RESTORE_IMPOSSIBLE: the repository has no backup 20250101-000000F; it has: ${FIRST}, ${SECOND}, ${AFTER}`,
    );
    expect(await refused({ kind: 'backup', label: AFTER }, 1)).toContain(
      'does not belong to the history of timeline 1',
    );
  });

  it('names the timelines that are there', async () => {
    expect(await refused(LATEST, 7)).toBe('RESTORE_IMPOSSIBLE: the repository has no timeline 7; it has 1, 2, 3');
  });

  it('leaves a folder with data as it is', async () => {
    writeFileSync(join(folder, 'PG_VERSION'), '17');
    const job = {
      stanza: 'c1',
      target: LATEST,
      timeline: 3,
      data: folder,
      configPath: '/c',
      progress: () => undefined,
    };
    const tool = new Tool();
    await expect(restoreData({ ...job, signal: new AbortController().signal }, tool.run)).rejects.toThrow(
      'is not empty',
    );
    expect([tool.restores, existsSync(join(folder, 'PG_VERSION'))]).toEqual([[], true]);
  });

  it('answers with the last second when the moment is behind the archive', () => {
    const log = [
      '2026-01-31 05:10:00.000 UTC [9] LOG:  redo done at 0/9000060 system usage: …',
      '2026-01-31 05:10:00.000 UTC [9] LOG:  last completed transaction was at log time 2026-01-31 05:09:58.123456+00',
      '2026-01-31 05:10:00.001 UTC [9] FATAL:  recovery ended before configured recovery target was reached',
    ].join('\n');
    expect(failureOf(log, at(3_600))?.message).toBe(
      '2026-01-31 06:00:00.000+00 lies beyond the end of the archive: the last second there is, is 2026-01-31 05:09:58.123456+00',
    );
    expect(failureOf(log, at(3_600))?.code).toBe('RESTORE_IMPOSSIBLE');
  });

  it('has the words of pgBackRest and PostgreSQL when a file cannot be fetched', () => {
    const log =
      'ERROR: [049]: unable to decrypt\n2026 UTC [9] FATAL:  could not restore file "00000002.history" from archive: child process exited with exit code 255\n';
    expect(failureOf(log, LATEST)?.message).toContain('could not restore file');
    expect(failureOf(log, LATEST)?.message).toContain('unable to decrypt');
    expect(failureOf('LOG: all is well\n', LATEST)).toBeNull();
  });
});

describe('the timeline of a restore', () => {
  const chain = [
    archivedTimeline(1, null, null),
    ...Object.entries(HISTORIES).map(([name, { text, second }]) =>
      archivedTimeline(Number(name.slice(7, 8)), text, S + second),
    ),
  ];
  // Later, the stack was restored in place to a moment of timeline 2, and its keeper was promoted.
  const text2 = '1\t0/6000A0\tno recovery target specified\n\n2\t0/7500A0\tbefore 2026-01-31 05:03:30+00\n';
  const branched = [
    ...chain,
    archivedTimeline(4, text2, S + 400),
    archivedTimeline(5, `${text2}\n4\t0/7500F0\tno recovery target specified\n`, S + 402),
  ];

  it('is the newest one of a chain of failovers, for moments before, between and after them', () => {
    for (const second of [20, 149, 151, 200, 260, 900]) expect(timelineFor(at(second), chain)).toBe(3);
    expect(timelineFor(LATEST, chain)).toBe(3);
    expect(timelineFor({ kind: 'backup', label: FIRST }, chain, '000000010000000000000003')).toBe(3);
  });

  it('is the former branch for a moment before a restore in place, and the new one after it', () => {
    for (const second of [20, 200, 399]) expect(timelineFor(at(second), branched)).toBe(3);
    expect(timelineFor(at(401), branched)).toBe(5);
    expect(timelineFor(LATEST, branched)).toBe(5);
    expect(timelineFor({ kind: 'backup', label: AFTER }, branched, '000000020000000000000007')).toBe(3);
    expect(timelineFor({ kind: 'backup', label: 'x' }, branched, '000000050000000000000009')).toBe(5);
  });

  it('is an error when the repository is empty', () => {
    expect(() => timelineFor(LATEST, [])).toThrow('no write-ahead log');
  });
});

it('prints a moment with its zone', () => {
  expect(zoned(Date.UTC(2026, 0, 31, 5, 0, 5, 250))).toBe('2026-01-31 05:00:05.250+00');
});

it('takes no label that is none', () => {
  expect(RestoreTarget.safeParse({ kind: 'backup', label: '--repo1-path=/' }).success).toBe(false);
  expect(RestoreTarget.safeParse({ kind: 'backup', label: SECOND }).success).toBe(true);
});
