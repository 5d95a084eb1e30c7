/** What the test of a restore refuses before it begins, and how it judges the end of the archive. */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { containerArgs } from '../../cli/backup-check';
import { testRestore, whyLate } from '../../failover/keeper/postgres/restore-test';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'restore-test-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const INFO = [
  {
    status: { code: 0, message: 'ok' },
    backup: [
      {
        ...{ label: '20260601-120000F', type: 'full', timestamp: { start: 1, stop: 2 } },
        lsn: { start: '0/300028', stop: '0/400050' },
        archive: { start: '000000010000000000000003', stop: '000000010000000000000004' },
        info: { size: 1_000_000, repository: { delta: 5 } },
      },
    ],
  },
];

/** pgBackRest with this list of backups, and a first timeline. */
function rig(info: unknown, freeBytes: number) {
  const calls: string[] = [];
  const tool = async (args: readonly string[]) => {
    calls.push(args.filter((one) => !one.startsWith('--')).join(' '));
    if (args.includes('info')) return JSON.stringify(info);
    if (args.includes('archive/c7')) return '{"17-1": {"type": "path"}}';
    return '{"0000000100000000": {"type": "path"}}';
  };
  const parts = { scratch: join(folder, 's'), memory: join(folder, 'm'), tell: () => undefined, tool };
  const test = (config = '[c7]\nrepo1-path=/r\n') =>
    testRestore(
      { repository: 'local', config, ca: 'PEM', promisedMs: null },
      { ...parts, signal: new AbortController().signal, free: async () => freeBytes, wallMs: () => 5_000 },
    );
  return { calls, test };
}

it('needs room for the database and a fifth more, and restores nothing without it', async () => {
  const { test, calls } = rig(INFO, 1_199_999);
  expect(await test()).toMatchObject({
    ...{ result: 'failed', label: '20260601-120000F', sizeBytes: 1_000_000, newest: null, tookMs: 0 },
    message: expect.stringMatching(/^the test needs 1200000 bytes .* 1199999 bytes .* are free$/),
  });
  expect(calls.join()).not.toContain('restore');
  // All that it wrote into the scratch folder is gone; secrets are for its own user alone.
  expect(readdirSync(folder)).toEqual(['m']);
  expect(readdirSync(join(folder, 'm')).sort()).toEqual(['restore-test.conf', 's3-ca.pem']);
  expect(statSync(join(folder, 'm', 'restore-test.conf')).mode & 0o777).toBe(0o600);
});

it('says that there is no backup, or no stanza', async () => {
  expect((await rig([], 1e9).test()).message).toContain('no backup for timeline 1');
  expect((await rig(INFO, 1e9).test('[global]\n')).message).toContain('names no stanza');
});

it('compares the newest commit with what the archive promises', () => {
  const promised = Date.parse('2026-06-01T12:00:00Z');
  expect(whyLate(promised - 9_000, promised)).toBeNull();
  expect(whyLate(null, null)).toBeNull();
  expect(whyLate(promised - 11_000, promised)).toContain('2026-06-01T11:59:49.000Z');
  expect(whyLate(null, promised)).toContain('no commit after its backup');
});

it('gives the container the repository read-only, no network for it, and no secret in an argument', () => {
  const facts = { image: 'i', network: 'inner', repository: { type: 'volume', source: 'v' }, hosts: ['s3:10.0.0.1'] };
  const local = containerArgs('n', facts, 'local').join(' ');
  expect(local).toContain('type=volume,source=v,target=/var/lib/postgres-backup,readonly');
  expect(local).toMatch(/--network none .*i nice -n 10 node /);
  for (const bound of ['--rm', '--read-only', '--cap-drop ALL', '--memory 1g', '--pids-limit 256', '--cpu-shares 64'])
    expect(local).toContain(bound);
  expect(local).not.toContain('docker.sock');
  const s3 = containerArgs('n', facts, 's3').join(' ');
  expect(s3).toContain('--network inner --add-host s3:10.0.0.1');
  expect(s3).not.toContain('postgres-backup');
});
