import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseStats, passfileEntry } from '../../cli/doctor/client-side';
import { FindingCode } from '../../cli/doctor/codes';
import { doctor, exitCode } from '../../cli/doctor/command';
import { portsOf } from '../../cli/doctor/containers';
import type { Facts, HolderFact, LoweredFact } from '../../cli/doctor/facts';
import { FINDINGS } from '../../cli/doctor/findings';
import { judge } from '../../cli/doctor/judge';
import { diskOf } from '../../cli/doctor/nodes';
import type { Finding } from '../../cli/doctor/row';
import { EXIT } from '../../cli/exit';
import { hostCommands } from '../../cli/host';
import { makeProgram } from '../../cli/program';
import PACKAGE from '../../package.json';
import { checkConfig } from '../../stack/config';
import { KEY_NAMES } from '../../stack/keys';
import { buildTopology } from '../../stack/topology';
import { fakeIo } from './console';
import { event, healthyCluster } from './fake-monitor';

type Container = Facts['containers'][number];
const PRIMARY = 'postgres-primary';
const REPLICA = 'postgres-replica-1';

function container(name: string, role: Container['role']): Container {
  const fine = { exitCode: 0, error: '', outOfMemory: false, foreign: false, missingNetworks: [] };
  return { name, role, state: 'running', ...fine };
}

function node(name: string, peer: string): Facts['nodes'][number] {
  const database = {
    standby: name !== PRIMARY,
    connections: 3,
    room: 97,
    slots: [{ name: peer, active: true, lost: false, heldSeconds: null as number | null }],
    replayPaused: false,
    commitSettings: [] as LoweredFact[],
    holders: [] as HolderFact[],
  };
  return { name, database, message: '', disk: { freeBytes: 50e9, usedPercent: 20 } };
}

/** All is well. */
function facts(): Facts {
  return {
    stack: 'dev',
    engine: { kind: 'answers', version: '27' },
    containers: [
      container('haproxy', 'haproxy'),
      container('failover-monitor', 'monitor'),
      container(PRIMARY, 'node'),
      container(REPLICA, 'node'),
      container('backend', 'backend'),
    ],
    ports: [{ key: 'writePort', port: 5434, owner: 'haproxy', published: true, takenBy: null }],
    monitor: { cluster: healthyCluster(), healthy: true, message: '' },
    haproxy: { answers: true, message: '', write: '10.0.0.20:5432', sessions: 3, limit: 90, queued: 0 },
    login: { kind: 'in', readOnly: false, standby: false, tookMs: 12 },
    passfile: { file: '/home/me/.pgpass', state: 'absent' },
    nodes: [node(PRIMARY, 'slot-of-postgres-replica-1'), node(REPLICA, 'slot-of-postgres-primary')],
    log: { file: '/logs/failover.log', there: true, freeBytes: 50e9 },
    clockMs: 20,
    slotOf: (name) => `slot-of-${name}`,
  };
}

/** Docker's commands that a next step may name. */
const DOCKER = ['start', 'restart', 'unpause', 'logs', 'exec', 'network connect', 'system df'];

