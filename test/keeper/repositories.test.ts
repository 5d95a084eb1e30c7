/** pgBackRest's config for each place, and the write-ahead log that all places together want. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { S3Settings } from '../../failover/contract/backups';
import type { OwnSessions } from '../../failover/keeper/postgres/own-sessions';
import { Repositories, renderPgbackrestConf, writePgbackrestConf } from '../../failover/keeper/postgres/repositories';
import { SharedWal } from '../../failover/keeper/postgres/shared-wal';
import { testFolder } from '../rig/folder';

const NODE = { data: '/data', port: 5432, clusterKey: 'k'.repeat(40) };
const S3: S3Settings = {
  ...{ endpoint: 's3.example.com:9000', bucket: 'b', region: 'r', path: '/p', key: 'K', secret: 'S', uriStyle: 'path' },
  ca: 'PEM',
};

it('names one place alone, so that a dead one does not stop the other, under a number that stays', () => {
  const s3 = renderPgbackrestConf(NODE, 'c1', { local: false, s3: S3 });
  expect(s3).not.toContain('repo1-');
  for (const line of [
    ...['repo2-type=s3', 'repo2-path=/p', 'repo2-s3-endpoint=s3.example.com', 'repo2-storage-port=9000'],
    ...['repo2-s3-bucket=b', 'repo2-s3-key=K', 'repo2-s3-key-secret=S', 'repo2-s3-uri-style=path'],
    ...['repo2-storage-verify-tls=y', 'repo2-cipher-type=aes-256-cbc', 'repo2-bundle=y'],
    ...['repo2-storage-ca-file=/dev/shm/postgres-archive/s3-ca.pem', 'compress-type=zst'],
  ]) {
    expect(s3.split('\n')).toContain(line);
  }
  const passphrase = /cipher-pass=(\S+)/;
  const local = renderPgbackrestConf(NODE, 'c1');
  expect(local).not.toContain('repo2-');
  expect(passphrase.exec(s3)?.[1]).toBe(passphrase.exec(local)?.[1]);
  const { ca: _, ...plain } = S3;
  const both = renderPgbackrestConf(NODE, 'c1', { local: true, s3: { ...plain, endpoint: 's3.example.com' } });
  expect(both).toContain('repo1-path=');
  expect(both).toContain('repo2-storage-port=443\n');
  expect(both).not.toContain('storage-ca-file');
});

it('writes secret and authorities for its own user alone, and knows S3 only once its settings came', async () => {
  const folder = testFolder();
  const repositories = new Repositories();
  expect(() => repositories.only('s3')).toThrow('not known yet');
  repositories.s3 = S3;
  const path = await writePgbackrestConf(folder, 'x.conf', NODE, 'c1', repositories.only('s3'));
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readFileSync(join(folder, 's3-ca.pem'), 'utf8')).toBe('PEM');
  expect(repositories.only('local')).toEqual({ local: true });
  // What a restore in place reads.
  expect(repositories.first()).toEqual({ local: true });
  repositories.local = false;
  expect(repositories.first()).toEqual({ local: false, s3: S3 });
});

/** A node whose slot is there, at the beginning. */
function wal() {
  const asked: string[] = [];
  const time = { ms: 100_000 };
  const session = {
    ask: async () => [{ lost: false, lsn: '0/0' }],
    query: async (text: string) => void asked.push(text),
  };
  const sessions = { common: async () => session } as unknown as OwnSessions;
  return { asked, time, wal: new SharedWal(sessions, ['local', 's3'], () => time.ms) };
}

it('keeps what the place that is furthest behind does not have', async () => {
  const { wal: shared, asked } = wal();
  await shared.keep('local', '0/500000');
  // S3 has not said anything yet: nothing is let go.
  expect(asked).toEqual([]);
  await shared.keep('s3', '0/200000');
  expect(asked.join()).toContain("advance('failover_archive', '0/200000')");
  await shared.keep('s3', null);
  expect(shared.oldest()).toBeNull();
  await shared.release('s3');
  await shared.keep('local', '0/600000');
  expect(asked.at(-1)).toContain('0/600000');
});

it('drops the slot only when no place wants it', async () => {
  const { wal: shared, asked } = wal();
  await shared.release('s3');
  expect(asked).toEqual([]);
  await shared.keep('local', '0/500000');
  expect(asked.join()).not.toContain('drop');
  await shared.release('local');
  expect(asked.at(-1)).toContain('pg_drop_replication_slot');
});

it('finishes a file for both places together', async () => {
  const { wal: shared, asked, time } = wal();
  await shared.switchSegment();
  time.ms += 1_000;
  await shared.switchSegment();
  expect(asked).toEqual(['SELECT pg_switch_wal()']);
  time.ms += 60_000;
  await shared.switchSegment();
  expect(asked).toHaveLength(2);
});
