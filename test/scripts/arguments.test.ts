import { describe, expect, test } from 'vitest';
import { asksForHelp, namedStack, splitStack, takeFlag, UsageError, withStack } from '../../scripts/lib/arguments';

describe('npm run pulumi', () => {
  test.each([
    ['up --yes', 'up --yes --stack dev'],
    ['config set replicas 3', 'config set replicas 3 --stack dev'],
    ['config set tag -- -5', 'config set tag --stack dev -- -5'],
    ['stack output --show-secrets', 'stack output --show-secrets --stack dev'],
    ['stack', 'stack --stack dev'],
    ['--color never preview', '--color never preview --stack dev'],
    ['cancel --yes', 'cancel --yes --stack dev'],
    ['state delete urn', 'state delete urn --stack dev'],
  ])('adds the dev stack to "%s"', (given, expected) => {
    expect(withStack(given.split(' ')).args.join(' ')).toBe(expected);
  });

  test.each([
    ...['up --stack prod', 'up --stack=prod', 'up -s prod', 'stack init prod', 'stack rm prod --yes', 'stack ls'],
    ...['version', 'about', 'up --help', 'plugin ls', 'whoami'],
  ])('leaves "%s" as it is', (given) => {
    expect(withStack(given.split(' ')).args.join(' ')).toBe(given);
  });

  test('knows whose passphrase is needed', () => {
    expect(withStack(['up', '-s', 'prod']).stack).toBe('prod');
    expect(withStack(['up', '--stack', 'organization/postgres-failover/prod']).stack).toBe('prod');
    expect(withStack(['stack', 'init', 'prod'])).toMatchObject({ stack: 'prod', creates: true, needsStack: false });
    expect(withStack([])).toMatchObject({ stack: 'dev', command: '', needsStack: false });
  });

  test('takes a value that looks like a command for a value', () => {
    expect(withStack(['config', 'set', 'up', 'destroy']).command).toBe('config');
  });

  test('refuses a stack name that would leave its folder', () => {
    expect(() => withStack(['up', '--stack', '..'])).toThrow('stack name ".."');
    expect(() => splitStack(['--stack', 'a b'])).toThrow('stack name "a b"');
  });
});

describe('up, preview and destroy', () => {
  test('use the dev stack when none is named', () => {
    expect(splitStack(['--refresh'])).toEqual({ stack: 'dev', rest: ['--refresh'] });
  });

  test.each([
    ['--stack prod --diff', 'prod', '--diff'],
    ['--diff --stack=prod', 'prod', '--diff'],
    ['-s prod --diff', 'prod', '--diff'],
    ['-sprod --diff', 'prod', '--diff'],
  ])('take the stack out of "%s"', (given, stack, rest) => {
    expect(splitStack(given.split(' '))).toEqual({ stack, rest: rest.split(' ') });
  });

  test('leave what follows a double dash alone', () => {
    expect(namedStack(['--', '--stack', 'x'])).toBeUndefined();
    expect(splitStack(['--', '--stack', 'x']).rest).toEqual(['--', '--stack', 'x']);
  });

  test('only explain themselves when they are asked to', () => {
    expect(['--help', '-h'].every((flag) => asksForHelp(['--volumes', flag]))).toBe(true);
    expect([asksForHelp(['--volumes']), asksForHelp(['--', '--help'])]).toEqual([false, false]);
  });

  test('do not take a long flag that begins with s for a stack', () => {
    const rest = ['--skip-preview', '--show-sames'];
    expect(splitStack(rest)).toEqual({ stack: 'dev', rest });
  });
});

describe('a flag of our own', () => {
  test('is taken out, and the rest is Pulumi’s', () => {
    const given = ['--volumes', '--yes', '--target', 'x'];
    expect(takeFlag(given, '--volumes')).toEqual({ isGiven: true, rest: ['--yes', '--target', 'x'] });
    expect(takeFlag(['--yes'], '--volumes')).toEqual({ isGiven: false, rest: ['--yes'] });
  });

  test('is not confused with Pulumi’s --refresh, which doctor tells people to give', () => {
    expect(takeFlag(['--refresh'], '--fresh')).toEqual({ isGiven: false, rest: ['--refresh'] });
    expect(() => takeFlag(['--frsh'], '--fresh')).toThrow('--frsh: no such option; did you mean --fresh?');
  });

  test.each(['--volume', '--voluems', '--Volumes'])('that is mistyped as %s is refused with the right one', (flag) => {
    expect(() => takeFlag([flag], '--volumes')).toThrow(UsageError);
    expect(() => takeFlag([flag], '--volumes')).toThrow(`${flag}: no such option; did you mean --volumes?`);
  });
});
