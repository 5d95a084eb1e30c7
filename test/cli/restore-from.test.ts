/** From which place a restore reads, what opens it, and that nothing secret is in an argument or in the config as text. */
import { expect, it } from 'vitest';
import { EXIT } from '../../cli/exit';
import { choosePlace, keptBackups, placeWords, restoreFromParts, s3Of } from '../../cli/restore-from';
import { lookArgs, questionFor } from '../../cli/restore-look';
import { RepositoryQuestion } from '../../failover/contract/restore';
import { cli } from './console';

const S3 = {
  ...{ endpoint: 's3.example.com:9000', bucket: 'shop', region: 'us-east-1', path: '/shop' },
  ...{ key: 'TheKey', secret: 'TheSecret', uriStyle: 'path' as const },
};
const KEPT = { ...S3, passphrase: 'ThePassphrase' };
const HERE = { words: 'Docker volume postgres-backup', isThere: true };
const GONE = { ...HERE, isThere: false };

it('reads the place on this machine where that is there, else S3, and says why', () => {
  expect(choosePlace(undefined, 'none', HERE)).toEqual({ name: 'local', because: '' });
  expect(choosePlace(undefined, 'second', HERE)).toEqual({ name: 'local', because: '' });
  expect(choosePlace(undefined, 'second', GONE)).toEqual({
    name: 's3',
    because: 'there is no Docker volume postgres-backup on this machine',
  });
  expect(choosePlace(undefined, 'only', HERE)).toEqual({
    name: 's3',
    because: 'the stack has its backups in S3 alone',
  });
  expect(choosePlace(undefined, 'none', GONE).name).toBe('local');
});

it('reads the place that is asked for, if the stack has it', () => {
  expect(choosePlace('s3', 'second', HERE)).toEqual({ name: 's3', because: '' });
  expect(choosePlace('local', 'second', GONE).name).toBe('local');
  expect(() => choosePlace('s3', 'none', HERE)).toThrow('--repository: "s3" is refused; this stack has local');
  expect(() => choosePlace('local', 'only', HERE)).toThrow('--repository: "local" is refused; this stack has s3');
  expect(() => choosePlace('tape', 'second', HERE)).toThrow('"tape" is refused; this stack has local or s3');
});

it('knows from the stack’s file whether there are backups in S3', () => {
  const of = (value: unknown) => s3Of({ 'postgres-failover:backupS3': value }, 'postgres-failover');
  expect([of(undefined), of({}), s3Of({}, 'postgres-failover')]).toEqual(['none', 'none', 'none']);
  expect([of({ bucket: 'b', secret: { secure: 'v1:x' } }), of({ secure: 'v1:y' })]).toEqual(['second', 'second']);
  expect([of({ bucket: 'b', only: true }), of({ bucket: 'b', only: 'true' })]).toEqual(['only', 'only']);
});

it('takes what a team has kept, and shows none of it when it is refused', () => {
  expect(keptBackups(JSON.stringify(KEPT))).toEqual({ at: { s3: S3 }, passphrase: 'ThePassphrase', because: '' });
  for (const text of ['TheSecret', '{}', JSON.stringify({ ...KEPT, bucket: 'TheSecret!' })]) {
    const refused = () => keptBackups(text);
    expect(refused).toThrow('--s3-stdin: (hidden) is refused; must be the JSON object');
    expect(refused).not.toThrow(/TheSecret/);
  }
  expect(() => keptBackups(JSON.stringify({ ...KEPT, path: undefined }))).toThrow('path: ');
});

it('gives keys and passphrase by standard input alone, and S3 a network', () => {
  const args = lookArgs({ s3: S3 }, 'image', 'look', 'a=b');
  expect(args.join(' ')).not.toMatch(/TheKey|TheSecret|--network|--mount/);
  expect(lookArgs({ volume: 'v' }, 'image', 'look', 'a=b').join(' ')).toMatch(
    /--network none --mount type=volume,source=v,target=\S+,readonly/,
  );
  const question = questionFor(keptBackups(JSON.stringify(KEPT)), { kind: 'latest' });
  expect(RepositoryQuestion.parse(question)).toEqual({ ...question, s3: S3 });
  const withCa = keptBackups(JSON.stringify({ ...KEPT, caFile: '/nowhere.pem' }));
  expect(() => questionFor(withCa, { kind: 'latest' })).toThrow('caFile: /nowhere.pem cannot be read');
});

it('has no secret in the new stack’s file, nor in what is printed', () => {
  const { plain, secrets } = restoreFromParts({ at: { s3: S3 }, passphrase: 'ThePassphrase', because: '' });
  const { key: _, secret: __, ...rest } = S3;
  expect(plain).toEqual({ s3: rest });
  expect(secrets).toEqual({ passphrase: 'ThePassphrase', 's3.key': 'TheKey', 's3.secret': 'TheSecret' });
  expect(placeWords({ s3: S3 })).toBe('bucket shop, folder /shop, at s3.example.com:9000');
  expect(restoreFromParts({ at: { volume: 'v' }, passphrase: 'p', because: '' }).secrets).toEqual({ passphrase: 'p' });
});

it.each([
  [['--s3-stdin', '--passphrase-stdin'], '--s3-stdin has place and passphrase'],
  [['--s3-stdin'], '--s3-stdin: (hidden) is refused'],
  [['--replicas', '9'], '--replicas: "9" is refused; must be a whole number from 0 to 8'],
  [['--replicas', 'two'], '--replicas: "two" is refused'],
])('refuses %j before anything is touched', async (options, words) => {
  const { code, err } = await cli('http://127.0.0.1:1', ['restore', '--to', 'latest', ...options], { input: '{}' });
  expect([code, err.join('\n')]).toEqual([EXIT.usage, expect.stringContaining(words)]);
});
