/** The config key `restoreFrom`. */
import { expect, it } from 'vitest';
import { checkConfig } from '../../stack/config';
import { missingRepository } from '../../stack/restore-from';

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
  expect(problem({ ...GIVEN, folder: '/backup' })).toContain('give either volume or folder');
  expect(problem({ ...GIVEN, volume: undefined, folder: '../x' })).toContain('its folder is refused');
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
