import { describe, expect, test } from 'vitest';
import { containerSpec, formatDuration, parseDuration } from '../src/provider/docker/container-spec';
import { isLeftover } from '../src/provider/docker/labels';
import { randomBytes } from '../src/provider/random/random-bytes';
import { bcryptHash, randomPassword } from '../src/provider/random/random-password';
import type { Operation } from '../src/provider/resource-kind';
import {
  fromStruct,
  hasSecret,
  markLike,
  type Props,
  reveal,
  revealProps,
  secret,
  toStruct,
} from '../src/provider/values';

const operation: Operation = {
  urn: 'urn',
  name: 'it',
  signal: new AbortController().signal,
  progress: () => undefined,
};

describe('values on their way to and from the engine', () => {
  test('secrets keep their marks where nothing changed, and cover all of what did', () => {
    const marked: Props = { envs: ['A=1', secret('S=2')], name: 'x', file: secret('f') };
    expect(markLike(marked, revealProps(marked))).toEqual(marked);
    const changed = markLike(marked, { envs: ['A=1', 'S=3'], name: 'y', file: 'f' });
    expect(changed).toEqual({ envs: secret(['A=1', 'S=3']), name: 'y', file: secret('f') });
    expect(hasSecret(changed.envs)).toBe(true);
    expect(reveal(secret({ a: [secret(1)] }))).toEqual({ a: [1] });
  });

  test('undefined is dropped, false is kept, and so is all but the stale raw state', () => {
    const props = { a: false, b: [null, 0, ''], c: { d: 'é' }, __meta: 'm', __pulumi_raw_state_delta: { obj: {} } };
    const { __pulumi_raw_state_delta: _stale, ...kept } = props;
    expect(fromStruct(toStruct(props))).toEqual(kept);
    expect(fromStruct(toStruct(JSON.parse('{"a":{}}')))).toEqual({ a: {} });
  });
});

describe('the create call of a container', () => {
  test('is made as the vendor makes it', () => {
    const spec = containerSpec({
      name: 'box',
      image: 'sha256:1',
      envs: ['A=1'],
      labels: [{ label: 'l', value: 'v' }],
      memory: 64,
      memorySwap: -1,
      shmSize: 128,
      hosts: [{ host: 'h', ip: '::1' }],
      ports: [
        { internal: 80, external: 8080, ip: '127.0.0.1' },
        { internal: 80, external: 8081, protocol: 'tcp' },
      ],
      healthcheck: { tests: ['CMD', 'true'], interval: '1m30s' },
      mounts: [{ type: 'bind', source: '/s', target: '/t', readOnly: true }],
    });
    expect(spec).toMatchObject({
      name: 'box',
      Labels: { l: 'v' },
      ExposedPorts: { '80/tcp': {} },
      Healthcheck: { Interval: 90e9, Timeout: 0 },
      HostConfig: {
        NetworkMode: 'bridge',
        Memory: 64 * 1024 * 1024,
        MemorySwap: -1,
        ShmSize: 128 * 1024 * 1024,
        ExtraHosts: ['h:::1'],
        Mounts: [{ Type: 'bind', Source: '/s', Target: '/t', ReadOnly: true }],
        PortBindings: {
          '80/tcp': [
            { HostIp: '127.0.0.1', HostPort: '8080' },
            { HostIp: '0.0.0.0', HostPort: '8081' },
          ],
        },
      },
    });
    expect(spec.Cmd).toBeUndefined();
    expect(spec.HostConfig?.Init).toBe(false);
  });

  test('names the input that is wrong', () => {
    expect(() => containerSpec({ envs: 'A=1' })).toThrow('envs must be a list, not "A=1"');
    expect(() => containerSpec({ mounts: [{ type: 'nfs', target: '/t' }] })).toThrow(
      'type must be bind, volume or tmpfs',
    );
    expect(() => containerSpec({ healthcheck: { interval: '5 s' } })).toThrow('interval must be a duration');
  });

  test.each([
    ['0s', 0],
    ['500ms', 5e8],
    ['5s', 5e9],
    ['1m30s', 90e9],
    ['1h0m5s', 3605e9],
  ])('reads and writes the duration %s', (text, ns) => {
    expect(parseDuration(text, 'interval')).toBe(ns);
    expect(formatDuration(ns)).toBe(text);
  });

  test('an object in the way is a leftover only with all of our labels, and some', () => {
    expect(isLeftover({ a: '1' }, { a: '1', b: '2' })).toBe(true);
    expect(isLeftover({ a: '1', b: '2' }, { a: '1' })).toBe(false);
    expect(isLeftover({ a: '1' }, { a: '2' })).toBe(false);
    expect(isLeftover({ a: '1' }, null)).toBe(false);
    expect(isLeftover({}, {})).toBe(false);
  });
});

describe('random values', () => {
  test('a password has the length and the characters that were asked for', async () => {
    const inputs = { length: 12, special: false, upper: false, minNumeric: 5 };
    const { id, outputs } = await randomPassword.create(inputs, operation);
    expect(id).toBe('none');
    expect(outputs.result).toMatch(/^[a-z0-9]{12}$/);
    expect(String(outputs.result).replace(/\D/g, '').length).toBeGreaterThanOrEqual(5);
    expect(outputs).toMatchObject({ lower: true, number: true, numeric: true, special: false, minUpper: 0 });
  });

  test('two are not the same, and special characters can be chosen', async () => {
    const inputs = { length: 40, overrideSpecial: '_', minSpecial: 2 };
    const [a, b] = await Promise.all([
      randomPassword.create(inputs, operation),
      randomPassword.create(inputs, operation),
    ]);
    expect(a.outputs.result).not.toBe(b.outputs.result);
    expect(a.outputs.result).toMatch(/^[A-Za-z0-9_]{40}$/);
  });

  test('a password that cannot be is refused before anything is made', async () => {
    await expect(randomPassword.check?.({ length: 3, minUpper: 4 })).rejects.toThrow(
      'length must be at least 4, not 3',
    );
    const none = { length: 3, lower: false, upper: false, numeric: false, special: false };
    await expect(randomPassword.check?.(none)).rejects.toThrow('one of lower, upper, numeric and special must be true');
  });

  test.each([
    ['U*U', '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW'],
    ['', '$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy'],
  ])('the bcrypt hash of %j is the published one', (password, hash) => {
    const salt = Buffer.from('10410410410410410410410410410410', 'hex');
    expect(bcryptHash(password, salt, 5)).toBe(hash);
  });

  test('bytes come as hex and base64 of the same', async () => {
    const { id, outputs } = await randomBytes.create({ length: 32 }, operation);
    expect(outputs.hex).toMatch(/^[0-9a-f]{64}$/);
    expect(Buffer.from(String(outputs.base64), 'base64').toString('hex')).toBe(outputs.hex);
    expect(id).toBe(outputs.base64);
  });
});
