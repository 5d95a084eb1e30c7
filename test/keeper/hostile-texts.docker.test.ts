/**
 * A real pair whose clients write into PostgreSQL's log whatever once meant something to a keeper: as user, database,
 * application, statement and error, with a password and without, to the leader and to the standby. And people who give
 * hostile names to all that has a name, and who hold and make as much as PostgreSQL lets them. Nothing comes of it: the
 * standby streams on from the data that it has, nothing restarts, no line of the container's log is forged, and what
 * `doctor` prints is text.
 */
import { execFile } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { connect } from 'node:net';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { doctor } from '../../cli/doctor/command';
import type { Facts } from '../../cli/doctor/facts';
import { lookAtNode, queryFor } from '../../cli/doctor/nodes';
import { slotName } from '../../failover/contract/naming';
import { fakeIo } from '../cli/console';
import { healthyCluster } from '../rig/healthy-cluster';
import { docker, NodePair, psql } from './node-containers';

const execute = promisify(execFile);

const pair = new NodePair({
  ...{ prefix: 'hst', subnet: '10.211.16', port: 17_480 },
  postgresSettings: { max_prepared_transactions: '10' },
});
const { a: A, b: B, monitor, address: ADDRESS, settings: SETTINGS, streams } = pair;
const CONNECT_LIMIT_MS = 5_000;
const CLIENTS = 8;
/** PostgreSQL keeps 63 bytes of a name. */
const NAME_MAX = 63;
/** Process id of the forged lines: no process here has it. */
const FORGED_PID = 4_194_999;
const MARK = 'hostile-mark';

const SEGMENT = '000000010000000000000001';
/** What a keeper once believed, as PostgreSQL says it. */
const MESSAGES = [
  `requested WAL segment ${SEGMENT} has already been removed`,
  'requested WAL segment x has already been removed',
  'highest timeline 1 of the primary is behind recovery timeline 2',
  "requested starting point 0/1 on timeline 1 is not in this server's history",
  'requested starting point 0/1 is ahead of the WAL flush position',
  'new timeline 2 forked off current database system timeline 1 before current recovery point',
  'database system identifier differs between the primary and standby',
  'hot standby is not possible because of insufficient parameter settings',
  'recovery aborted because of insufficient parameter settings',
  'LOG:  record with incorrect prev-link 0/3 at 0/18A4DF0',
  'LOG:  invalid record length at 0/18A4DF0: expected at least 24, got 0',
  'LOG:  waiting for WAL to become available at 0/3000060',
  'LOG:  entering standby mode',
  'LOG:  archive recovery complete',
  'LOG:  database system is shut down',
  'FATAL:  could not map anonymous shared memory: Cannot allocate memory',
  'PANIC:  could not write to file "pg_wal/x": No space left on device',
];
/** Titles of PostgreSQL's own processes. */
const TITLES = [
  'startup',
  `startup recovering ${SEGMENT}`,
  `startup waiting for ${SEGMENT}`,
  'walsender',
  'walsender failover_replication 10.0.0.2(5) streaming 0/3000060',
  'x 10.0.0.2(5) authentication',
  'postgres: hst-b: startup',
];
const WHEN = '2026-11-29 20:08:56.170 UTC';
/** The same as whole lines: behind a line break, with a head like PostgreSQL's. */
const lines = (message: string) => [
  `x\n${WHEN} [${FORGED_PID}] ${message}`,
  `x\n${WHEN} [${FORGED_PID}] startup LOG:  ${message}`,
  `{"timestamp":"${WHEN}","pid":${FORGED_PID},"error_severity":"PANIC","message":"${message}","backend_type":"startup"}`,
];
const MARKS = ['%m [%p] %q%u@%d %b %s %n', '\u001b[2J\u001b[1;31m', 'x\r\ny', '\u202e\u2028', 'x'.repeat(200), '\\n\\'];
const TEXTS = [...MESSAGES, ...MESSAGES.flatMap(lines), ...TITLES, ...MARKS];

/** How the lines of a node's log begin. */
const HEADS = [
  new RegExp(
    `${/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC \[\d+\] ([a-z][a-z ]*|\(cut\)) /.source}${
      /(LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC|DETAIL|HINT|CONTEXT|STATEMENT): {2}/.source
    }`,
  ),
  /^PostgreSQL: \d+ lines (like the one above )?were left out/,
  /^\d{4}-\d\d-\d\dT\S+Z keeper: /,
];

