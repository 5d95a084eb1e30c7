/** What is read of pgBackRest's output, and how it is run; then a script takes its place. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { damagedFiles, NodeBackup, readInfo } from '../../failover/keeper/postgres/backup';
import type { OwnSessions } from '../../failover/keeper/postgres/own-sessions';
import type { Place } from '../../failover/keeper/postgres/place';

/** From pgBackRest 2.55.1, shortened. */
const INFO = [
  {
    backup: [
      {
        archive: { start: '000000010000000000000003', stop: '000000010000000000000004' },
        backrest: { format: 5, version: '2.55.1' },
        database: { id: 1, 'repo-key': 1 },
        error: false,
        info: { delta: 23_000_000, repository: { delta: 3_000_000 }, size: 24_000_000 },
        label: '20260601-120000F',
        lsn: { start: '0/300028', stop: '0/400050' },
        prior: null,
        reference: null,
        timestamp: { start: 1_780_000_000, stop: 1_780_000_005 },
        type: 'full',
      },
    ],
    cipher: 'aes-256-cbc',
    name: 'c1',
    status: { code: 0, lock: { backup: { held: true, size: 200, 'size-cplt': 50 } }, message: 'ok' },
  },
];

const CONTROL = `Bytes per WAL segment: 1048576
Database cluster state:  in production
Database system identifier: 7
Minimum recovery ending location: 0/0
Latest checkpoint location: 0/100000
Latest checkpoint's TimeLineID: 2
Latest checkpoint's REDO location: 0/100000
Min recovery ending loc's timeline: 0
max_connections setting: 100
max_worker_processes setting: 8
max_wal_senders setting: 10
max_prepared_xacts setting: 0
max_locks_per_xact setting: 64
wal_level setting: replica`;

it('reads the list of backups, and how far a job is', () => {
  const { facts, progress } = readInfo(JSON.stringify(INFO));
  expect(progress).toBe(0.25);
  expect(facts).toEqual({
    leftOut: 0,
    backups: [
      {
        ...{ label: '20260601-120000F', type: 'full', startMs: 1_780_000_000_000, stopMs: 1_780_000_005_000 },
        ...{ startLsn: '0/300028', stopLsn: '0/400050' },
        ...{ walStart: '000000010000000000000003', walStop: '000000010000000000000004' },
        ...{ sizeBytes: 24_000_000, storedBytes: 3_000_000, hasErrors: false },
      },
    ],
  });
});

it('reads an empty repository, and keeps the newest of many', () => {
  const status = { code: 2, message: 'no valid backups', lock: { backup: { held: false } } };
  expect(readInfo(JSON.stringify([{ ...INFO[0], backup: [], status }]))).toEqual({
    facts: { backups: [], leftOut: 0 },
    progress: null,
  });
  const [one] = INFO[0]?.backup ?? [];
  const many = Array.from({ length: 130 }, (_, at) => ({ ...one, label: String(at) }));
  const { facts } = readInfo(JSON.stringify([{ ...INFO[0], backup: many }]));
  expect([facts.leftOut, facts.backups.length, facts.backups.at(-1)?.label]).toEqual([30, 100, '129']);
});

it('refuses an output that it does not know', () => {
  for (const text of ['', '{"backup":[]}', '[{"backup":1}]']) expect(() => readInfo(text)).toThrow(/pgbackrest info/);
});

it('names each damaged or missing file once', () => {
  const output = [
    "P01   INFO: invalid checksum 'c1/17-1/0000000100000000/000000010000000000000003-4a.zst'",
    "P01   INFO: invalid checksum 'c1/17-1/0000000100000000/000000010000000000000003-4a.zst'",
    "P02   WARN: file missing 'backup/c1/20260601-120000F/bundle/1'",
    'P00 DETAIL: backup.info.copy does not match backup.info',
    'P00   INFO: verify command end: completed successfully',
  ];
  expect(damagedFiles(output.join('\n'))).toEqual([
    'c1/17-1/0000000100000000/000000010000000000000003-4a.zst',
    'backup/c1/20260601-120000F/bundle/1',
    'backup.info.copy does not match backup.info',
  ]);
  expect(damagedFiles('status: ok')).toEqual([]);
});

it('takes what a killed job has left for no damage', () => {
  const path = '/var/lib/postgres-backup/backup/c1/20260602-120000F';
  const output = [
    `P00 DETAIL: unable to open missing file '${path}/backup.manifest' for read`,
    "P00   INFO: backup '20260602-120000F' appears to be in progress, skipping",
    "P00 DETAIL: unable to open missing file '/var/lib/postgres-backup/backup/c1/20260601-120000F/backup.manifest' for read",
  ];
  expect(damagedFiles(output.join('\n'))).toEqual([expect.stringContaining('20260601-120000F')]);
});

it('reads the repository several times at once, as a job and the regular look do', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'backup-'));
  const script = (name: string, text: string) => {
    writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(folder, name), 0o755);
  };
  script('pg_controldata', `cat <<'END'\n${CONTROL}\nEND`);
  script('ionice', `cat <<'END'\n${JSON.stringify(INFO)}\nEND`);
  vi.stubEnv('PATH', `${folder}:${process.env.PATH}`);
  try {
    const place = { data: folder, port: 5432, clusterKey: 'k'.repeat(40) } as Place;
    const tool = new NodeBackup(place, {} as OwnSessions, join(folder, 'run'), folder);
    for (let turn = 0; turn < 5; turn++) {
      const looks = await Promise.all(Array.from({ length: 8 }, () => tool.repository()));
      expect(looks.map(({ backups }) => backups.length)).toEqual(Array(8).fill(1));
    }
  } finally {
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true, force: true });
  }
});
