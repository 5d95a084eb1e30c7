import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { whereThingsAre } from '../../scripts/lib/guide';
import { lockHint, staleLock } from '../../scripts/lib/locks';
import { passphraseFor } from '../../scripts/lib/passphrase';
import { PATHS } from '../../scripts/lib/paths';
import { localStateFolder, lockFolder, readStack, stackLabel } from '../../scripts/lib/stack';
import { testFolder } from '../rig/folder';

/** As Pulumi makes it for the passphrase `secret`. */
const SALT = 'v1:h2vEb6lzLXg=:v1:r1IApWAFvFHngTBt:OFgFsMzWTBNYVBNAf/qUrJLJ5pe/pQ==';

let folder: string;
beforeEach(() => {
  folder = testFolder();
  writeFileSync(
    join(folder, 'Pulumi.yaml'),
    'name: demo\nbackend:\n  url: file://./state\nconfig:\n  writePort: { type: integer, default: 5434 }\n',
  );
  writeFileSync(join(folder, 'Pulumi.prod.yaml'), 'encryptionsalt: v1:x\nconfig:\n  demo:writePort: 6000\n');
});

describe('the stack as its files describe it', () => {
  test('takes the stack before the schema before the fallback', () => {
    const prod = readStack('prod', folder);
    expect(prod.value('writePort', '1')).toBe('6000');
    expect(readStack('new', folder).value('writePort', '1')).toBe('5434');
    expect(prod.value('unknown', '1')).toBe('1');
    expect(stackLabel(prod)).toBe('postgres-failover.stack=demo/prod');
  });

  test('finds the local state beside the project file unless the environment names another backend', () => {
    const info = readStack('dev', folder);
    expect(localStateFolder(info, folder, {})).toBe(join(folder, 'state'));
    expect(localStateFolder(info, folder, { PULUMI_BACKEND_URL: 'file:///elsewhere' })).toBe('/elsewhere');
    expect(localStateFolder(info, folder, { PULUMI_BACKEND_URL: 's3://bucket' })).toBeUndefined();
  });
});

describe('the passphrase', () => {
  test('of the dev stack is public and makes no file', () => {
    const { env, notice } = passphraseFor(readStack('dev', folder), { create: true }, { XDG_CONFIG_HOME: folder });
    expect(env).toEqual({ PULUMI_CONFIG_PASSPHRASE: 'dev' });
    expect(notice).toBeNull();
  });

  test("is the person's own where the environment gives one", () => {
    const given = { XDG_CONFIG_HOME: folder, PULUMI_CONFIG_PASSPHRASE: '' };
    expect(passphraseFor(readStack('new', folder), { create: true }, given).env).toEqual({});
  });

  test('of the dev stack is its own also where the environment has another project’s', () => {
    const dev = readStack('dev');
    expect(dev.salt).toBeDefined();
    for (const given of [{ PULUMI_CONFIG_PASSPHRASE: 'elsewhere' }, { PULUMI_CONFIG_PASSPHRASE_FILE: '/elsewhere' }])
      expect(passphraseFor(dev, { create: true }, given)).toEqual({
        env: { PULUMI_CONFIG_PASSPHRASE: 'dev' },
        notice: null,
      });
  });

  test('of a dev stack that got another one comes from the environment', () => {
    const dev = { ...readStack('dev', folder), salt: SALT };
    expect(passphraseFor(dev, { create: true }, { PULUMI_CONFIG_PASSPHRASE: 'secret' }).env).toEqual({});
  });

  test('from the environment is refused where it does not fit, with the variable to unset', () => {
    writeFileSync(join(folder, 'Pulumi.prod.yaml'), `encryptionsalt: ${SALT}\n`);
    const file = join(folder, 'passphrase');
    const ask = (env: Record<string, string>) =>
      passphraseFor(readStack('prod', folder), { create: true }, { XDG_CONFIG_HOME: folder, ...env });
    expect(ask({ PULUMI_CONFIG_PASSPHRASE: 'secret' }).env).toEqual({});
    expect(() => ask({ PULUMI_CONFIG_PASSPHRASE: 'elsewhere' })).toThrow(
      'PULUMI_CONFIG_PASSPHRASE in the environment is not the passphrase of stack "prod". ' +
        'Unset it (unset PULUMI_CONFIG_PASSPHRASE)',
    );
    writeFileSync(file, 'secret\n');
    expect(ask({ PULUMI_CONFIG_PASSPHRASE_FILE: file }).env).toEqual({});
    writeFileSync(file, 'elsewhere\n');
    expect(() => ask({ PULUMI_CONFIG_PASSPHRASE_FILE: file })).toThrow('unset PULUMI_CONFIG_PASSPHRASE_FILE');
  });

  test('of another stack is made once, for its owner alone, and said once', () => {
    const env = { XDG_CONFIG_HOME: folder };
    const first = passphraseFor(readStack('new', folder), { create: true }, env);
    const file = first.env.PULUMI_CONFIG_PASSPHRASE_FILE ?? '';
    expect(first.notice).toContain(file);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const text = readFileSync(file, 'utf8');
    expect(passphraseFor(readStack('new', folder), { create: true }, env)).toEqual({ env: first.env, notice: null });
    expect(readFileSync(file, 'utf8')).toBe(text);
  });

  test('is not made for a command that makes no stack, nor for a stack that has another one', () => {
    const env = { XDG_CONFIG_HOME: folder };
    expect(passphraseFor(readStack('new', folder), { create: false }, env).env).toEqual({});
    expect(() => passphraseFor(readStack('prod', folder), { create: true }, env)).toThrow('missing here');
  });
});

