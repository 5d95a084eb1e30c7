import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseStats, passfileEntry } from '../../cli/doctor/client-side';
import { FindingCode } from '../../cli/doctor/codes';
import { doctor, exitCode } from '../../cli/doctor/command';
import { networkFact, portsOf } from '../../cli/doctor/containers';
import type { Facts, HaproxyFact, LoweredFact } from '../../cli/doctor/facts';
import { FINDINGS } from '../../cli/doctor/findings';
import { judge } from '../../cli/doctor/judge';
import { diskOf } from '../../cli/doctor/nodes';
import type { Finding } from '../../cli/doctor/row';
import { EXIT } from '../../cli/exit';
import { hostCommands } from '../../cli/host';
import { makeProgram } from '../../cli/program';
import type { RestoreTestStatus } from '../../failover/contract/api';
import PACKAGE from '../../package.json';
import type { Answer } from '../../scripts/lib/updates';
import { checkConfig } from '../../stack/config';
import { KEY_NAMES } from '../../stack/keys';
import { buildTopology } from '../../stack/topology';
import { healthyBackups, healthyCluster } from '../rig/healthy-cluster';
import { VERIFIER } from '../rig/verifier';
import { fakeIo } from './console';
import { event } from './fake-monitor';

type Container = Facts['containers'][number];
type Node = Facts['nodes'][number];
type Database = NonNullable<Node['database']>;
const PRIMARY = 'postgres-primary';
const REPLICA = 'postgres-replica-1';
const PORT = { key: 'writePort', port: 5434, owner: 'haproxy', published: true, takenBy: null };

function container(name: string, role: Container['role']): Container {
  const fine = { exitCode: 0, error: '', outOfMemory: false, foreign: false };
  return { name, role, state: 'running', ...fine, wrongNetworks: [], image: 'sha256:1', restartedAt: null };
}

/** The slot for a peer; `different`: what is not well about it. */
const SLOT_GAP = { name: 'barman', type: 'physical' as const, from: '0/600', to: null };

function slotOf(peer: string, different: Partial<Database['slots'][number]> = {}): Database['slots'][number] {
  return { name: `slot-of-${peer}`, active: true, lost: false, heldSeconds: null, keptBytes: null, ...different };
}

function databaseOf(peer: string, standby: boolean): Database {
  const none = {
    archive: null,
    barred: null,
    passwordBySql: false,
    replayPaused: false,
    commitSettings: [],
    holders: [],
  };
  const oldest = { database: 'app', transactions: 200_000_000 };
  return { standby, connections: 3, room: 97, slots: [slotOf(peer)], oldest, ...none };
}

/** All is well: all facts, and parts of them that tests change. */
function well() {
  const cluster = healthyCluster();
  const [, replicaStatus] = cluster.nodes;
  if (replicaStatus === undefined) throw new Error('the fixture has two nodes');
  const [leader, database] = [databaseOf(REPLICA, false), databaseOf(PRIMARY, true)];
  const disk = { freeBytes: 50e9, usedPercent: 20 };
  const replica: Node = { name: REPLICA, database, message: '', disk };
  const proxyContainer = container('haproxy', 'haproxy');
  const standbyContainer = container(REPLICA, 'node');
  const load = { sessions: 3, limit: 90, queued: 0 };
  const haproxy: HaproxyFact = { answers: true, message: '', write: '10.0.0.20:5432', ...load };
  const monitor: Facts['monitor'] = { cluster, healthy: true, message: '' };
  const log = { file: '/logs/failover.log', there: true, freeBytes: 50e9 };
  const all: Facts = {
    stack: 'dev',
    engine: { kind: 'answers', version: '27' },
    containers: [
      ...[proxyContainer, container('failover-monitor', 'monitor'), container(PRIMARY, 'node')],
      ...[standbyContainer, container('backend', 'backend')],
    ],
    ports: [PORT],
    ...{ monitor, haproxy, log },
    login: { kind: 'in', readOnly: false, standby: false, tookMs: 12 },
    passfile: { file: '/home/me/.pgpass', state: 'absent' },
    application: { user: 'app', database: 'app' },
    nodes: [{ name: PRIMARY, database: leader, message: '', disk }, replica],
    clockMs: 20,
    slotOf: (name) => slotOf(name).name,
  };
  const containers = { proxyContainer, standbyContainer };
  return { all, ...containers, haproxy, monitor, log, cluster, replicaStatus, leader, database, replica };
}

