/** `backup …` against a monitor that answers as a test says. */
import { beforeEach, expect, it } from 'vitest';
import { EXIT } from '../../cli/exit';
import { BackupsAnswer } from '../../failover/contract/api';
import { cli } from './console';
import { FakeMonitor } from './fake-monitor';

const BACKUP: BackupsAnswer['backups'][number] = {
  ...{ label: '20260601-120000F', type: 'full', start: '2026-06-01T12:00:00.000Z', stop: '2026-06-01T12:05:00.000Z' },
  ...{ startLsn: '0/300028', stopLsn: '0/400050' },
  ...{ walStart: '000000010000000000000003', walStop: '000000010000000000000004' },
  ...{ sizeBytes: 24 * 1024 ** 2, storedBytes: 3 * 1024 ** 2, hasErrors: false, usable: true },
};
const ANSWER: BackupsAnswer = {
  window: { from: '2026-06-01T12:05:00.000Z', to: '2026-06-02T12:00:00.000Z' },
  lastFull: { label: BACKUP.label, type: 'full', at: BACKUP.stop, sizeBytes: BACKUP.sizeBytes },
  last: { label: BACKUP.label, type: 'full', at: BACKUP.stop, sizeBytes: BACKUP.sizeBytes },
  next: { kind: 'incr', at: '2026-06-02T12:00:00.000Z' },
  ...{ job: null, lastJob: null, old: null, problem: null },
  archive: { open: true, waitingBytes: 1024 ** 2, lagSeconds: 40, archivedTo: '0/500000', gap: null, gaps: [] },
  ...{ storedBytes: 3 * 1024 ** 2, freeBytes: 1024 ** 3, backups: [BACKUP], leftOut: 0 },
};
const END = { id: 'j', kind: 'full' as const, message: 'made', ended: BACKUP.stop, tookMs: 1_234, damaged: [] };

let monitor: FakeMonitor;
beforeEach(async () => {
  monitor = new FakeMonitor();
  await monitor.open();
  monitor.backups = ANSWER;
  monitor.answer = { job: 'j' };
  return () => monitor.close();
});

const says = (args: string, setting = {}) => cli(monitor.url, args.split(' '), setting);

it('lists the backups in columns, and the window', async () => {
  const { out, code } = await says('backup list');
  expect(code).toBe(EXIT.ok);
  expect(out[0]).toMatch(/^label +type +begin +end +size +stored +write-ahead log/);
  expect(out[1]).toMatch(
    /^20260601-120000F +full +2026-06-01 \d\d:00:00[+-]\d\d:\d\d .* 24\.0 MB +3\.0 MB +0{7}10+3 … 0{7}10+4$/,
  );
  expect(out[2]).toMatch(/^A restore can reach: from 2026-06-01 \d\d:05:00[+-]\d\d:\d\d to 2026-06-02/);
  const { out: json } = await says('backup list --json');
  expect(BackupsAnswer.parse(JSON.parse(json.join('\n')))).toEqual(ANSWER);
});

it('tells how the last test of a restore ended, and ends with 1 when it failed', async () => {
  const last = { result: 'done' as const, message: 'sound', label: BACKUP.label, newest: BACKUP.stop, tookMs: 61_000 };
  const restoreTest = {
    ...{ everySeconds: 604_800, last: { ...last, ended: BACKUP.stop }, passed: BACKUP.stop, passedAgeSeconds: 5 },
    ...{ next: '2026-06-08T12:00:00.000Z', running: null, old: null, problem: null },
  };
  monitor.backups = { ...ANSWER, restoreTest };
  const good = await says('backup status');
  expect(good.code).toBe(EXIT.ok);
  const line =
    /^Restore test: done, 2026-06-01 .*, 20260601-120000F, newest commit 2026-06-01 .* \(61 s\); the next one 2026/;
  expect(good.out).toContainEqual(expect.stringMatching(line));
  expect((await says('backup list')).out).toContainEqual(expect.stringMatching(line));
  const failed = { ...restoreTest.last, result: 'failed' as const, message: 'the file x is damaged' };
  const running = { since: BACKUP.stop, step: 'PostgreSQL replays the archive' };
  monitor.backups = { ...ANSWER, restoreTest: { ...restoreTest, last: failed, running, next: null } };
  const bad = await says('backup status');
  expect(bad.code).toBe(EXIT.failed);
  expect(bad.out.join('\n')).toContain('The last test of a restore failed: the file x is damaged');
  expect(bad.out.join('\n')).toMatch(/; one runs since .*: PostgreSQL replays the archive/);
});

