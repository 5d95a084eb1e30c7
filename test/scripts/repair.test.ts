import { describe, expect, test } from 'vitest';
import type { EngineContainer } from '../../scripts/lib/docker';
import { type EngineObjects, refusalOf, repairOf } from '../../scripts/lib/repair';
import { type Known, stateOf } from '../../scripts/lib/state';

const STACK = 'postgres-failover/test';
const PLACE = { label: STACK, option: ' --stack test', engine: 'unix:///var/run/docker.sock' };
const FOLDER = '/srv/logs/test';
const INNER = { name: 'inner', address: '10.0.0.20', aliases: [] };

function known(kind: Known['kind'], name: string, rest: Partial<Known> = {}): Known {
  return { kind, urn: `urn:${kind}:${name}`, id: `${name}-id`, name, role: '', networks: [], ...rest };
}

const NODE = known('container', 'postgres-primary', { networks: [INNER] });
const HAPROXY = known('container', 'haproxy');
const MONITOR = known('container', 'failover-monitor');
const DATA = known('volume', 'data', { id: 'data', role: 'postgres-data' });
const IMAGE = known('image', 'postgres-image');
const LOGS = known('log folder', 'log-folder', { id: FOLDER });
const ALL = [NODE, HAPROXY, MONITOR, DATA, IMAGE, LOGS, known('network', 'inner')];

function container(of: Known, rest: Partial<EngineContainer> = {}): EngineContainer {
  const role = of === NODE ? 'postgres' : of === MONITOR ? 'monitor' : 'haproxy';
  const networks = of === NODE ? [{ ...INNER, aliases: ['0a1b2c'] }] : [];
  return { id: of.id, name: of.name, state: 'running', status: 'Up', stack: STACK, role, networks, ...rest };
}

function engine(rest: Partial<EngineObjects> = {}): EngineObjects {
  return {
    containers: [NODE, HAPROXY, MONITOR].map((one) => container(one)),
    volumes: new Map([['data', STACK]]),
    networks: ['inner-id'],
    images: ['postgres-image-id'],
    folders: [FOLDER],
    ...rest,
  };
}

const repair = (rest: Partial<EngineObjects>, leaveStopped = false) =>
  repairOf(ALL, engine(rest), STACK, { leaveStopped });
const NOTHING = { start: [], left: [], reconnect: [], missing: [], replace: [], strays: [] };

describe('before `up`, the engine is compared with the state', () => {
  test('which is as it was left: nothing is done', () => {
    expect(repair({})).toEqual(NOTHING);
    expect(refusalOf(ALL, engine(), PLACE)).toBeNull();
  });

  test.each(['exited', 'created', 'dead', 'paused'])('a container that is %s is started', (state) => {
    const stopped = container(HAPROXY, { state });
    expect(repair({ containers: [container(NODE), stopped, container(MONITOR)] })).toEqual({
      ...NOTHING,
      start: [stopped],
    });
  });

  test('a stopped node, too, unless stopped nodes are to be left; the rest is started all the same', () => {
    const [node, haproxy] = [
      container(NODE, { state: 'exited', networks: [] }),
      container(HAPROXY, { state: 'exited' }),
    ];
    const containers = [node, haproxy, container(MONITOR)];
    expect(repair({ containers }).start).toEqual([node, haproxy]);
    expect(repair({ containers }, true)).toEqual({ ...NOTHING, start: [haproxy], left: ['postgres-primary'] });
  });

  test('what was removed is forgotten by the state, so that it is made again', () => {
    expect(repair({ containers: [container(NODE), container(MONITOR)], networks: [] }).missing).toEqual([
      HAPROXY,
      known('network', 'inner'),
    ]);
    expect(repair({ volumes: new Map() }).missing).toEqual([DATA]);
    expect(repair({ images: [] }).replace).toEqual([IMAGE]);
  });

  test('a node that was taken from its network is connected again, with its address', () => {
    const apart = container(NODE, { networks: [] });
    expect(repair({ containers: [apart, container(HAPROXY), container(MONITOR)] })).toEqual({
      ...NOTHING,
      reconnect: [{ container: apart, network: INNER }],
    });
  });

  test.each([
    ['an address that the engine chose', { ...INNER, address: undefined }],
    ['another address', { ...INNER, address: '10.0.0.9' }],
  ])('a node that came back to its network with %s gets its own again', (_, network) => {
    const elsewhere = container(NODE, { networks: [network] });
    expect(repair({ containers: [elsewhere, container(HAPROXY), container(MONITOR)] }).reconnect).toEqual([
      { container: elsewhere, network: INNER },
    ]);
  });

  test('a container that lost its name on a network gets it again', () => {
    const FRONT = { name: 'front', address: undefined, aliases: ['haproxy'] };
    const known = [{ ...HAPROXY, networks: [FRONT] }];
    const nameless = container(HAPROXY, { networks: [{ ...FRONT, aliases: [] }] });
    const repaired = repairOf(known, engine({ containers: [nameless] }), STACK, { leaveStopped: false });
    expect(repaired.reconnect).toEqual([{ container: nameless, network: FRONT }]);
  });

  test('without the folder of the log the monitor is made again with it, for it holds the one that was removed', () => {
    expect(repair({ folders: [] })).toEqual({
      ...NOTHING,
      missing: [MONITOR],
      replace: [LOGS],
      strays: [container(MONITOR)],
    });
  });

  test('a container of the stack that the state does not know was left by an interrupted run', () => {
    const half = container(HAPROXY, { id: 'half-made' });
    const other = container(HAPROXY, { id: 'other', stack: 'postgres-failover/other' });
    expect(repair({ containers: [...engine().containers, half, other] })).toEqual({ ...NOTHING, strays: [half] });
  });
});

