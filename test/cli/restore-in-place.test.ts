/** `restore --in-place`, `--undo` and `--confirm` against a monitor that answers as a test says. */
import { beforeEach, expect, it } from 'vitest';
import { EXIT } from '../../cli/exit';
import { targetOf } from '../../cli/restore-target';
import { restoreWords } from '../../failover/contract/restore-words';
import { underWayIn } from '../../scripts/lib/restore-guard';
import { healthyCluster } from '../rig/healthy-cluster';
import { cli } from './console';
import { FakeMonitor } from './fake-monitor';

let monitor: FakeMonitor;
beforeEach(async () => {
  monitor = new FakeMonitor();
  await monitor.open();
  return () => monitor.close();
});

const shows = (last: { done: boolean; message: string } | null, underWay: string | null = null) => {
  monitor.cluster = { ...healthyCluster(), restore: { underWay, kept: null, last } };
};

it('asks for a moment, and ends as the restore ends', async () => {
  shows({ done: true, message: 'p leads with the restored data' });
  const good = await cli(monitor.url, ['restore', '--in-place', '--to', '2026-01-31 12:00:05+07', '--yes']);
  expect([good.code, good.out.at(-1)]).toEqual([EXIT.ok, 'p leads with the restored data']);
  const to = { kind: 'time', atMs: Date.parse('2026-01-31T05:00:05Z') };
  expect(monitor.calls.at(-1)).toMatchObject({ name: 'restore', body: { to } });
  shows({ done: false, message: 'a file is damaged' });
  const bad = await cli(monitor.url, ['restore', '--undo', '--yes', '--json']);
  expect([bad.code, JSON.parse(bad.out.join('\n'))]).toEqual([
    EXIT.failed,
    { done: false, message: 'a file is damaged' },
  ]);
  expect(monitor.calls.at(-1)?.name).toBe('restore-undo');
});

it('confirms at once', async () => {
  expect((await cli(monitor.url, ['restore', '--confirm', '--yes'])).code).toBe(EXIT.ok);
  expect(monitor.calls.at(-1)?.name).toBe('restore-confirm');
});

it.each([
  [['restore', '--in-place'], /Say what to restore/],
  [['restore', '--in-place', '--undo', '--to', 'latest'], /one of/],
  [['restore', '--undo', '--to', 'latest'], /--to goes with --in-place/],
  [
    ['restore', '--in-place', '--to', '2026-01-31 12:00:05', '--yes'],
    /must be latest, the label of a backup, or a time with its zone/,
  ],
])('refuses %j', async (args, words) => {
  const { code, err } = await cli(monitor.url, args);
  expect(code).toBe(EXIT.usage);
  expect(err.join('\n')).toMatch(words);
  expect(monitor.calls).toEqual([]);
});

it.each([
  ['latest', { kind: 'latest' }],
  ['20260131-120000F_20260201-120000I', { kind: 'backup', label: '20260131-120000F_20260201-120000I' }],
  ['2026-01-31T12:00Z', { kind: 'time', atMs: Date.parse('2026-01-31T12:00:00Z') }],
  ['2026-01-31 12:00:05.25 +05:30', { kind: 'time', atMs: Date.parse('2026-01-31T06:30:05.250Z') }],
  ['2026-01-31 12:00:05-0300', { kind: 'time', atMs: Date.parse('2026-01-31T15:00:05Z') }],
])('reads --to %s', (text, target) => {
  expect(targetOf(text)).toEqual(target);
});

it('is said on page and status, and keeps up from beginning while it is under way', () => {
  const kept = { node: 'p', to: '2026-01-31T05:00:05Z', bytes: 2 ** 30, at: null };
  const words = restoreWords({ underWay: null, kept, last: { done: true, message: 'm' } }, (bytes) => `${bytes} B`);
  expect(words).toEqual([expect.stringMatching(/^Restored in place to 2026.*kept on p \(1073741824 B\): .*--undo/)]);
  expect(restoreWords(undefined, String)).toEqual([]);
  expect(underWayIn(JSON.stringify({ restore: { underWay: 'x', kept, last: null } }))).toBe('x');
  expect(underWayIn(JSON.stringify({ restore: { underWay: null } }))).toBeNull();
  expect(underWayIn('')).toBeNull();
});