it('tells the state, also without a word after backup, and ends with 1 when the backups are too old', async () => {
  const good = await says('backup');
  expect(good.code).toBe(EXIT.ok);
  expect(good.out).toContain('Archive: the leader archives, 1.0 MB wait for the archive');
  const gap = { from: '000000010000000000000005', to: '000000010000000000000007' };
  monitor.backups = {
    ...ANSWER,
    window: null,
    old: 'the newest backup is of May',
    archive: { ...ANSWER.archive, gap, gaps: [gap] },
  };
  const bad = await says('backup status');
  expect(bad.code).toBe(EXIT.failed);
  expect(bad.out.join('\n')).toMatch(
    /nothing yet.*Gap: the files 0{7}10+5 to 0{7}10+7 .*no backup made since.*Too old: the newest.*on the same machine/s,
  );
  // A backup was made since: the state is well, and only the list tells of it.
  monitor.backups = { ...ANSWER, archive: { ...ANSWER.archive, gaps: [gap] } };
  expect((await says('backup status')).out.join('\n')).not.toContain('Gap');
  expect((await says('backup list')).out.at(-1)).toMatch(/^Gap: the files 0{7}10+5 to 0{7}10+7 of .* in no backup\.$/);
});

it('asks for a backup and shows its progress until its end', async () => {
  const steps: BackupsAnswer[] = [
    ANSWER,
    { ...ANSWER, job: { id: 'j', kind: 'full', progress: 0.5, since: BACKUP.start } },
    { ...ANSWER, lastJob: { ...END, result: 'stopped' }, job: { id: 'j', kind: 'full', progress: null, since: null } },
    { ...ANSWER, lastJob: { ...END, result: 'done' } },
  ];
  const goOn = () => {
    monitor.backups = steps.shift() ?? ANSWER;
    return true;
  };
  const { out, err, code } = await says('backup now --full', { goOn });
  expect(monitor.calls).toEqual([{ name: 'backup', body: { kind: 'full', dryRun: false } }]);
  expect(code).toBe(EXIT.ok);
  expect(err.slice(1)).toEqual(['waits to begin', 'runs (full): 50 %', 'waits to begin']);
  expect(out).toEqual(['made (1.2 s)']);
});

it('makes an incremental backup without a word, and ends with 1 when it fails', async () => {
  monitor.backups = { ...ANSWER, lastJob: { ...END, kind: 'incr', result: 'failed', message: 'no room' } };
  const { err, code } = await says('backup now');
  expect(monitor.calls[0]?.body).toEqual({ kind: 'incr', dryRun: false });
  expect(code).toBe(EXIT.failed);
  expect(err.at(-1)).toBe('incr failed: no room');
});

it('names the damaged files', async () => {
  const damaged = ['c1/17-1/x.zst'];
  const message = 'damaged or missing in the repository: c1/17-1/x.zst';
  monitor.backups = { ...ANSWER, lastJob: { ...END, kind: 'verify', result: 'failed', message, damaged } };
  const { err, code } = await says('backup verify');
  expect([code, err.at(-1)]).toEqual([EXIT.failed, `verify failed: ${message}`]);
  const { out } = await says('backup verify --json');
  expect(JSON.parse(out.join('\n'))).toMatchObject({ result: 'failed', damaged });
});

it('passes on why a job is refused, and that there are no backups', async () => {
  monitor.answer = { done: false, message: 'a job is under way' };
  expect(await says('backup now')).toMatchObject({ code: EXIT.failed, err: ['refused: a job is under way'] });
  expect(await says('backup now --full --diff')).toMatchObject({ code: EXIT.usage });
  monitor.backups = null;
  expect(await says('backup list')).toMatchObject({ code: EXIT.failed, err: ['backups are off.'] });
});
