/** The config of S3 as a place of the backups: what is refused, what travels, and that the secret is shown nowhere. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as pulumi from '@pulumi/pulumi';
import { beforeEach, expect, it } from 'vitest';
import { checkConfig, readSettings } from '../../stack/config';
import { monitorConfig } from '../../stack/monitor-config';
import { authorityProblems, backupFolderProblems } from '../../stack/preflight';
import { buildTopology } from '../../stack/topology';
import { testFolder } from '../rig/folder';

const GIVEN = { endpoint: 's3.example.com:9000', bucket: 'backups', key: 'AKIA1', secret: 'very+secret/words' };
const IDENTITY = { project: 'p', stack: 'main', projectRoot: '/srv' };
let folder: string;
beforeEach(() => {
  folder = testFolder();
});

const SECRETS = {
  ...{ clusterKey: 'k'.repeat(48), databasePassword: 'd', databaseVerifier: 'v' },
  authoritySecret: 'a'.repeat(48),
};

const check = (s3: object | string, more: Record<string, string> = {}) =>
  checkConfig({ backup: 'true', backupS3: typeof s3 === 'string' ? s3 : JSON.stringify(s3), ...more });
function topologyOf(s3: object, more: Record<string, string> = {}) {
  const { settings, problems } = check(s3, more);
  if (settings === undefined) throw new Error(problems.join('\n'));
  return buildTopology(settings, IDENTITY);
}

it.each([
  [
    'an address without TLS',
    { endpoint: 'http://s3.example.com' },
    /endpoint: \(hidden\) is refused; http:\/\/ .* TLS/,
  ],
  ['an address with a scheme', { endpoint: 'https://s3.example.com' }, /endpoint: .*without https:\/\//],
  ['a port out of range', { endpoint: 's3.example.com:70000' }, /endpoint: .*HOST or HOST:PORT/],
  ['a bucket in capitals', { bucket: 'Backups' }, /backupS3\.bucket: .*a-z/],
  ['a folder that leads up', { path: '/a/../b' }, /backupS3\.path: /],
  ['a line break in the secret', { secret: 'one\ntwo' }, /backupS3\.secret: /],
  ['an unknown style', { uriStyle: 'both' }, /backupS3\.uriStyle: .*host or path/],
  ['a relative file', { caFile: 'ca.pem' }, /backupS3\.caFile: .*absolute/],
  ['an interval of a minute', { every: '1m' }, /backupS3\.every: .*10m/],
  ['a part that is not known', { verify: false }, /backupS3: .*verify/],
  ['no bucket', { bucket: undefined }, /backupS3\.bucket: /],
])('refuses %s, names the part, and shows no value', (_, change, expected) => {
  const { problems } = check({ ...GIVEN, ...change });
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(expected);
  expect(problems[0]).not.toContain('very+secret');
});

it('refuses what is no object, and a place without backups', () => {
  expect(check('[1]').problems).toEqual([expect.stringMatching(/^backupS3: \(hidden\) is no object/)]);
  expect(check('very+secret').problems).toEqual([expect.stringMatching(/^backupS3: \(hidden\) is no JSON/)]);
  expect(check(GIVEN, { backup: 'false' }).problems).toEqual([expect.stringContaining('backup: true')]);
  const both = check({ ...GIVEN, only: true }, { backupFolder: '/srv/backups' }).problems;
  expect(both).toEqual([expect.stringMatching(/^backupFolder: "\/srv\/backups" is refused/)]);
});

it('gives the nodes the place, with a folder of the stack and the schedule of the volume as default', () => {
  const { settings, policy } = monitorConfig(topologyOf(GIVEN, { namePrefix: 'x-' }), { ...SECRETS, s3Ca: 'PEM' });
  expect(settings.backup).toMatchObject({
    s3: { ...GIVEN, region: 'us-east-1', uriStyle: 'host', path: '/x-main', ca: 'PEM' },
  });
  expect(settings.backup?.local).toBeUndefined();
  expect(policy.backupS3).toEqual({ fullEveryMs: 7 * 86_400_000, everyMs: 86_400_000, only: false });
  const own = topologyOf({ ...GIVEN, fullEvery: '30d', every: '2d', only: 'true', uriStyle: 'path', path: '/a/b' });
  const only = monitorConfig(own, SECRETS);
  expect(only.settings.backup).toMatchObject({ local: false, s3: { path: '/a/b', uriStyle: 'path' } });
  expect(only.settings.backup?.s3?.ca).toBeUndefined();
  expect(only.policy.backupS3).toEqual({ fullEveryMs: 30 * 86_400_000, everyMs: 2 * 86_400_000, only: true });
});

it('knows no second place by default, and the volume unless a folder is named', () => {
  const { settings } = checkConfig({});
  expect(settings?.backupS3).toBeUndefined();
  const topology = topologyOf({}, { backupFolder: '/srv/backups' });
  expect(topology.backupFolder).toBe('/srv/backups');
  expect(topologyOf({}).backupFolder).toBeUndefined();
  expect(monitorConfig(topology, SECRETS).settings.backup?.s3).toBeUndefined();
  expect(monitorConfig(topology, SECRETS).policy.backupS3).toBeUndefined();
});

it('refuses a secret that the stack’s config shows to all', () => {
  const key = `${pulumi.getProject()}:backupS3`;
  const values = { [`${pulumi.getProject()}:backup`]: 'true', [key]: JSON.stringify(GIVEN) };
  pulumi.runtime.setAllConfig(values, []);
  expect(() => readSettings()).toThrow(/backupS3: its secret is readable .*--secret --path backupS3\.secret/s);
  pulumi.runtime.setAllConfig(values, [key]);
  expect(readSettings().backupS3?.bucket).toBe('backups');
  // Pulumi.yaml's default.
  pulumi.runtime.setAllConfig({ ...values, [key]: '{}' }, []);
  expect(readSettings().backupS3).toBeUndefined();
});

it('looks at the folder and the authorities before anything is created', () => {
  const file = join(folder, 'ca.pem');
  writeFileSync(file, 'no certificate');
  const caOf = (caFile: string) => authorityProblems(topologyOf({ ...GIVEN, caFile }));
  expect(caOf(file)).toEqual([`backupS3.caFile: ${file} has no certificate in PEM form`]);
  expect(caOf(join(folder, 'none.pem'))).toEqual([expect.stringMatching(/cannot be read .*ENOENT/)]);
  writeFileSync(file, '-----BEGIN CERTIFICATE-----\n');
  expect(caOf(file)).toEqual([]);
  const folderOf = (backupFolder: string) => backupFolderProblems(topologyOf({}, { backupFolder }));
  expect(folderOf(file)).toEqual([`backupFolder: ${file} is no folder`]);
  expect(folderOf(join(folder, 'none'))).toEqual([expect.stringMatching(/install -d -o 10000/)]);
  expect(folderOf(folder)).toEqual([expect.stringMatching(/chown 10000:10000/)]);
});