type Parts = ReturnType<typeof well>;
/** The values that are not as they should be. */
type Change = { [Part in keyof Parts]?: Partial<Parts[Part]> };

function changed(change: Change): Facts {
  const parts = well();
  for (const part of Object.keys(change) as (keyof Parts)[]) Object.assign(parts[part], change[part]);
  return parts.all;
}

const found = (change: Change): Finding[] => judge(changed(change));
const codes = (change: Change): string[] => found(change).map(({ code }) => code);

/** Docker's commands that a next step may name. */
const DOCKER = [
  'start',
  'restart',
  'unpause',
  'logs',
  'exec',
  'kill',
  'network connect',
  'network disconnect',
  'system df',
];

/** True when a text is the row's, with values in place of the names in braces. */
function fits(text: string, row: string): boolean {
  const parts = row.split(/\{\w+\}/).map((part) => part.replaceAll(/[\\^$.*+?()[\]|]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`).test(text);
}

const STATES = { MISSING: 'missing', PAUSED: 'paused', CRASHING: 'restarting', STOPPED: 'exited' } as const;
const CONTAINERS = [
  ...[container('haproxy', 'haproxy'), container('failover-monitor', 'monitor'), container(REPLICA, 'node')],
  ...[container('backend', 'backend'), container('prometheus', 'prometheus'), container('pgadmin', 'pgadmin')],
  ...[container('pooler', 'pooler'), container('backup-check', 'checker')],
];
/** Codes of a keeper's failure that doctor takes over. */
const FAILURES = FindingCode.extract([
  ...['MUST_COPY', 'WAL_MISSING', 'SETTLE_FAILED', 'TABLESPACE_IN_USE', 'REWIND_FAILED', 'STREAM_IMPOSSIBLE'],
  ...['DISK_TOO_SMALL', 'POSTGRES_CRASHED', 'PROMOTION_HANGS', 'SUPERUSER_LOCKED_OUT', 'LEADER_UNREACHABLE'],
] as const);
const PROMOTED_AGAIN = [1, 2, 3].map((id) => ({ ...event(id), code: 'PROMOTE_AGAIN' as const }));
const PROMOTED_BY_HAND = { ...event(1), subject: REPLICA, code: 'PROMOTED_BY_HAND' as const };
const BACKUPS = healthyBackups();
const GAP = { from: '000000010000000000000005', to: '000000010000000000000007' };
const FAILED_JOB = {
  ...{ id: 'j', kind: 'full' as const, result: 'failed' as const, message: 'no space left' },
  ...{ ended: '2026-11-24T20:00:00.000Z', tookMs: 5, damaged: [] },
};
const PAUSE = { reason: 'new disk', since: '2026-11-24T20:00:00.000Z', until: null };

const REFUSED = { kind: 'failed', code: '28P01', message: 'password authentication failed' } as const;
const FIXED = { name: 'inner', address: '10.0.0.10' };
const INNER = { network: 'inner', options: '--ip 10.0.0.21 ' };
const NEWER: Answer = {
  kind: 'known',
  updates: [{ package: 'postgresql-17', has: '17.6-0+deb13u1', newest: '17.7-0+deb13u1' }],
};

const NOT_LOWERED: LoweredFact[] = [
  { role: 'app', database: 'other', value: 'remote_apply' },
  { role: null, database: 'other', value: 'on' },
];

function testedWith(result: 'done' | 'failed'): RestoreTestStatus {
  const at = '2026-06-01T12:05:00.000Z';
  return {
    ...{ everySeconds: 604_800, last: { result, message: 'm', label: 'L', newest: at, ended: at, tookMs: 5 } },
    ...{ passed: at, passedAgeSeconds: 5, next: null, running: null, old: null, problem: null },
  };
}

/** For each row of the table a change of the facts after which doctor names its code, and no other. */
const SHOWN: readonly (readonly [FindingCode, Change])[] = [
  ...CONTAINERS.flatMap((one) =>
    Object.entries(STATES).map(([end, state]): [FindingCode, Change] => {
      const others = well().all.containers.filter(({ name }) => name !== one.name);
      const code = FindingCode.parse(`${one.role.toUpperCase()}_${end}`);
      return [code, { all: { containers: [...others, { ...one, state }] } }];
    }),
  ),
  ...FAILURES.options.map((code): [FindingCode, Change] => [
    code,
    { replicaStatus: { failure: `${code}: PostgreSQL said so (attempt 3)` } },
  ]),
  ['ENGINE_SILENT', { all: { engine: { kind: 'silent', words: '' } } }],
  ['NO_DOCKER', { all: { engine: { kind: 'no-client' } } }],
  ['ENGINE_DENIED', { all: { engine: { kind: 'denied' } } }],
  ['NAME_TAKEN', { standbyContainer: { foreign: true } }],
  ['PORT_NOT_PUBLISHED', { all: { ports: [{ ...PORT, published: false }] } }],
  ['HAPROXY_SILENT', { haproxy: { answers: false } }],
  ['ROUTE_CLOSED', { haproxy: { write: null } }],
  ['ROUTE_WRONG', { haproxy: { write: '10.0.0.21:5432' } }],
  ['MONITOR_SILENT', { monitor: { cluster: null, healthy: false, message: 'no answer' } }],
  ['MONITOR_STALE', { monitor: { healthy: false } }],
  ['CLOCK', { all: { clockMs: -60_000 } }],
  ['HAPROXY_UNREACHABLE', { cluster: { haproxy: { ...healthyCluster().haproxy, reachable: false } } }],
  ['PASSWORD_UNKNOWN', { all: { login: { kind: 'no-password', message: 'no passphrase' } } }],
  ['CONNECTIONS_EXHAUSTED', { all: { login: { kind: 'failed', code: '53300', message: 'too many' } } }],
  ['LOGIN_FAILED', { all: { login: { kind: 'failed', code: '08006', message: 'it broke' } } }],
  ['ROLE_MISSING', { leader: { barred: 'role missing' }, all: { login: REFUSED } }],
  ['ROLE_CLOSED', { leader: { barred: 'role closed' }, all: { login: REFUSED } }],
  ['ROLE_BARRED', { leader: { barred: 'role barred' }, all: { login: REFUSED } }],
  ['PASSWORD_BY_SQL', { leader: { passwordBySql: true }, all: { login: { ...REFUSED, code: '28P01' } } }],
  ['DATABASE_MISSING', { leader: { barred: 'database missing' }, all: { login: REFUSED } }],
  ['DATABASE_CLOSED', { leader: { barred: 'database closed' }, all: { login: REFUSED } }],
  ['BACKEND_REFUSES', { all: { backend: { code: 'database_changed', detail: 'UndefinedTable 42P01' } } }],
  ['ROUTE_TO_STANDBY', { all: { login: { kind: 'in', readOnly: false, standby: true, tookMs: 1 } } }],
  ['PASSFILE_OPEN', { all: { passfile: { file: 'f', state: 'open' } } }],
  ['DISK_LOW', { replica: { disk: { freeBytes: 5e9, usedPercent: 92 } } }],
  ['NODE_FAILED', { replicaStatus: { failure: 'COPY: no room' } }],
  ['PROMOTION_REPEATED', { cluster: { serving: false, events: PROMOTED_AGAIN } }],
  ['REPLAY_PAUSED', { database: { replayPaused: true }, replicaStatus: { lagSeconds: 60 } }],
  [
    'SYNC_COMMIT_LOWERED',
    { leader: { commitSettings: [{ role: 'app', database: null, value: 'OFF' }, ...NOT_LOWERED] } },
  ],
  ['SLOT_HOLDS_ROWS', { leader: { slots: [slotOf(REPLICA, { active: false, heldSeconds: 7_200 })] } }],
  ['SLOT_KEEPS_WAL', { leader: { slots: [slotOf(REPLICA), slotOf('barman', { active: false, keptBytes: 2e9 })] } }],
  ['SLOT_GAP', { cluster: { clientSlots: { slots: [], gaps: [{ ...SLOT_GAP, to: '0/700' }] } } }],
  ['SLOT_LOST', { cluster: { clientSlots: { slots: [], gaps: [SLOT_GAP] } } }],
  ['SLOT_LEFT', { database: { slots: [slotOf(PRIMARY), slotOf('barman', { active: false })] } }],
  ['ARCHIVE_LATE', { leader: { archive: { fails: true, waitSeconds: 2 } } }],
  ['FREEZE_LATE', { leader: { oldest: { database: 'app', transactions: 1_100_000_000 } } }],
  [
    'TRANSACTION_OLD',
    { database: { holders: [{ kind: 'session', pid: 7, role: 'app', database: 'app', seconds: 4_000 }] } },
  ],
  ['PREPARED_OLD', { leader: { holders: [{ kind: 'prepared', name: 'x', database: 'app', seconds: 4_000 }] } }],
  ['POSTGRES_DOWN', { replica: { database: null } }],
  ['SECOND_PRIMARY', { database: { standby: false } }],
  ['KEEPER_AWAY', { replicaStatus: { connected: false } }],
  ['SLOT_LOST', { database: { slots: [slotOf(PRIMARY, { lost: true })] } }],
  ['NOT_STREAMING', { replicaStatus: { streamingFrom: null } }],
  ['LAG', { replicaStatus: { lagSeconds: 60 } }],
  ['NOT_COUNTED', { replicaStatus: { sync: 'joining' } }],
  ['NOT_SERVING', { cluster: { serving: false } }],
  ['LOG_MISSING', { log: { there: false } }],
  ['LOG_DISK_FULL', { log: { freeBytes: 1000 } }],
  ['NETWORK_CUT', { standbyContainer: { wrongNetworks: [{ ...INNER, problem: null }] } }],
  ['NETWORK_WRONG', { standbyContainer: { wrongNetworks: [{ ...INNER, problem: 'with another address' }] } }],
  ['HAPROXY_RESTARTED', { proxyContainer: { restartedAt: Date.now() - 60_000 } }],
  ['UPDATES_WAITING', { all: { updates: [{ containers: [PRIMARY, REPLICA], answer: NEWER }] } }],
  ['PORT_TAKEN', { all: { ports: [{ ...PORT, takenBy: 'container other' }] } }],
  ['READ_ONLY', { all: { login: { kind: 'in', readOnly: true, standby: false, tookMs: 1 } } }],
  ['PASSWORD_WRONG', { all: { login: { kind: 'failed', code: '28P01', message: 'no' } } }],
  ['PASSFILE_WRONG', { all: { passfile: { file: 'f', state: 'wrong' } } }],
  ['DISK_FULL', { replica: { disk: { freeBytes: 0, usedPercent: 100 } } }],
  ['PROMOTED_BY_HAND', { cluster: { events: [PROMOTED_BY_HAND] }, replicaStatus: { streamingFrom: null } }],
  ['SLOT_MISSING', { database: { slots: [] } }],
  ['SLOT_MISSING', { leader: { slots: [] } }],
  ['SLOT_LOST', { leader: { slots: [slotOf(REPLICA, { lost: true })] } }],
  [
    'SLOT_HOLDS_ROWS',
    { leader: { slots: [slotOf(REPLICA), slotOf('another', { active: false, heldSeconds: 7_200 })] } },
  ],
  [
    'SETTINGS_REFUSED',
    { replicaStatus: { settings: { restart: 'none', pending: [], refused: 'shared_buffers = 64GB' } } },
  ],
  ['PAUSED', { cluster: { pause: PAUSE } }],
  ['OBSERVE', { cluster: { failoverMode: 'observe' } }],
  ['ARCHIVE_STUCK', { cluster: { backup: { ...BACKUPS, problem: 'no room' } } }],
  ['ARCHIVE_STUCK', { cluster: { backup: { ...BACKUPS, archive: { ...BACKUPS.archive, lagSeconds: 301 } } } }],
  ['ARCHIVE_GAP', { cluster: { backup: { ...BACKUPS, window: null, archive: { ...BACKUPS.archive, gap: GAP } } } }],
  ['BACKUP_FAILED', { cluster: { backup: { ...BACKUPS, lastJob: FAILED_JOB } } }],
  ['BACKUP_OLD', { cluster: { backup: { ...BACKUPS, old: 'the newest backup is of May' } } }],
  ['RESTORE_TEST_FAILED', { cluster: { backup: { ...BACKUPS, restoreTest: testedWith('failed') } } }],
  ['RESTORE_TEST_OLD', { cluster: { backup: { ...BACKUPS, restoreTest: { ...testedWith('done'), old: 'of May' } } } }],
  ['CERTIFICATE_EXPIRED', { cluster: { tls: { mode: 'on', expires: '2026-01-01T00:00:00.000Z', problem: null } } }],
  ['CERTIFICATE_EXPIRES', { cluster: { tls: { mode: 'on', expires: '2026-12-07T21:00:00.000Z', problem: null } } }],
  [
    'CERTIFICATE_REFUSED',
    { cluster: { tls: { mode: 'on', expires: '2027-01-24T21:00:00.000Z', problem: 'it does not fit' } } },
  ],
  ['CERTIFICATE_MISSING', { cluster: { tls: { mode: 'require', expires: null, problem: 'it is not there' } } }],
];

describe('doctor', () => {
  it('finds nothing where nothing is wrong', () => {
    expect(codes({})).toEqual([]);
    expect(codes({ cluster: { backup: BACKUPS } })).toEqual([]);
    expect(codes({ cluster: { backup: { ...BACKUPS, restoreTest: testedWith('done') } } })).toEqual([]);
  });

  it('does not name a copy on a standby that the leader’s slot holds back', () => {
    const barman = slotOf('barman', { active: false, keptBytes: 2e9 });
    const seen = { ...SLOT_GAP, plugin: null, database: null, failover: false, active: true, lsn: null };
    const slots = [{ ...seen, name: barman.name, invalidation: null }];
    const there = { leader: { slots: [slotOf(REPLICA), { ...barman, keptBytes: 0 }] } };
    const copied = { ...there, database: { slots: [slotOf(PRIMARY), barman] } };
    expect(codes({ ...copied, cluster: { clientSlots: { slots, gaps: [] } } })).toEqual([]);
    expect(codes(copied)).toEqual(['SLOT_KEEPS_WAL']);
  });

  it.each(SHOWN)('names %s alone', (code, change) => expect(codes(change)).toEqual([code]));

  it('takes it for well that a report replica is not counted and that its readers delay it, but not for longer', () => {
    const report = (lagSeconds: number) => codes({ replicaStatus: { sync: 'no', reports: true, lagSeconds } });
    expect(report(31)).toEqual([]);
    expect(report(60)).toEqual(['LAG']);
  });

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
        expect.arrayContaining(named(/(?<!group )docker (network (?:dis)?connect|system df|(?!-)[a-z]+)/g)),
      );
    },
  );

  it.each<[string, FindingCode[], Change]>([
    [
      'names a disk or a hung PostgreSQL even when both are',
      ['DISK_FULL'],
      { replica: { disk: { freeBytes: 0, usedPercent: 100 }, database: null } },
    ],
    [
      'names no password where HAProxy has another address',
      ['NETWORK_WRONG'],
      {
        proxyContainer: { wrongNetworks: [{ ...INNER, problem: 'with another address' }] },
        all: { login: { kind: 'failed', code: '28000', message: 'pg_hba.conf rejects' } },
      },
    ],
    [
      'leaves out what follows from a cause',
      ['HAPROXY_STOPPED'],
      {
        proxyContainer: { state: 'exited' },
        cluster: { serving: false },
        all: { haproxy: undefined, login: undefined, ports: [{ ...PORT, published: false }] },
      },
    ],
    [
      'finds nothing in what holds no rows for long, was promoted again long ago, or belongs to an asynchronous stack',
      [],
      {
        leader: {
          holders: [{ kind: 'session', pid: 7, role: 'app', database: 'app', seconds: 3_000 }],
          slots: [slotOf(REPLICA, { heldSeconds: 3_000 })],
          commitSettings: [{ role: 'app', database: null, value: 'off' }],
        },
        cluster: { events: PROMOTED_AGAIN, syncMode: 'asynchronous' },
      },
    ],
    [
      'finds no news in an earlier promotion by hand once the standby follows again',
      [],
      { cluster: { events: [PROMOTED_BY_HAND] } },
    ],
  ])('%s', (_, expected, change) => expect(codes(change)).toEqual(expected));

  it('puts errors before warnings, and the worst one tells the exit code', () => {
    expect(exitCode(found({ standbyContainer: { state: 'exited' } }))).toBe(EXIT.attention);
    const both = found({ standbyContainer: { state: 'exited' }, proxyContainer: { state: 'exited' } });
    expect(both.map(({ severity }) => severity)).toEqual(['error', 'warning']);
    expect(exitCode(both)).toBe(EXIT.failed);
  });

  /** What the command says of a stack, and its exit code. */
  async function said(change: Change, json = false) {
    const { io, said } = fakeIo('http://127.0.0.1:1');
    said.code = await doctor(io, { stack: 'dev', json }, async () => changed(change));
    return said;
  }

  it('says for whom synchronous_commit is lowered, how to raise it, and that their writes are not covered', async () => {
    const commitSettings = [
      { role: 'a"; DROP ROLE b; --', database: null, value: 'off' },
      { role: 'app', database: 'd', value: 'local' },
      { role: null, database: 'd', value: 'remote_write' },
      { role: null, database: null, value: 'false' },
    ];
    const { code, out } = await said({ leader: { commitSettings } });
    expect(code).toBe(EXIT.attention);
    const steps = out.filter((line) => line.includes('RESET'));
    expect(steps.map((line) => line.replace(/.*then: /, ''))).toEqual([
      'ALTER ROLE "a""; DROP ROLE b; --" RESET synchronous_commit',
      'ALTER ROLE "app" IN DATABASE "d" RESET synchronous_commit',
      'ALTER DATABASE "d" RESET synchronous_commit',
      'ALTER ROLE ALL RESET synchronous_commit',
    ]);
    expect(out.at(-1)).toMatch(/^If the leader died now: .*, except for what SYNC_COMMIT_LOWERED names$/);
  });

  it('says that the archive did not answer, which is no finding', async () => {
    const answer: Answer = { kind: 'unknown', reason: 'no answer within 30 s' };
    const { code, err } = await said({ all: { updates: [{ containers: [PRIMARY], answer }] } });
    expect([code, err]).toEqual([EXIT.ok, [expect.stringContaining('not known: Debian')]]);
  });

  it('shows what PostgreSQL said as text, so that it steers no terminal', async () => {
    const { out } = await said({ replica: { database: null, message: 'FATAL \x1b[2J\r\nall is well' } });
    expect(out[0]).toContain('(FATAL \\x1b[2J | all is well)');
  });

  it('has no character in its JSON that steers a terminal, also none that JSON leaves as it is', async () => {
    const role = 'x\x9b2J\u202e\n\x1b]0;title\x07';
    const commitSettings = [{ role, database: null, value: 'off' }];
    const { out } = await said({ leader: { commitSettings } }, true);
    expect(out.join('').replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(JSON.parse(out.join('\n')).findings[0].sentence).toContain('x\\x9b2J\\u202e | \\x1b]0;title\\x07');
  });

  it('says the next step, names a pause on stderr, and prints JSON', async () => {
    const change: Change = { standbyContainer: { state: 'paused' }, cluster: { pause: PAUSE } };
    const { code, out, err } = await said(change);
    expect(code).toBe(EXIT.attention);
    expect(out).toContain(`  → docker unpause ${REPLICA}`);
    expect(err).toEqual([expect.stringContaining('PAUSED since')]);
    expect(JSON.parse((await said(change, true)).out.join('\n')).findings).toHaveLength(2);
  });
});

describe('what doctor reads', () => {
  it.each<[string, Parameters<typeof networkFact>, string | null | undefined]>([
    ['is as it should be', [{ ...FIXED }, { IPAMConfig: { IPv4Address: '10.0.0.10' } }], undefined],
    ['is not connected', [{ ...FIXED }, undefined], null],
    [
      'has an address that the engine chose',
      [{ ...FIXED }, { IPAddress: '10.0.0.2' }],
      '10.0.0.2 instead of 10.0.0.10',
    ],
    [
      'has another fixed address',
      [{ ...FIXED }, { IPAMConfig: { IPv4Address: '10.0.0.3' }, IPAddress: '10.0.0.3' }],
      '10.0.0.3 instead of 10.0.0.10',
    ],
    [
      'has no name for the others',
      [{ name: 'front', alias: 'haproxy' }, { Aliases: ['0a1b'] }],
      'without its name haproxy',
    ],
    ['has its name', [{ name: 'front', alias: 'haproxy' }, { Aliases: ['haproxy', '0a1b'] }], undefined],
    ['may have any address', [{ name: 'front' }, { IPAddress: '172.18.0.9' }], undefined],
  ])('of a network that a container %s', (_, args, problem) => {
    const fact = networkFact(...args);
    if (typeof problem === 'string') expect(fact?.problem).toContain(problem);
    else expect(fact === null ? undefined : fact.problem).toBe(problem);
    expect(fact?.options ?? '').toBe(fact === null ? '' : args[0].alias ? '--alias haproxy ' : '--ip 10.0.0.10 ');
  });

  it('which container publishes which port', () => {
    const poolRoles = JSON.stringify({ report: VERIFIER });
    const parts = { monitoring: 'true', pgadmin: 'true', pooler: 'true', poolRoles };
    const { settings } = checkConfig({ ...parts, namePrefix: 'x-' });
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
      poolPort: 'x-pooler',
      'poolRoles (report)': 'x-pooler',
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