describe('`up` refuses, with the way back,', () => {
  test('a stack that was renamed', () => {
    const former = 'postgres-failover/old';
    const renamed = engine({ volumes: new Map([['data', former]]) });
    const sentence = refusalOf(ALL, renamed, PLACE);
    expect(sentence).toContain('Stack test was called old');
    expect(sentence).toContain('npm run pulumi -- stack rename old --stack test');
    expect(sentence).not.toMatch(/remove/);
    const containers = [container(HAPROXY, { stack: former })];
    expect(refusalOf(ALL, engine({ containers }), PLACE)).toBe(sentence);
  });

  test('an engine that has none of the data', () => {
    const sentence = refusalOf(ALL, engine({ volumes: new Map(), containers: [] }), PLACE);
    expect(sentence).toContain('No data volume of stack test is on the engine at unix:///var/run/docker.sock (data)');
    expect(sentence).toContain('npm run destroy -- --stack test, then npm run up -- --stack test');
  });

  test('one of several data volumes that is gone is no reason: the node copies its data anew', () => {
    const second = known('volume', 'second', { id: 'second', role: 'postgres-data' });
    expect(refusalOf([...ALL, second], engine(), PLACE)).toBeNull();
  });

  test('containers of this stack that another folder made', () => {
    expect(refusalOf([], engine(), PLACE)).toContain(
      'Containers of a stack postgres-failover/test are here (postgres-primary, haproxy, failover-monitor)',
    );
    expect(refusalOf([], engine({ containers: [] }), PLACE)).toBeNull();
  });
});

describe("Pulumi's export", () => {
  const urn = (name: string) => `urn:pulumi:test::postgres-failover::some:type::${name}`;
  test('is read for what the engine has; secrets, components and what is to be deleted are passed over', () => {
    const resources = [
      {
        urn: urn('cluster-haproxy'),
        type: 'docker:index/container:Container',
        id: 'abc',
        inputs: {
          name: 'haproxy',
          uploads: { '4dabf18193072939515e22adb298388d': '1b47061264138c4ac30d75fd1eb44270', ciphertext: 'x' },
          labels: [{ label: 'postgres-failover.role', value: 'haproxy' }],
          networksAdvanced: [{ name: 'front', aliases: ['haproxy'] }],
        },
      },
      { urn: urn('old'), type: 'docker:index/container:Container', id: 'def', delete: true },
      { urn: urn('cluster'), type: 'postgres-failover:index:PostgresCluster' },
      { urn: urn('image'), type: 'docker:index/image:Image', id: 'tag', outputs: { repoDigest: 'sha256:1' } },
      {
        urn: urn('folder'),
        type: 'command:local:Command',
        id: 'x',
        inputs: { environment: { LOG_FOLDER: FOLDER } },
      },
      { urn: urn('serving'), type: 'command:local:Command', id: 'y', inputs: { create: 'docker exec' } },
    ];
    const state = stateOf({ deployment: { resources, pending_operations: [{ type: 'creating' }] } });
    expect(state.isInterrupted).toBe(true);
    expect(state.known).toEqual([
      {
        ...{ kind: 'container', urn: urn('cluster-haproxy'), id: 'abc', name: 'haproxy', role: 'haproxy' },
        networks: [{ name: 'front', address: undefined, aliases: ['haproxy'] }],
      },
      { kind: 'image', urn: urn('image'), id: 'sha256:1', name: 'image', role: '', networks: [] },
      { kind: 'log folder', urn: urn('folder'), id: FOLDER, name: 'folder', role: '', networks: [] },
    ]);
    expect(stateOf({ deployment: {} })).toEqual({ known: [], isInterrupted: false });
  });
});