/** All that a node's container printed, both streams. */
async function logOf(node: string): Promise<string> {
  const { stdout } = await execute('sh', ['-c', `docker logs ${node} 2>&1`], { maxBuffer: 256 * 1024 * 1024 });
  return stdout;
}

/** One start packet with these names; resolves with what came back when the server has ended the connection. */
function knock(node: string, names: Record<string, string>): Promise<string> {
  const pairs = Object.entries(names).map(([name, value]) => `${name}\0${value}\0`);
  const body = Buffer.from(`${pairs.join('')}\0`, 'utf8');
  const head = Buffer.alloc(8);
  head.writeInt32BE(body.length + 8, 0);
  head.writeInt32BE(196_608, 4);
  return new Promise((resolve, reject) => {
    let heard = '';
    const socket = connect(5432, ADDRESS[node] ?? '');
    socket.setTimeout(CONNECT_LIMIT_MS, () => socket.destroy(new Error('no answer')));
    socket.once('connect', () => socket.end(Buffer.concat([head, body])));
    socket.setEncoding('latin1').on('data', (text: string) => {
      heard += text;
    });
    socket.once('error', reject).once('close', () => resolve(heard));
  });
}

async function open(node: string, applicationName: string, database = SETTINGS.databaseName): Promise<Client> {
  const { databaseUser: user, databasePassword: password } = SETTINGS;
  const client = new Client({
    ...{ host: ADDRESS[node], port: 5432, user, password, database },
    ...{ application_name: applicationName, query_timeout: 20_000 },
  });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`;
const named = (text: string) => `"${text.replaceAll('"', '""')}"`;

/** Statements that bring a text into the log, as a statement, an error or a line of any severity. */
function statements(text: string): string[] {
  const raise = (level: string) => `DO $do$ BEGIN RAISE ${level} '%', ${quoted(text)}; END $do$`;
  return [
    `SELECT ${quoted(text)}::int`,
    `SELECT 1 FROM ${named(text.slice(0, NAME_MAX))}`,
    `/* ${text.replaceAll('*/', '')} */ SELECT 1/0`,
    `SET application_name = ${quoted(text)}`,
    ...['LOG', 'WARNING', 'EXCEPTION'].map(raise),
  ];
}

async function inTurn<T>(work: readonly T[], atOnce: number, act: (item: T) => Promise<unknown>): Promise<void> {
  const left = [...work];
  const one = async () => {
    for (let item = left.pop(); item !== undefined; item = left.pop()) await act(item);
  };
  await Promise.all(Array.from({ length: atOnce }, one));
}

interface Standing {
  dataIds: (string | null | undefined)[];
  started: string[];
}

const standing = async (): Promise<Standing> => ({
  dataIds: [A, B].map((node) => monitor.view(node).status?.dataId),
  started: await Promise.all([A, B].map((node) => psql(node, 'SELECT pg_postmaster_start_time()'))),
});

let before: Standing;
/** What is known to have been told when all was well. */
let told: Record<string, number> = {};
/** Statuses of the standby in which it did not stream. */
const broken: string[] = [];
let watching: NodeJS.Timeout | undefined;

/** Nothing came of it: also not a moment later, when each keeper has looked several times. */
async function unmoved(): Promise<void> {
  const n = monitor.view(B).status?.n ?? 0;
  await monitor.until(B, (s) => s.n > n + 3, 'goes on telling', 20_000);
  const notes = [A, B].flatMap((node) => monitor.view(node).notes.slice(told[node]));
  expect(notes).toEqual([]);
  expect(broken).toEqual([]);
  expect(await standing()).toEqual(before);
  const [lsn] = (await psql(A, 'SELECT pg_current_wal_flush_lsn()')).split('\n');
  await expect.poll(() => psql(B, `SELECT pg_last_wal_replay_lsn() >= '${lsn}'`), { timeout: 20_000 }).toBe('t');
}

beforeAll(async () => {
  await pair.start();
  monitor.order(B, 1, { kind: 'follow', leader: A, method: 'stream' });
  await monitor.until(B, streams, 'streams', 20_000);
  await monitor.done(A, 1, { kind: 'lead', sync: { leader: A, k: 1, members: [B] } });
  told = Object.fromEntries([A, B].map((node) => [node, monitor.view(node).notes.length]));
  before = await standing();
  watching = setInterval(() => {
    const status = monitor.view(B).status;
    if (status?.postgres.streamingFrom !== A) broken.push(JSON.stringify(status?.postgres));
  }, 20);
});

afterAll(async () => {
  clearInterval(watching);
  await pair.remove();
});

describe('what clients write', () => {
  it('moves nothing without a password, as user, database or application', async () => {
    const knocks = TEXTS.flatMap((text) =>
      [A, B].flatMap((node) => [
        [node, { user: text, database: 'x' }] as const,
        [node, { user: 'x', database: text }] as const,
        [node, { user: text.slice(0, NAME_MAX), database: text.slice(0, NAME_MAX), application_name: text }] as const,
        [node, { user: 'app', database: text, application_name: text }] as const,
      ]),
    );
    let answers = 0;
    await inTurn(knocks, CLIENTS, async ([node, names]) => {
      // An answer that is cut off by the end of the connection counts as well: the line was written.
      await knock(node, names).then(
        () => {
          answers += 1;
        },
        () => undefined,
      );
    });
    expect(answers).toBeGreaterThan(knocks.length * 0.9);
    await unmoved();
  });

  it('moves nothing with a password, as statement, error or message of any severity', async () => {
    for (const node of [A, B]) {
      await inTurn(TEXTS, CLIENTS, async (text) => {
        const client = await open(node, text);
        for (const statement of statements(text)) await client.query(statement).catch(() => undefined);
        await client.end();
      });
    }
    await unmoved();
  });

  it('moves nothing repeated hundreds of times, as a complaint about one record is', async () => {
    const complaint = `x\n${WHEN} [${FORGED_PID}] LOG:  record with incorrect prev-link 0/3 at 0/18A4DF0`;
    const client = await open(B, MARK);
    await client.query(`DO $do$ BEGIN FOR i IN 1..500 LOOP RAISE LOG '%', ${quoted(complaint)}; END LOOP; END $do$`);
    await client.end();
    await unmoved();
  });

  it('moves nothing in long messages of several clients at once, which share one pipe', async () => {
    const all = MESSAGES.flatMap(lines).join('\n');
    const rounds = Array.from({ length: CLIENTS * 6 }, (_, i) => ({
      node: i % 2 === 0 ? A : B,
      length: randomInt(1, 60_000),
    }));
    await inTurn(rounds, CLIENTS, async ({ node, length }) => {
      const client = await open(node, MARK);
      const text = `${MARK}${'y'.repeat(length)}\n${all}\n${'z'.repeat(randomInt(1, 6_000))}\n${all}`;
      for (const level of ['LOG', 'WARNING', 'EXCEPTION']) {
        await client.query(`DO $do$ BEGIN RAISE ${level} '%', ${quoted(text)}; END $do$`).catch(() => undefined);
      }
      await client.end();
    });
    await unmoved();
  });

  it('begins no line of the log, which shows it nevertheless', async () => {
    for (const node of [A, B]) {
      const shown = (await logOf(node)).split('\n').filter((line) => line !== '');
      expect(shown.filter((line) => line.includes(MARK)).length).toBeGreaterThan(CLIENTS);
      expect(shown.filter((line) => line.startsWith(`${WHEN} [${FORGED_PID}]`)).slice(0, 5)).toEqual([]);
      expect(shown.filter((line) => !HEADS.some((head) => head.test(line))).slice(0, 5)).toEqual([]);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there
      expect(shown.filter((line) => /[\u0000-\u001f\u007f-\u009f]/.test(line)).slice(0, 5)).toEqual([]);
    }
  });
});

/** Names that are no plain words; PostgreSQL takes each of them for a role, a database, a table or a channel. */
const NAMES = [
  `it's "quoted"`,
  'line\nbreak\r\ttab',
  '\u001b[2J\u001b]0;title\u0007\u009b31m',
  '<img src=x onerror="alert(1)">',
  '\u202eright to left\u2066',
  '\u{1f525}'.repeat(15),
  'x'.repeat(NAME_MAX),
  '{name} $1 %s \\ #{x}',
  'postgres: hst-a: startup',
  ' failover_monitor ',
  'pg_catalog',
];
/** Many of something, as an ordinary application may make them. */
const MANY = 10_000;
/** A status goes over the network up to five times a second. */
const STATUS_BYTES_MAX = 16_384;

/** Statements, each by itself, as the superuser of a person. */
async function bySuperuser(statements: readonly string[], database = 'postgres'): Promise<void> {
  const each = statements.flatMap((statement) => ['-c', statement]);
  await docker('exec', A, 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-U', 'postgres', '-d', database, ...each);
}

/** What `doctor` prints of these two nodes, as text and as JSON. */
async function saidByDoctor(): Promise<string[]> {
  const nodes = await Promise.all([A, B].map((node) => lookAtNode(node, queryFor('app', 'app'))));
  for (const { database } of nodes) {
    // What was begun a moment ago counts as forgotten.
    for (const holder of database?.holders ?? []) holder.seconds += 10_000;
  }
  const cluster = { ...healthyCluster(), leader: A, nodes: [] };
  const facts: Facts = {
    ...{ stack: 'hst', engine: { kind: 'answers', version: '27' }, containers: [], ports: [], clockMs: 0 },
    ...{ monitor: { cluster, healthy: true, message: '' }, application: { user: 'app', database: 'app' }, nodes },
    ...{ log: { file: '/f', there: true, freeBytes: 50e9 }, slotOf: slotName },
  };
  const texts = [false, true].map(async (json) => {
    const { io, said } = fakeIo('http://127.0.0.1:1');
    await doctor(io, { stack: 'hst', json }, async () => facts);
    return said.out;
  });
  return (await Promise.all(texts)).flat();
}

describe('what people name and make', () => {
  it('moves nothing as the name of whatever has one, and doctor shows it as text', async () => {
    const app = await open(A, MARK);
    const held: Client[] = [];
    for (const [at, name] of NAMES.entries()) {
      const [is, own] = [named(name), named(`${at}${name}`.slice(0, 40))];
      await bySuperuser([
        `CREATE ROLE ${own} LOGIN`,
        `COMMENT ON ROLE ${own} IS ${quoted(name)}`,
        `CREATE DATABASE ${own} OWNER app TEMPLATE template0`,
        `COMMENT ON DATABASE ${own} IS ${quoted(name)}`,
        `ALTER ROLE ${own} SET synchronous_commit = off`,
        `ALTER DATABASE ${own} SET search_path = ${is}`,
        `ALTER ROLE app IN DATABASE ${own} SET application_name = ${quoted(name)}`,
      ]);
      // A name that begins with pg_ is reserved for schemas.
      const schema = named(`s${name}`.slice(0, 40));
      for (const statement of [
        `CREATE SCHEMA ${schema}`,
        `CREATE TABLE ${schema}.${is} (${is} int)`,
        `COMMENT ON TABLE ${schema}.${is} IS ${quoted(name)}`,
        `CREATE DOMAIN ${schema}.${named('int8')} AS text`,
        `LISTEN ${is}`,
        `NOTIFY ${is}, ${quoted(name)}`,
        `SET application_name = ${quoted(name)}`,
        `PREPARE ${is} AS SELECT 1`,
      ])
        await app.query(statement);
      if (at < 9) {
        await app.query('BEGIN');
        await app.query(`CREATE TABLE ${schema}.prepared ()`);
        await app.query(`PREPARE TRANSACTION ${quoted(name)}`);
      }
      const client = await open(A, name, `${at}${name}`.slice(0, 40));
      held.push(client);
      await client.query(`BEGIN; SELECT txid_current(); DECLARE ${is} CURSOR FOR SELECT 1`);
    }
    // Of a name with a character of several bytes, less than 63 bytes are left.
    const printed = await saidByDoctor();
    expect(printed.filter((line) => line.includes('SYNC_COMMIT_LOWERED')).length).toBeGreaterThan(NAMES.length - 1);
    expect(printed.filter((line) => /TRANSACTION_OLD|PREPARED_OLD/.test(line)).length).toBeGreaterThan(1);
    expect(printed.filter((line) => /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(line))).toEqual([]);
    await unmoved();
    const gids = await app.query<{ gid: string }>('SELECT gid FROM pg_prepared_xacts');
    for (const { gid } of gids.rows) await app.query(`ROLLBACK PREPARED ${quoted(gid)}`);
    for (const client of [app, ...held]) await client.end();
  });

  it('moves nothing by the thousand, and a status stays small', async () => {
    const times = (statement: string) => `DO $do$ BEGIN FOR i IN 1..${MANY} LOOP ${statement}; END LOOP; END $do$`;
    const app = await open(A, MARK);
    await bySuperuser([
      times(`EXECUTE 'CREATE ROLE many_' || i`),
      times(`EXECUTE 'ALTER ROLE many_' || i || ' SET synchronous_commit = on'`),
    ]);
    await app.query('LISTEN flood');
    await app.query(times(`PERFORM pg_notify('flood', i::text)`));
    await app.query(times('PERFORM pg_advisory_lock(i % 1000)'));
    await app.query(
      `DO $do$ BEGIN FOR i IN 1..1000 LOOP EXECUTE 'CREATE TABLE many_' || i || ' ()'; END LOOP; END $do$`,
    );
    await unmoved();
    for (const node of [A, B]) {
      expect(JSON.stringify(monitor.view(node).status).length).toBeLessThan(STATUS_BYTES_MAX);
    }
    // The settings that lower the promise are found among all those that do not.
    const lowered = (await saidByDoctor()).filter((line) => line.includes('[SYNC_COMMIT_LOWERED]'));
    expect(lowered.length).toBeGreaterThan(NAMES.length - 1);
    await app.end();
  });

  it('lets the application reach nothing of the failover’s in the database of the failover', async () => {
    const app = await open(A, MARK, 'postgres');
    const allowed: string[] = [];
    const pids = `(SELECT pid FROM pg_stat_activity WHERE application_name = 'hst-a-keeper' LIMIT 1)`;
    for (const statement of [
      ...['LOCK TABLE failover.canary', 'TABLE failover.canary', 'SELECT last_value FROM failover.beat'],
      ...[`SELECT setval('failover.beat', 1)`, `SELECT nextval('failover.beat')`, 'DROP SCHEMA failover CASCADE'],
      ...['CREATE TABLE failover.x ()', 'CREATE TABLE public.x ()', 'CREATE SCHEMA x', 'LOCK TABLE pg_authid'],
      ...[
        'LOCK TABLE pg_class',
        'LOCK TABLE pg_database IN SHARE MODE',
        'REINDEX TABLE pg_authid',
        'ALTER SYSTEM RESET ALL',
      ],
      ...[`SELECT pg_terminate_backend(pid) FROM ${pids} s`, `SELECT pg_cancel_backend(pid) FROM ${pids} s`],
      ...['SELECT pg_reload_conf()', 'SELECT pg_switch_wal()', `SELECT pg_create_restore_point('x')`, 'CHECKPOINT'],
      ...[`SELECT pg_create_physical_replication_slot('x')`, `SELECT pg_drop_replication_slot('hst_b')`],
      ...[`COPY (SELECT 1) TO PROGRAM 'true'`, `SELECT pg_read_file('PG_VERSION')`, 'SET event_triggers = off'],
      ...['SET session_replication_role = replica', 'SET SESSION AUTHORIZATION postgres', 'SET ROLE failover_keeper'],
      ...[
        'ALTER ROLE ALL SET search_path = x',
        'ALTER DATABASE postgres SET search_path = x',
        'DROP DATABASE template1',
      ],
    ]) {
      await app.query(`BEGIN`);
      await app.query(statement).then(
        () => allowed.push(statement),
        () => undefined,
      );
      await app.query('ROLLBACK');
    }
    expect(allowed).toEqual([]);
    // What every role may do there: temporary objects with the names of PostgreSQL's own, and locks of its own.
    await app.query('CREATE TEMP TABLE pg_class (oid int); CREATE TEMP VIEW pg_authid AS SELECT 1 AS oid');
    await app.query('CREATE DOMAIN pg_temp.text AS int; SELECT pg_advisory_lock(1)');
    await app.query('VACUUM FULL pg_catalog.pg_class');
    await unmoved();
    await app.end();
  });
});
