/** pgBackRest's config for reading another cluster's repository. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { renderRestoreConf, writeRestoreConf } from '../../failover/keeper/postgres/restore-conf';

const S3 = {
  ...{ endpoint: 'localhost:1', bucket: 'b', region: 'us-east-1', path: '/shop', key: 'K', secret: 'S' },
  ...{ uriStyle: 'path' as const, ca: 'PEM' },
};

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'restore-conf-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('reads what is mounted', async () => {
  const path = await writeRestoreConf(join(folder, 'own'), { passphrase: 'p' }, '/repository');
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const lines = readFileSync(path, 'utf8').split('\n');
  expect(lines).toEqual(expect.arrayContaining(['repo1-path=/repository', 'repo1-cipher-pass=p']));
  expect(lines.join()).not.toMatch(/s3|io-timeout/);
});

it('reads S3, always with TLS that is checked, by the authorities in a folder of its own', () => {
  const lines = renderRestoreConf({ passphrase: 'p', s3: S3 }, '/repository', '/own').split('\n');
  expect(lines).toEqual(
    expect.arrayContaining([
      ...['repo1-type=s3', 'repo1-path=/shop', 'repo1-s3-endpoint=localhost', 'repo1-storage-port=1'],
      ...['repo1-s3-bucket=b', 'repo1-s3-key=K', 'repo1-s3-key-secret=S', 'repo1-s3-uri-style=path'],
      ...['repo1-storage-verify-tls=y', 'repo1-storage-ca-file=/own/s3-ca.pem', 'repo1-cipher-pass=p'],
    ]),
  );
  expect(lines.join()).not.toContain('/repository');
});

it('says at once that S3 does not answer, and writes no secret then', async () => {
  const own = join(folder, 'own');
  await expect(writeRestoreConf(own, { passphrase: 'p', s3: S3 }, '/repository')).rejects.toThrow(
    'localhost:1 does not answer',
  );
  expect(() => statSync(own)).toThrow('ENOENT');
});