/** True when a text is the row's, with values in place of the names in braces. */
function fits(text: string, row: string): boolean {
  const parts = row.split(/\{\w+\}/).map((part) => part.replaceAll(/[\\^$.*+?()[\]|]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`).test(text);
}

type Change = (all: ReturnType<typeof parts>) => void;

/** The parts of the facts that tests change, so that each change is one line. */
function parts(all: Facts) {
  const cluster = all.monitor.cluster ?? healthyCluster();
  const find = (name: string): Container => all.containers.find((one) => one.name === name) ?? container(name, 'node');
  const replica = all.nodes[1] ?? node(REPLICA, '');
  const replicaStatus = cluster.nodes[1] ?? cluster.nodes[0];
  const [leader, database] = [all.nodes[0]?.database, replica.database];
  if (replicaStatus === undefined || leader == null || database === null) throw new Error('the fixture has two nodes');
  return { all, cluster, find, replica, replicaStatus, leader, database };
}

function found(change: Change): Finding[] {
  const all = facts();
  change(parts(all));
  return judge(all);
}

const codes = (change: Change): string[] => found(change).map(({ code }) => code);

const STATES = { MISSING: 'missing', PAUSED: 'paused', CRASHING: 'restarting', STOPPED: 'exited' } as const;
const CONTAINERS = [
  ...[container('haproxy', 'haproxy'), container('failover-monitor', 'monitor'), container(REPLICA, 'node')],
  ...[container('backend', 'backend'), container('prometheus', 'prometheus'), container('pgadmin', 'pgadmin')],
];

/** For each row of the table a change of the facts after which doctor names its code, and no other. */
const SHOWN: readonly (readonly [FindingCode, Change])[] = [
  ...CONTAINERS.flatMap((one) =>
    Object.entries(STATES).map(
      ([end, state]) =>
        [
          FindingCode.parse(`${one.role.toUpperCase()}_${end}`),
          ({ all }: ReturnType<typeof parts>) => {
            all.containers = [...all.containers.filter(({ name }) => name !== one.name), { ...one, state }];
          },
        ] as const,
    ),
  ),
  [
    'ENGINE_SILENT',
    ({ all }) => {
      all.engine = { kind: 'silent', words: '' };
    },
  ],
  [
    'NO_DOCKER',
    ({ all }) => {
      all.engine = { kind: 'no-client' };
    },
  ],
  [
    'ENGINE_DENIED',
    ({ all }) => {
      all.engine = { kind: 'denied' };
    },
  ],
  [
    'NAME_TAKEN',
    ({ find }) => {
      find(REPLICA).foreign = true;
    },
  ],
  [
    'PORT_NOT_PUBLISHED',
    ({ all }) => {
      all.ports = all.ports.map((port) => ({ ...port, published: false }));
    },
  ],
  [
    'HAPROXY_SILENT',
    ({ all }) => {
      if (all.haproxy) all.haproxy.answers = false;
    },
  ],
  [
    'ROUTE_CLOSED',
    ({ all }) => {
      if (all.haproxy) all.haproxy.write = null;
    },
  ],
  [
    'ROUTE_WRONG',
    ({ all }) => {
      if (all.haproxy) all.haproxy.write = '10.0.0.21:5432';
    },
  ],
  [
    'MONITOR_SILENT',
    ({ all }) => {
      all.monitor = { cluster: null, healthy: false, message: 'no answer' };
    },
  ],
  [
    'MONITOR_STALE',
    ({ all }) => {
      all.monitor.healthy = false;
    },
  ],
  [
    'CLOCK',
    ({ all }) => {
      all.clockMs = -60_000;
    },
  ],
  [
    'HAPROXY_UNREACHABLE',
    ({ cluster }) => {
      cluster.haproxy.reachable = false;
    },
  ],
  [
    'PASSWORD_UNKNOWN',
    ({ all }) => {
      all.login = { kind: 'no-password', message: 'no passphrase' };
    },
  ],
  [
    'CONNECTIONS_EXHAUSTED',
    ({ all }) => {
      all.login = { kind: 'failed', code: '53300', message: 'too many' };
    },
  ],
  [
    'LOGIN_FAILED',
    ({ all }) => {
      all.login = { kind: 'failed', code: '3D000', message: 'no database' };
    },
  ],
  [
    'ROUTE_TO_STANDBY',
    ({ all }) => {
      all.login = { kind: 'in', readOnly: false, standby: true, tookMs: 1 };
    },
  ],
  [
    'PASSFILE_OPEN',
    ({ all }) => {
      all.passfile = { file: 'f', state: 'open' };
    },
  ],
  [
    'DISK_LOW',
    ({ replica }) => {
      replica.disk = { freeBytes: 5e9, usedPercent: 92 };
    },
  ],
  [
    'NODE_FAILED',
    ({ replicaStatus }) => {
      replicaStatus.failure = 'COPY: no room';
    },
  ],
  ...(
    [
      'MUST_COPY',
      'WAL_MISSING',
      'SETTLE_FAILED',
      'TABLESPACE_IN_USE',
      'REWIND_FAILED',
      'STREAM_IMPOSSIBLE',
      'DISK_TOO_SMALL',
      'POSTGRES_CRASHED',
      'PROMOTION_HANGS',
      'SUPERUSER_LOCKED_OUT',
      'LEADER_UNREACHABLE',
    ] as const
  ).map((code): [FindingCode, Change] => [
    code,
    ({ replicaStatus }) => {
      replicaStatus.failure = `${code}: PostgreSQL said so (attempt 3)`;
    },
  ]),
  [
    'PROMOTION_REPEATED',
    ({ cluster }) => {
      cluster.serving = false;
      cluster.events = [1, 2, 3].map((id) => ({ ...event(id), code: 'PROMOTE_AGAIN', at: cluster.at }));
    },
  ],
  [
    'REPLAY_PAUSED',
    ({ database, replicaStatus }) => {
      database.replayPaused = true;
      replicaStatus.lagSeconds = 60;
    },
  ],
  [
    'SYNC_COMMIT_LOWERED',
    ({ leader }) => {
      leader.commitSettings = [
        { role: 'app', database: null, value: 'OFF' },
        { role: 'app', database: 'other', value: 'remote_apply' },
        { role: null, database: 'other', value: 'on' },
      ];
    },
  ],
  [
    'SLOT_HOLDS_ROWS',
    ({ leader }) => {
      leader.slots = leader.slots.map((slot) => ({ ...slot, active: false, heldSeconds: 7_200 }));
    },
  ],
  [
    'TRANSACTION_OLD',
    ({ database }) => {
      database.holders = [{ kind: 'session', pid: 7, role: 'app', database: 'app', seconds: 4_000 }];
    },
  ],
  [
    'PREPARED_OLD',
    ({ leader }) => {
      leader.holders = [{ kind: 'prepared', name: 'x', database: 'app', seconds: 4_000 }];
    },
  ],
  [
    'POSTGRES_DOWN',
    ({ replica }) => {
      replica.database = null;
    },
  ],
  [
    'SECOND_PRIMARY',
    ({ database }) => {
      database.standby = false;
    },
  ],
  [
    'KEEPER_AWAY',
    ({ replicaStatus }) => {
      replicaStatus.connected = false;
    },
  ],
  [
    'SLOT_LOST',
    ({ database }) => {
      for (const slot of database.slots) slot.lost = true;
    },
  ],
  [
    'NOT_STREAMING',
    ({ replicaStatus }) => {
      replicaStatus.streamingFrom = null;
    },
  ],
  [
    'LAG',
    ({ replicaStatus }) => {
      replicaStatus.lagSeconds = 60;
    },
  ],
  [
    'NOT_COUNTED',
    ({ replicaStatus }) => {
      replicaStatus.sync = 'joining';
    },
  ],
  [
    'NOT_SERVING',
    ({ cluster }) => {
      cluster.serving = false;
    },
  ],
  [
    'LOG_MISSING',
    ({ all }) => {
      all.log.there = false;
    },
  ],
  [
    'LOG_DISK_FULL',
    ({ all }) => {
      all.log.freeBytes = 1000;
    },
  ],
  [
    'NETWORK_CUT',
    ({ find }) => {
      find(REPLICA).missingNetworks = ['inner'];
    },
  ],
  [
    'PORT_TAKEN',
    ({ all }) => {
      all.ports = all.ports.map((port) => ({ ...port, takenBy: 'container other' }));
    },
  ],
  [
    'READ_ONLY',
    ({ all }) => {
      all.login = { kind: 'in', readOnly: true, standby: false, tookMs: 1 };
    },
  ],
  [
    'PASSWORD_WRONG',
    ({ all }) => {
      all.login = { kind: 'failed', code: '28P01', message: 'no' };
    },
  ],
  [
    'PASSFILE_WRONG',
    ({ all }) => {
      all.passfile = { file: 'f', state: 'wrong' };
    },
  ],
  [
    'DISK_FULL',
    ({ replica }) => {
      replica.disk = { freeBytes: 0, usedPercent: 100 };
    },
  ],
  [
    'PROMOTED_BY_HAND',
    ({ cluster, replicaStatus }) => {
      cluster.events = [{ ...event(1), subject: REPLICA, code: 'PROMOTED_BY_HAND' }];
      replicaStatus.streamingFrom = null;
    },
  ],
  [
    'SLOT_MISSING',
    ({ database }) => {
      database.slots = [];
    },
  ],
  [
    'SLOT_MISSING',
    ({ leader }) => {
      leader.slots = [];
    },
  ],
  [
    'SLOT_LOST',
    ({ leader }) => {
      for (const slot of leader.slots) slot.lost = true;
    },
  ],
  [
    'SLOT_HOLDS_ROWS',
    ({ leader }) => {
      leader.slots.push({ name: 'another', active: false, lost: false, heldSeconds: 7_200 });
    },
  ],
  [
    'SETTINGS_REFUSED',
    ({ replicaStatus }) => {
      replicaStatus.settings = { restart: 'none', pending: [], refused: 'shared_buffers = 64GB' };
    },
  ],
  [
    'PAUSED',
    ({ cluster }) => {
      cluster.pause = { reason: 'new disk', since: '2026-11-24T20:00:00.000Z', until: null };
    },
  ],
  [
    'OBSERVE',
    ({ cluster }) => {
      cluster.failoverMode = 'observe';
    },
  ],
];

describe('doctor', () => {
  it('finds nothing where nothing is wrong', () => expect(codes(() => {})).toEqual([]));

  it.each(SHOWN)('names %s alone', (code, change) => expect(codes(change)).toEqual([code]));

  it('shows every row of its table, with all values in their places', () => {
    const all = SHOWN.flatMap(([, change]) => found(change));
    const rows: readonly Omit<Finding, 'severity'>[] = FINDINGS.rows;
    const isShown = (row: (typeof rows)[number]) =>
      all.some((one) => one.code === row.code && fits(one.sentence, row.sentence) && fits(one.next, row.next));
    expect(rows.filter((row) => !isShown(row))).toEqual([]);
    expect(FindingCode.options.filter((code) => all.every((one) => one.code !== code))).toEqual([]);
    for (const { about, sentence, next } of all)
      expect([about, sentence, next].join(' ')).not.toMatch(/[{}]|undefined|\bnull\b|NaN|\[object/);
  });

  it.each(FINDINGS.rows.map(({ code, next }): [string, string] => [code, next]))(
    'names in the next step of %s only commands and keys that exist: %s',
    (_, next) => {
      const { scripts } = z.object({ scripts: z.record(z.string(), z.string()) }).parse(PACKAGE);
      const own = makeProgram(fakeIo('http://127.0.0.1:1').io, () => {}, hostCommands).commands.map((one) =>
        one.name(),
      );
      const named = (pattern: RegExp) => [...next.matchAll(pattern)].map(([, word = '']) => word);
      expect(Object.keys(scripts)).toEqual(expect.arrayContaining(named(/npm run (\S+?)(?![\w-])/g)));
      expect(own).toEqual(expect.arrayContaining(named(/npm run failover -- (\w+)/g)));
      expect(KEY_NAMES).toEqual(expect.arrayContaining(named(/config set (?:--secret )?(\w+)/g)));
      expect(DOCKER).toEqual(
        expect.arrayContaining(named(/(?<!group )docker (network connect|system df|(?!-)[a-z]+)/g)),
      );
    },
  );

  it('names a disk or a hung PostgreSQL even when both are', () =>
    expect(
      codes(({ replica }) => {
        replica.disk = { freeBytes: 0, usedPercent: 100 };
        replica.database = null;
      }),
    ).toEqual(['DISK_FULL']));

  it('leaves out what follows from a cause', () =>
    expect(
      codes(({ all, find, cluster }) => {
        find('haproxy').state = 'exited';
        cluster.serving = false;
        all.haproxy = undefined;
        all.login = undefined;
        all.ports = all.ports.map((port) => ({ ...port, published: false }));
      }),
    ).toEqual(['HAPROXY_STOPPED']));

  it('finds nothing in what holds no rows for long, was promoted again long ago, or belongs to an asynchronous stack', () =>
    expect(
      codes(({ leader, cluster }) => {
        leader.holders = [{ kind: 'session', pid: 7, role: 'app', database: 'app', seconds: 3_000 }];
        leader.slots = leader.slots.map((slot) => ({ ...slot, heldSeconds: 3_000 }));
        cluster.events = [1, 2, 3].map((id) => ({ ...event(id), code: 'PROMOTE_AGAIN' }));
        leader.commitSettings = [{ role: 'app', database: null, value: 'off' }];
        cluster.syncMode = 'asynchronous';
      }),
    ).toEqual([]));

  it('says for whom synchronous_commit is lowered, how to raise it, and that their writes are not covered', async () => {
    const all = facts();
    parts(all).leader.commitSettings = [
      { role: 'a"; DROP ROLE b; --', database: null, value: 'off' },
      { role: 'app', database: 'd', value: 'local' },
      { role: null, database: 'd', value: 'remote_write' },
      { role: null, database: null, value: 'false' },
    ];
    const words = fakeIo('http://127.0.0.1:1');
    expect(await doctor(words.io, { stack: 'dev' }, async () => all)).toBe(EXIT.attention);
    const steps = words.said.out.filter((line) => line.includes('RESET'));
    expect(steps.map((line) => line.replace(/.*then: /, ''))).toEqual([
      'ALTER ROLE "a""; DROP ROLE b; --" RESET synchronous_commit',
      'ALTER ROLE "app" IN DATABASE "d" RESET synchronous_commit',
      'ALTER DATABASE "d" RESET synchronous_commit',
      'ALTER ROLE ALL RESET synchronous_commit',
    ]);
    expect(words.said.out.at(-1)).toMatch(/^If the leader died now: .*, except for what SYNC_COMMIT_LOWERED names$/);
  });

  it('an earlier promotion by hand is no news once the standby follows again', () => {
    const undone: Change = ({ cluster }) => {
      cluster.events = [{ ...event(1), subject: REPLICA, code: 'PROMOTED_BY_HAND' }];
    };
    expect(codes(undone)).toEqual([]);
    expect(
      codes((all) => {
        undone(all);
        all.replicaStatus.streamingFrom = null;
      }),
    ).toEqual(['PROMOTED_BY_HAND']);
  });

  it('puts errors before warnings, and the worst one tells the exit code', () => {
    const all = facts();
    parts(all).find(REPLICA).state = 'exited';
    expect(exitCode(judge(all))).toBe(EXIT.attention);
    parts(all).find('haproxy').state = 'exited';
    expect(judge(all).map(({ severity }) => severity)).toEqual(['error', 'warning']);
    expect(exitCode(judge(all))).toBe(EXIT.failed);
  });

  it('shows what PostgreSQL said as text, so that it steers no terminal', async () => {
    const all = facts();
    const { replica } = parts(all);
    replica.database = null;
    replica.message = 'FATAL \x1b[2J\r\nall is well';
    const words = fakeIo('http://127.0.0.1:1');
    await doctor(words.io, { stack: 'dev' }, async () => all);
    expect(words.said.out[0]).toContain('(FATAL \\x1b[2J | all is well)');
  });

  it('says the next step, names a pause on stderr, and prints JSON', async () => {
    const all = facts();
    parts(all).find(REPLICA).state = 'paused';
    parts(all).cluster.pause = { reason: 'new disk', since: '2026-11-24T20:00:00.000Z', until: null };
    const words = fakeIo('http://127.0.0.1:1');
    expect(await doctor(words.io, { stack: 'dev' }, async () => all)).toBe(EXIT.attention);
    expect(words.said.out).toContain(`  → docker unpause ${REPLICA}`);
    expect(words.said.err).toEqual([expect.stringContaining('PAUSED since')]);
    const json = fakeIo('http://127.0.0.1:1');
    await doctor(json.io, { stack: 'dev', json: true }, async () => all);
    expect(JSON.parse(json.said.out.join('\n')).findings).toHaveLength(2);
  });
});

describe('what doctor reads', () => {
  it('which container publishes which port', () => {
    const { settings } = checkConfig({ monitoring: 'true', pgadmin: 'true', namePrefix: 'x-' });
    if (settings === undefined) throw new Error('the config is refused');
    const topology = buildTopology(settings, { project: 'p', stack: 's', projectRoot: '/' });
    expect(Object.fromEntries(portsOf(topology).map(({ key, owner }) => [key, owner]))).toEqual({
      writePort: 'x-haproxy',
      readPort: 'x-haproxy',
      statsPort: 'x-haproxy',
      backendPort: 'x-haproxy',
      monitorPort: 'x-failover-monitor',
      prometheusPort: 'x-prometheus',
      pgadminPort: 'x-pgadmin',
    });
  });

  const HEAD = '# pxname,svname,qcur,scur,slim,status,addr,';
  const HELD = 'write,node1,0,0,3,MAINT,10.0.0.20:5432,\nwrite,hold,0,2,3,no check,127.0.0.1:1,';
  it('the write slot out of the statistics', () => {
    const open = 'write,node2,1,2,3,no check,10.0.0.21:5432,\nwrite,BACKEND,4,9,9,UP,,';
    expect(parseStats(`${HEAD}\nread,node1,9,9,9,no check,x,\n${HELD}\n${open}\n`)).toMatchObject({
      write: '10.0.0.21:5432',
      queued: 5,
      sessions: 2,
      limit: 3,
    });
    expect(parseStats(`${HEAD}\n${HELD}\n`)).toMatchObject({ write: null, sessions: 0, queued: 0 });
    expect(parseStats('<html>another program</html>')).toBeNull();
  });

  it('the line of the password file that libpq would take', () => {
    const entry = (text: string) => passfileEntry(text, ['127.0.0.1', 'localhost'], ['5434', 'app', 'me']);
    expect(entry('# c\nother:5434:app:me:no\nlocalhost:5434:*:me:first\n*:*:*:*:second\n')).toBe('first');
    expect(entry('*:*:*:*:with\\:colon and \\\\\n')).toBe('with:colon and \\');
    expect(entry('localhost:5433:app:me:x\n')).toBeNull();
  });

  it('the disk out of df', () => {
    const df =
      'Filesystem 1-blocks Used Available Capacity Mounted on\n/dev/vda 1000 900 100 90% /var/lib/postgresql\n';
    expect(diskOf(df)).toEqual({ freeBytes: 100, usedPercent: 90 });
    expect(diskOf('df: no such file')).toBeNull();
  });
});
