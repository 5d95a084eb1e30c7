import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { containerRules } from '../src/provider/docker/container-rules';
import { network } from '../src/provider/docker/network';
import { volume } from '../src/provider/docker/volume';
import { findChanges, refreshed, withFieldDefaults } from '../src/provider/rules';
import type { Props, Value } from '../src/provider/values';

const UNKNOWN = '04da6b54-80e4-46f7-96ec-b56ff0331ba9';

const mountLog = { type: 'bind', source: '/log', target: '/log', readOnly: true };
const box: Props = {
  name: 'box',
  image: 'sha256:1',
  command: ['sh', '-c', 'true'],
  envs: ['A=1', 'B=2'],
  labels: [
    { label: 'x', value: '1' },
    { label: 'y', value: '2' },
  ],
  mounts: [{ type: 'volume', source: 'data', target: '/data' }, mountLog],
  networksAdvanced: [{ name: 'inner', ipv4Address: '10.0.0.2', aliases: ['a', 'b'] }, { name: 'front' }],
  capabilities: { drops: ['ALL'], adds: ['CAP_CHOWN', 'CAP_KILL'] },
  uploads: [
    { file: '/a', content: '1' },
    { file: '/b', content: '2' },
  ],
  hosts: [{ host: 'h', ip: '10.0.0.9' }],
  ports: [{ internal: 80, external: 8080 }],
  healthcheck: { tests: ['CMD', 'true'], interval: '5s' },
  tmpfs: { '/tmp': 'size=8m' },
  stopTimeout: 10,
  user: '10:10',
};

function changesOf(changes: Props, is: Props = box) {
  return findChanges(containerRules, is, { ...box, ...changes });
}