describe('the passphrase of a stack that was renamed', () => {
  const renamed = () => {
    writeFileSync(join(folder, 'Pulumi.after.yaml'), `encryptionsalt: ${SALT}\n`);
    return readStack('after', folder);
  };

  test("is that of its former name, of which the stack's salt tells which", () => {
    const env = { XDG_CONFIG_HOME: folder };
    const config = join(folder, 'postgres-failover');
    mkdirSync(config);
    writeFileSync(join(config, 'demo-another.passphrase'), 'wrong\n');
    expect(() => passphraseFor(renamed(), { create: false }, env)).toThrow('is missing here');
    writeFileSync(join(config, 'demo-before.passphrase'), 'secret\n');
    expect(passphraseFor(renamed(), { create: false }, env).env).toEqual({
      PULUMI_CONFIG_PASSPHRASE_FILE: join(config, 'demo-before.passphrase'),
    });
  });

  test('is the public one when it was the dev stack', () => {
    const salt = /^encryptionsalt: (.*)$/m.exec(readFileSync(join(PATHS.root, 'Pulumi.dev.yaml'), 'utf8'))?.[1];
    writeFileSync(join(folder, 'Pulumi.after.yaml'), `encryptionsalt: ${salt}\n`);
    const env = { XDG_CONFIG_HOME: folder };
    expect(passphraseFor(readStack('after', folder), { create: false }, env).env).toEqual({
      PULUMI_CONFIG_PASSPHRASE: 'dev',
    });
  });
});

describe('a lock on the stack', () => {
  const lock = (pid: number, host = hostname()) => {
    const info = readStack('dev', folder);
    const locks = lockFolder(info, join(folder, 'state'));
    mkdirSync(locks, { recursive: true });
    writeFileSync(join(locks, 'x.json'), JSON.stringify({ pid, username: 'u', hostname: host, timestamp: '' }));
    return lockHint(info, folder);
  };

  test('is not there: nothing is said', () => {
    expect(lockHint(readStack('dev', folder), folder)).toBeNull();
  });
  test('of a running Pulumi asks to wait', () => {
    expect(lock(process.pid)).toContain('Wait');
  });
  test('of a killed Pulumi comes with the command that removes it', () => {
    expect(lock(2 ** 22 + 1)).toContain('npm run pulumi -- cancel --yes');
  });
  test('of another machine names it', () => {
    expect(lock(1, 'elsewhere')).toContain('elsewhere');
  });
  test('is taken away by `up` itself only if a killed Pulumi of this machine left it', () => {
    const staleAfter = (...of: Parameters<typeof lock>) => {
      lock(...of);
      return staleLock(readStack('dev', folder), folder);
    };
    expect(staleLock(readStack('dev', folder), folder)).toBeNull();
    expect(staleAfter(process.pid)).toBeNull();
    expect(staleAfter(2 ** 22 + 1, 'elsewhere')).toBeNull();
    expect(staleAfter(2 ** 22 + 1)).toBe(2 ** 22 + 1);
  });
});

describe('where things are', () => {
  test('is one aligned line each, with what to try next', () => {
    const text = whereThingsAre(readStack('dev', folder), 'It was seen.');
    expect(text).toMatch(/^It was seen\.$/m);
    expect(text).toMatch(/^ {2}read and write +psql -h localhost -p 5434 -U app -d app$/m);
    expect(text).toMatch(/^ {2}statistics +http:\/\/localhost:5000\/stats$/m);
    expect(text).toMatch(/^ {2}stop the primary +docker stop postgres-primary$/m);
    expect(text).not.toContain('--stack');
  });

  test('names the stack in the commands when it is not the dev stack', () => {
    const text = whereThingsAre(readStack('prod', folder), 'It was seen.');
    expect(text).toContain('psql -h localhost -p 6000');
    expect(text).toContain('npm run destroy -- --stack prod');
  });
});
