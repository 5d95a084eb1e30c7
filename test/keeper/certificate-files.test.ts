/** The certificate's files on a node's disk, and the configuration that names them. */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { authorityOf, type Pair } from '../../failover/contract/certificates';
import type { TlsSettings } from '../../failover/contract/messages';
import { seal } from '../../failover/contract/seal';
import { CertificateFiles } from '../../failover/keeper/postgres/certificate-files';
import { renderPgHba, renderPostgresqlConf } from '../../failover/keeper/postgres/config-files';
import { testFolder } from '../rig/folder';
import { SETTINGS } from './fakes';

const KEY = 'k'.repeat(48);
let conf = '';

beforeEach(() => {
  conf = testFolder();
});

async function pair(secret: string): Promise<Pair> {
  return (await authorityOf(secret.repeat(48))).issue({ names: ['localhost'], atMs: Date.now() });
}
const settings = ({ certificate, key }: Pair, clusterKey = KEY): TlsSettings => {
  return { mode: 'on', certificate, key: seal(clusterKey, key) };
};
/** As after a restart of the keeper. */
const files = () => new CertificateFiles({ conf, clusterKey: KEY });

describe('the files of a certificate', () => {
  it('belong to each other, are readable to PostgreSQL alone, and survive a restart', async () => {
    const one = await pair('a');
    const made = await files().use(settings(one));
    expect(readFileSync(made?.certificate ?? '', 'utf8')).toBe(one.certificate);
    expect(readFileSync(made?.key ?? '', 'utf8')).toBe(one.key);
    expect(statSync(made?.key ?? '').mode & 0o777).toBe(0o600);
    expect(statSync(join(conf, 'tls')).mode & 0o777).toBe(0o700);
    expect(await files().use({ mode: 'on' })).toEqual(made);
    expect(await files().use(settings(one))).toEqual(made);
  });

  it('of a new one are others, so that the running server never reads half of each', async () => {
    const [one, two, three] = [await pair('a'), await pair('b'), await pair('c')];
    const own = files();
    const first = await own.use(settings(one));
    const second = await own.use(settings(two));
    expect(first?.certificate).not.toBe(second?.certificate);
    expect(readFileSync(first?.key ?? '', 'utf8')).toBe(one.key);
    await own.use(settings(three));
    // The folder of the one before, the present one, and the name of the present one.
    expect(readdirSync(join(conf, 'tls'))).toHaveLength(3);
  });

  it('stay when a new one is broken, and none is used when there never was a good one', async () => {
    const [one, two] = [await pair('a'), await pair('b')];
    const own = files();
    expect(await own.use(settings({ ...one, key: two.key }))).toBeNull();
    expect(own.problem).toMatch(/TLS is off: the key does not fit/);
    const good = await own.use(settings(one));
    expect(own.problem).toBeNull();
    for (const broken of [
      settings({ certificate: two.certificate, key: one.key }),
      settings({ certificate: 'junk', key: two.key }),
      settings(two, 'l'.repeat(48)),
    ]) {
      expect(await own.use(broken)).toEqual(good);
      expect(own.problem).toMatch(/the former one stays/);
    }
  });

  it('that were damaged on the disk are not handed to PostgreSQL, which would not start', async () => {
    const good = await files().use(settings(await pair('a')));
    writeFileSync(good?.key ?? '', '');
    expect(await files().use({ mode: 'on' })).toBeNull();
  });

  it('that cannot be written leave the last good ones in force', async () => {
    const own = files();
    const good = await own.use(settings(await pair('a')));
    const two = settings(await pair('b'));
    // A write fails, as on a full disk.
    mkdirSync(join(conf, 'tls', 'current.tmp'));
    expect(await own.use(two)).toEqual(good);
    expect(own.problem).toMatch(/cannot be written/);
    rmdirSync(join(conf, 'tls', 'current.tmp'));
    const next = await own.use(two);
    expect(next).not.toEqual(good);
    expect([next === null, own.problem]).toEqual([false, null]);
  });

  it('that cannot be written leave PostgreSQL without TLS, and without an error', async () => {
    writeFileSync(join(conf, 'tls'), 'a file where the folder should be');
    const own = files();
    expect(await own.use(settings(await pair('a')))).toBeNull();
    expect(own.problem).toMatch(/cannot be written/);
  });

  it('are none when TLS is off, or the monitor knows nothing of it', async () => {
    await files().use(settings(await pair('a')));
    expect(await files().use({ mode: 'off' })).toBeNull();
    expect(await files().use(undefined)).toBeNull();
  });
});

describe('the configuration', () => {
  it('names the files, and refuses clients without TLS only where it is required', async () => {
    const tls = { certificate: '/c', key: '/k' };
    const conf = renderPostgresqlConf('a', SETTINGS, null, tls);
    expect(conf).toContain("ssl = on\nssl_cert_file = '/c'\nssl_key_file = '/k'\n");
    expect(renderPostgresqlConf('a', SETTINGS, null)).toContain('\nssl = off\n');
    const plain = renderPgHba(SETTINGS);
    expect(renderPgHba({ ...SETTINGS, tls: { mode: 'on' } })).toBe(plain);
    const strict = renderPgHba({ ...SETTINGS, tls: { mode: 'require' } });
    const different = strict.split('\n').filter((line) => !plain.includes(line));
    expect(different).toEqual([expect.stringMatching(/^hostssl all .* 10\.0\.0\.10\/32 +scram-sha-256$/)]);
  });
});