/** The same props with every list that is a set shuffled. */
function shuffled(value: Value, order: number[]): Value {
  if (!Array.isArray(value)) return value;
  return value
    .map((item, index) => ({ item, key: order[index] ?? 0 }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

describe('what is a change of a container', () => {
  test('nothing is, when the inputs are the same', () => {
    expect(changesOf({})).toEqual([]);
  });

  test('the order of a set is not', () => {
    const sets = ['envs', 'labels', 'mounts', 'networksAdvanced', 'uploads'];
    fc.assert(
      fc.property(fc.constantFrom(...sets), fc.array(fc.integer(), { minLength: 4, maxLength: 4 }), (key, order) => {
        expect(changesOf({ [key]: shuffled(box[key] ?? null, order) })).toEqual([]);
      }),
    );
    expect(changesOf({ capabilities: { adds: ['CAP_KILL', 'CAP_CHOWN'], drops: ['ALL'] } })).toEqual([]);
    const networks: Value = [{ name: 'front' }, { name: 'inner', ipv4Address: '10.0.0.2', aliases: ['b', 'a'] }];
    expect(changesOf({ networksAdvanced: networks })).toEqual([]);
  });

  test('the order of a command and of ports is', () => {
    expect(changesOf({ command: ['-c', 'sh', 'true'] }).every((change) => change.replace)).toBe(true);
    const ports = [
      { internal: 80, external: 8080 },
      { internal: 81, external: 8081 },
    ];
    const is = { ...box, ports };
    expect(findChanges(containerRules, is, { ...is, ports: [...ports].reverse() })).not.toEqual([]);
  });

  test('a default that is written out is not', () => {
    expect(
      changesOf({
        restart: 'no',
        mustRun: true,
        waitTimeout: 60,
        networkMode: 'bridge',
        readOnly: false,
        memoryReservation: 0,
        ports: [{ internal: 80, external: 8080, ip: '0.0.0.0', protocol: 'tcp' }],
        healthcheck: { tests: ['CMD', 'true'], interval: '5s', timeout: '0s', startPeriod: '0s', retries: 0 },
      }),
    ).toEqual([]);
  });

  test.each(['envs', 'labels', 'networksAdvanced', 'uploads', 'hosts'])('an element more in %s replaces', (key) => {
    const before = box[key];
    const more: Value =
      key === 'envs' ? 'C=3' : { label: 'z', value: '3', name: 'z', file: '/z', host: 'z', ip: '1.1.1.1' };
    const length = Array.isArray(before) ? before.length : 0;
    expect(changesOf({ [key]: [...(Array.isArray(before) ? before : []), more] })).toEqual([
      { path: `${key}[${length}]`, kind: 'add', replace: true },
    ]);
  });

  test.each<Props>([
    { stopTimeout: 11 },
    { stopSignal: 'SIGINT' },
    { user: '11:11' },
    { readOnly: true },
    { capabilities: { drops: ['ALL'] } },
    { ports: [{ internal: 80, external: 8081 }] },
    { ports: [{ internal: 80, external: 8080, ip: '127.0.0.1' }] },
    { logOpts: { 'max-size': '1m' } },
    { shmSize: 128 },
    { image: 'sha256:2' },
    { command: ['sh'] },
    { labels: [] },
    { mounts: [mountLog] },
    { sysctls: { 'net.core.somaxconn': '' } },
  ])('%o replaces', (change) => {
    const changes = changesOf(change);
    expect(changes.length).toBeGreaterThan(0);
    expect(changes.every(({ replace }) => replace)).toBe(true);
  });

  test.each<Props>([
    { restart: 'always' },
    { memory: 64, memorySwap: 64 },
    { destroyGraceSeconds: 9 },
    { wait: true },
    { healthcheck: { tests: ['CMD', 'false'], interval: '5s' } },
    { mounts: [{ type: 'volume', source: 'data', target: '/data', readOnly: true }, mountLog] },
    { tmpfs: { '/tmp': 'size=8m', '/run': '' } },
    { init: true },
  ])('%o is an update in place', (change) => {
    const changes = changesOf(change);
    expect(changes.length).toBeGreaterThan(0);
    expect(changes.some(({ replace }) => replace)).toBe(false);
  });

  test('removing what the daemon has a value for is not', () => {
    const { healthcheck: _h, labels: _l, stopTimeout: _s, user: _u, command: _c, ...rest } = box;
    expect(findChanges(containerRules, box, rest)).toEqual([]);
  });

  test('a container that was stopped by hand is an update', () => {
    expect(changesOf({}, { ...box, mustRun: false })).toEqual([{ path: 'mustRun', kind: 'update', replace: false }]);
    expect(changesOf({ mustRun: false }, { ...box, mustRun: false })).toEqual([]);
  });

  test('a value that a preview cannot know is one, even if it may turn out the same', () => {
    expect(changesOf({ image: UNKNOWN })).toEqual([{ path: 'image', kind: 'update', replace: true }]);
    expect(changesOf({ envs: ['A=1', UNKNOWN] })).toEqual([{ path: 'envs[1]', kind: 'update', replace: true }]);
  });

  test('only the part that changed is named', () => {
    expect(changesOf({ tmpfs: { '/tmp': 'size=9m' } })).toEqual([
      { path: 'tmpfs["/tmp"]', kind: 'update', replace: false },
    ]);
    const healthcheck = { tests: ['CMD', 'true'], interval: '6s' };
    expect(changesOf({ healthcheck })).toEqual([{ path: 'healthcheck.interval', kind: 'update', replace: false }]);
    const networks: Value = [{ name: 'inner', ipv4Address: '10.0.0.3', aliases: ['a', 'b'] }, { name: 'front' }];
    expect(changesOf({ networksAdvanced: networks })).toEqual([
      { path: 'networksAdvanced[0].ipv4Address', kind: 'update', replace: true },
    ]);
  });

  test('what the vendor keeps for itself is not', () => {
    const healthcheck = { tests: ['CMD', 'true'], interval: '5s', __defaults: ['retries'] };
    expect(changesOf({ healthcheck })).toEqual([]);
    expect(changesOf({}, { ...box, __meta: '{}', healthcheck })).toEqual([]);
  });

  test('what the program ignores is not', () => {
    const wanted = { ...box, labels: [], stopTimeout: 12 };
    const changes = findChanges(containerRules, { ...box, labels: [{ label: 'q', value: 'q' }] }, wanted, ['labels']);
    expect(changes.map(({ path }) => path)).toEqual(['stopTimeout']);
  });
});

describe('what is a change of networks and volumes', () => {
  test('every input of theirs replaces them', () => {
    for (const rules of [network.rules, volume.rules]) {
      expect(Object.values(rules).every(({ replace }) => replace)).toBe(true);
    }
  });

  test('one with a name of the program goes before the new one comes', () => {
    expect(network.deleteBeforeReplace({ name: 'mine' })).toBe(true);
    expect(network.deleteBeforeReplace({ name: 'made-1234567', __defaults: ['name'] })).toBe(false);
  });
});

describe('what a refresh takes over', () => {
  test("the daemon's order and spelling are not news", () => {
    const seen: Props = {
      networksAdvanced: [{ name: 'front' }, { name: 'inner', ipv4Address: '10.0.0.2', aliases: ['b', 'a'] }],
    };
    expect(refreshed(containerRules, box, seen)).toEqual(box);
    const ports = [
      { internal: 90, external: 90 },
      { internal: 80, external: 80 },
    ];
    const daemonPorts = [...ports].reverse().map((port) => ({ ...port, ip: '0.0.0.0', protocol: 'tcp' }));
    expect(refreshed(containerRules, { ports }, { ports: daemonPorts })).toEqual({ ports });
  });

  test('a real difference is', () => {
    expect(refreshed(containerRules, box, { user: '0:0' }).user).toBe('0:0');
    expect(refreshed(containerRules, box, { exitCode: 3 }).exitCode).toBe(3);
  });

  test('defaults of fields are written out for the vendor', () => {
    const { healthcheck, ports } = withFieldDefaults(containerRules, box);
    expect(healthcheck).toEqual({
      tests: ['CMD', 'true'],
      interval: '5s',
      timeout: '0s',
      startPeriod: '0s',
      startInterval: '0s',
      retries: 0,
    });
    expect(ports).toEqual([{ internal: 80, external: 8080, ip: '0.0.0.0', protocol: 'tcp' }]);
  });
});
