/** The config key `restoreFrom`. */
import { expect, it } from 'vitest';
import { checkConfig } from '../../stack/config';
import { samePlaceProblems } from '../../stack/preflight';
import { missingRepository, withAuthorities } from '../../stack/restore-from';
import { buildTopology } from '../../stack/topology';

const GIVEN = { volume: 'shop-postgres-backup', stanza: 'c77', passphrase: 'geheim', timeline: 3, to: 'latest' };
const check = (value: unknown) =>
  checkConfig({ restoreFrom: typeof value === 'string' ? value : JSON.stringify(value) });
const problem = (value: unknown) => {
  const { problems } = check(value);
  expect(problems.join()).not.toContain('geheim');
  return problems.join();
};

it('is nothing by default', () => {
  expect(checkConfig({}).settings?.restoreFrom).toBeUndefined();
});

it.each([
  ['latest', { kind: 'latest' }],
  ['20260131-120000F', { kind: 'backup', label: '20260131-120000F' }],
  ['2026-01-31 12:00:05+07', { kind: 'time', atMs: Date.UTC(2026, 0, 31, 5, 0, 5) }],
  ['2026-01-31T12:00:05.25+05:30', { kind: 'time', atMs: Date.UTC(2026, 0, 31, 6, 30, 5, 250) }],
  ['2026-01-31 12:00Z', { kind: 'time', atMs: Date.UTC(2026, 0, 31, 12) }],
])('takes %s as what to bring back', (to, target) => {
  expect(check({ ...GIVEN, timeline: '3', to }).settings?.restoreFrom).toEqual({
    mount: { type: 'volume', source: 'shop-postgres-backup' },
    source: { stanza: 'c77', passphrase: 'geheim', timeline: 3, target },
  });
});

it.each(['2026-01-31 12:00:05', 'yesterday', '2026-13-31 12:00:05+07', '2026-01-31 12:00:05 Europe/Berlin'])(
  'refuses %s: a time needs its zone',
  (to) => {
    expect(problem({ ...GIVEN, to })).toMatch(/^restoreFrom: to: .* is refused; must be .* a time with its zone/);
  },
);

it('refuses what it does not know, and shows no secret', () => {
  expect(problem('geheim')).toMatch(/^restoreFrom: \(hidden\) is no JSON object/);
  expect(problem({ ...GIVEN, bucket: 'b' })).toContain('unknown part (bucket)');
  expect(problem({ ...GIVEN, timeline: 0 })).toContain('its timeline is refused');
  expect(problem({ ...GIVEN, passphrase: 'geheim\nx' })).toContain('its passphrase is refused');
  expect(problem({ ...GIVEN, folder: '/backup' })).toContain('give either volume or folder or s3');
  expect(problem({ ...GIVEN, volume: undefined, folder: '../x' })).toContain('its folder is refused');
});

const S3 = { endpoint: 's3.example.com', bucket: 'shop', path: '/shop', key: 'K', secret: 'geheim' };
const IN_S3 = { ...GIVEN, volume: undefined, s3: S3 };

it('takes S3 in the place of a volume: nothing is mounted, and the authorities go along as text', () => {
  const { restoreFrom } = check({ ...IN_S3, s3: { ...S3, caFile: __filename } }).settings ?? {};
  const s3 = { ...S3, region: 'us-east-1', uriStyle: 'host' };
  expect(restoreFrom).toMatchObject({ caFile: __filename, source: { s3, stanza: 'c77', target: { kind: 'latest' } } });
  expect(restoreFrom?.mount).toBeUndefined();
  expect(restoreFrom && withAuthorities(restoreFrom).s3?.ca).toContain('the authorities go along as text');
  expect(missingRepository(restoreFrom, [], 'new-data', () => false)).toEqual([]);
});

it('refuses a place in S3 that is none, and shows no secret', () => {
  expect(problem({ ...IN_S3, volume: 'v' })).toContain('give either volume or folder or s3');
  expect(problem({ ...IN_S3, s3: { ...S3, secret: 'geheim x' } })).toContain('its s3.secret is refused');
  expect(problem({ ...IN_S3, s3: { ...S3, path: undefined } })).toContain('its s3.path is refused');
  expect(problem({ ...IN_S3, s3: { ...S3, only: true } })).toContain('its s3 has an unknown part (only)');
});

it('never lets the new stack write its backups where it is restored from', () => {
  const backupS3 = (path?: string) => JSON.stringify({ ...S3, path });
  const problems = (stack: string, path?: string) => {
    const raw = { restoreFrom: JSON.stringify(IN_S3), backupS3: backupS3(path) };
    const { settings } = checkConfig(raw);
    if (settings === undefined) throw new Error('the config is refused');
    return samePlaceProblems(buildTopology(settings, { project: 'p', stack, projectRoot: '/' })).join();
  };
  expect(problems('new', '/shop')).toContain('backupS3.path: /shop in bucket shop is where restoreFrom reads');
  expect(problems('shop')).toContain('/shop in bucket shop is where');
  expect([problems('new'), problems('shop', '/new')]).toEqual(['', '']);
});

it('has to find the repository, until it has acted', () => {
  const { restoreFrom } = check(GIVEN).settings ?? {};
  const missing = (names: string[]) =>
    missingRepository(
      restoreFrom,
      names.map((name) => ({ name })),
      'new-data',
      () => false,
    );
  expect(missing([])).toEqual(['restoreFrom: there is no Docker volume shop-postgres-backup']);
  expect(missing(['shop-postgres-backup'])).toEqual([]);
  expect(missing(['new-data'])).toEqual([]);
});
