/**
 * Clients of replication on real nodes: pg_basebackup, pg_receivewal and psql come in through the leader's gate, from a
 * container that has HAProxy's address. None of them counts as a standby, uses a standby's slot or delays a hand-over.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PORTS } from '../../failover/contract/layout';
import type { Status } from '../../failover/contract/messages';
import { slotName } from '../../failover/contract/naming';
import { run } from '../../scripts/lib/exec';
import { waitFor } from '../rig/wait';
import { docker, dockerQuietly, NodePair } from './node-containers';

/** A checkpoint lets all write-ahead log go that no slot keeps. */
const KEEP_NOTHING = { wal_keep_size: '0', max_wal_size: '32MB', min_wal_size: '2MB', wal_level: 'logical' };
const pair = new NodePair({ prefix: 'gte', subnet: '10.211.95', port: 17_495, postgresSettings: KEEP_NOTHING });
const { a: A, b: B, monitor, streams } = pair;
const CLIENT = 'gte-client';
const CLIENT_ADDRESS = '10.211.95.30';
const NAME = 'replication client';
/** A limit, not an expectation: the machine may be very busy, ms. */
const SOON_MS = 20_000;
/** A shutdown that waits for a receiver takes more than a second. */
const STOPPED_LIMIT_MS = 900;
const both = { leader: A, k: 1, members: [B] };

const psql = (text: string, node = A) => docker('exec', node, 'psql', '-XAtq', '-U', 'postgres', '-c', text);

/** Runs a program as a client. Resolves with its exit code and all that it said. */
async function client(env: Readonly<Record<string, string>>, ...command: string[]) {
  const given = Object.entries({ PGPASSWORD: 'r', PGCONNECT_TIMEOUT: '5', ...env });
  const args = ['exec', ...given.flatMap(([name, value]) => ['-e', `${name}=${value}`]), CLIENT, ...command];
  const { code, stdout, tail } = await run('docker', args, { deadlineMs: 60_000 });
  return { code, said: `${stdout}${tail.join('\n')}` };
}

/** A connection string for the gate. */
const gate = (more: string, user = 'tools') => `host=${pair.address[A]} port=${PORTS.gate} user=${user} ${more}`;
const asks = (conninfo: string, ...texts: string[]) =>
  client({}, 'psql', '-XAt', '-d', conninfo, ...texts.flatMap((text) => ['-c', text]));
const background = (env: string, command: string) =>
  docker('exec', '-d', CLIENT, 'sh', '-c', `PGPASSWORD=r ${env} exec ${command} >/tmp/heard 2>&1`);
const receiver = () => docker('exec', CLIENT, 'pgrep', '-x', 'pg_receivewal');

beforeAll(async () => {
  monitor.settle({ ...pair.settings, haproxyAddress: CLIENT_ADDRESS, replication: { leaseMs: 2_000 } });
  await pair.start();
  await docker(
    ...['run', '-d', '--init', '--name', CLIENT, '--network', 'gte-inner', '--ip', CLIENT_ADDRESS, '--cap-drop', 'ALL'],
    ...[pair.image, 'sleep', 'infinity'],
  );
  await monitor.done(A, 1, { kind: 'lead', sync: both });
  await psql(`CREATE TABLE rows (n int); CREATE ROLE plain LOGIN PASSWORD 'r';
    CREATE ROLE tools LOGIN REPLICATION PASSWORD 'r'; CREATE ROLE boss LOGIN REPLICATION SUPERUSER PASSWORD 'r'`);
});

afterAll(async () => {
  if (process.env.KEEP_NODES !== undefined) return;
  await dockerQuietly('rm', '-f', '-v', CLIENT);
  await pair.remove();
});

describe('a client of replication', () => {
  it('finds a gate on the opened leader alone', async () => {
    expect((await asks(gate('dbname=app'), 'SELECT 1')).said).toContain('refused');
    monitor.archivist = { node: A, term: 1 };
    await waitFor('the role is let in', SOON_MS, async () => (await asks(gate('dbname=app'), 'SELECT 1')).code === 0);
    expect((await asks(`host=${pair.address[B]} port=${PORTS.gate} user=tools`, 'SELECT 1')).said).toContain('refused');
  });

  it('is a role with REPLICATION that is no superuser, and gets in nowhere else', async () => {
    for (const role of ['plain', 'boss', 'failover_replication', 'failover_keeper', 'postgres'])
      expect((await asks(gate('dbname=app', role), 'SELECT 1')).said).toContain('pg_hba.conf');
    expect((await asks(gate('replication=true', 'plain'), 'IDENTIFY_SYSTEM')).said).toContain('pg_hba.conf');
    const past = `host=${pair.address[A]} user=tools`;
    expect((await asks(`${past} dbname=app`, 'SELECT 1')).said).toContain('pg_hba.conf');
    expect((await asks(`${past} replication=true`, 'IDENTIFY_SYSTEM')).said).toContain('pg_hba.conf');
    expect((await asks(gate('replication=true'), 'IDENTIFY_SYSTEM')).code).toBe(0);
  });

  it('makes a base backup that is whole', async () => {
    const made = await client({}, 'pg_basebackup', '-d', gate(''), '-D', '/tmp/copy', '-X', 'stream', '-c', 'fast');
    expect(made).toMatchObject({ code: 0 });
    expect(await docker('exec', CLIENT, 'pg_verifybackup', '/tmp/copy')).toContain('successfully verified');
  });

  it('keeps its name, and uses no slot of the failover', async () => {
    const renamed = await asks(gate('replication=database dbname=app'), `SET application_name = '${B}'`, 'SELECT 1');
    expect(renamed.said).toContain('keeps its application_name');
    const named = gate(`replication=true application_name=${B} options='-c application_name=${B}'`);
    expect((await asks(named, 'SHOW application_name')).said.split('\n')[0]).toBe(`${NAME} ${B}`);
    for (const text of [`DROP_REPLICATION_SLOT ${slotName(B)}`, `READ_REPLICATION_SLOT "${slotName(B)}"`])
      expect((await asks(gate('replication=true'), text)).said).toContain('belongs to the failover');
    expect(await psql('SELECT count(*) FROM pg_replication_slots WHERE active')).toBe('1');
  });

  it('releases no commit, whatever it calls itself, and delays no shutdown', async () => {
    expect((await client({}, 'pg_receivewal', '-d', gate(''), '--create-slot', '--slot', 'people')).code).toBe(0);
    await background(`PGAPPNAME=${B}`, `pg_receivewal -d '${gate('')}' -D /tmp --slot people --synchronous --no-loop`);
    const seen = `SELECT sync_state FROM pg_stat_replication WHERE application_name = '${NAME} ${B}'`;
    await waitFor('it streams', SOON_MS, async () => (await psql(seen)) === 'async');
    await docker('pause', B);
    const commit = psql('INSERT INTO rows VALUES (1)');
    let acknowledged = false;
    void commit.then(() => {
      acknowledged = true;
    });
    const flushed = `SELECT flush_lsn >= pg_current_wal_flush_lsn() - 200
      FROM pg_stat_replication WHERE application_name = '${NAME} ${B}'`;
    const waits = `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`;
    await waitFor('the commit waits', SOON_MS, async () => (await psql(waits)) !== '0');
    await waitFor('it has the commit', SOON_MS, async () => (await psql(flushed)) === 't');
    expect(await psql(waits)).not.toBe('0');
    expect(acknowledged).toBe(false);
    await docker('unpause', B);
    await commit;

    await docker('exec', CLIENT, 'kill', '-STOP', await receiver());
    await psql("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 8000000))");
    await monitor.until(B, streams, 'streams', SOON_MS);
    const fromMs = performance.now();
    await monitor.done(A, 1, { kind: 'stop' });
    const tookMs = performance.now() - fromMs;
    console.log(`stop with a stopped receiver: ${Math.round(tookMs)} ms`);
    expect(tookMs).toBeLessThan(STOPPED_LIMIT_MS);
    await docker('exec', CLIENT, 'kill', '-CONT', await receiver());
    await waitFor('the receiver has ended', SOON_MS, async () => (await receiver().catch(() => '')) === '');
  });
});

describe('a slot that a person made', () => {
  const both2 = `host=${Object.values(pair.address).join(',')} port=${PORTS.gate} user=tools`;
  const slotOf = (name: string, node: string) =>
    psql(`SELECT coalesce(restart_lsn::text, '') FROM pg_replication_slots WHERE slot_name = '${name}'`, node);
  const isBehind = async (name: string) => {
    const [here, there] = [await slotOf(name, A), await slotOf(name, B)];
    return here !== '' && there !== '' && (await psql(`SELECT '${there}'::pg_lsn <= '${here}'::pg_lsn`)) === 't';
  };
  const marks = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `mark-${from + i}-`);
  /** Writes marks, each in a file of its own, which a checkpoint would let go. */
  const write = async (from: number, to: number, node: string) => {
    for (const mark of marks(from, to))
      await psql(`SELECT pg_logical_emit_message(false, 'm', '${mark}' || repeat('x', 9000)), pg_switch_wal()`, node);
    await psql('CHECKPOINT', node);
  };
  const read = () => background('PGCONNECT_TIMEOUT=2', `pg_receivewal -d '${both2}' -D /tmp/wal --slot reader`);
  const has = (wanted: string[]) =>
    waitFor('the reader has every mark', SOON_MS, async () => {
      const found = await docker('exec', CLIENT, 'sh', '-c', "cat /tmp/wal/* | grep -aoE 'mark-[0-9]+-' | sort -u");
      return wanted.every((mark) => found.split('\n').includes(mark));
    });

  it('is kept on the next leader, so that its reader has no gap, and stays dropped', async () => {
    await monitor.done(A, 2, { kind: 'lead', sync: both });
    monitor.archivist = { node: A, term: 2 };
    await monitor.done(B, 2, { kind: 'follow', leader: A, method: 'stream' }, SOON_MS);
    await docker('exec', CLIENT, 'mkdir', '-p', '/tmp/wal');
    await psql("SELECT pg_create_physical_replication_slot('dropped', true)");
    await waitFor('a role is let in', SOON_MS, async () => {
      const made = await client(
        {},
        'pg_receivewal',
        '-d',
        both2,
        '--create-slot',
        '--if-not-exists',
        '--slot',
        'reader',
      );
      return made.code === 0;
    });
    await read();
    await write(1, 2, A);
    await has(marks(1, 2));
    await waitFor('the standby has copies', SOON_MS, () => isBehind('reader'));
    await waitFor('the standby has copies', SOON_MS, () => isBehind('dropped'));
    await psql("SELECT pg_drop_replication_slot('dropped'), pg_drop_replication_slot('people')");
    await waitFor('the copy is dropped', SOON_MS, async () => (await slotOf('dropped', B)) === '');
    expect(monitor.view(B).notes.join('\n')).toContain('SLOT_DROPPED dropped: it was dropped on a leader');

    // While the reader is away, nodes let go what no slot keeps. Only PostgreSQL could copy this logical slot.
    await psql("SELECT pg_create_logical_replication_slot('cdc', 'pgoutput')");
    const isSeen = (s: Status) => s.clientSlots?.slots.some(({ name }) => name === 'cdc') === true;
    await monitor.until(A, isSeen, 'reports the logical slot', SOON_MS);
    await docker('exec', CLIENT, 'kill', await receiver());
    const file = await psql('SELECT pg_walfile_name(pg_current_wal_lsn())');
    await write(3, 4, A);
    const past = await psql('SELECT pg_current_wal_lsn()');
    await write(5, 6, A);
    await waitFor('the standby has all', SOON_MS, async () => {
      const end = await psql('SELECT pg_current_wal_flush_lsn()');
      return (await psql(`SELECT pg_last_wal_replay_lsn() >= '${end}'::pg_lsn`, B)) === 't';
    });
    const keepers = `SELECT string_agg(slot_name, ' ') FROM pg_replication_slots WHERE restart_lsn < '${past}'`;
    await waitFor('the copy alone keeps the file', SOON_MS, async () => (await psql(keepers, B)) === 'reader');
    await psql('CHECKPOINT', B);
    const isThere = async () => (await psql(`SELECT count(*) FROM pg_ls_waldir() WHERE name = '${file}'`, B)) === '1';
    expect(await isThere()).toBe(true);
    await docker('kill', A);
    await monitor.done(B, 3, { kind: 'lead', sync: { leader: B, k: 0, members: [] } }, SOON_MS);
    monitor.archivist = { node: B, term: 3 };
    await write(7, 8, B);
    await read();
    await has(marks(1, 8));
    await monitor.until(B, (s) => s.clientSlots?.term === 3, 'reports its slots', SOON_MS);
    expect(monitor.view(B).notes.join('\n')).not.toMatch(/SLOT_GAP|SLOT_LOST reader/);
    // Nothing but the slot kept the file: it goes once the reader has it.
    await waitFor('the file goes', SOON_MS, async () => {
      await psql('CHECKPOINT', B);
      return !(await isThere());
    });
    // A logical slot without failover is lost, and the leader says so for as long as there is none of its name.
    expect(monitor.view(B).notes.join('\n')).toContain('SLOT_LOST cdc: without failover = true');
    const isLost = (s: Status) => s.clientSlots?.gaps.some(({ name, to }) => name === 'cdc' && to === null) === true;
    await monitor.until(B, isLost, 'reports the lost slot', SOON_MS);
    expect(await psql("SELECT slot_name FROM pg_replication_slots WHERE slot_name IN ('dropped', 'people')", B)).toBe(
      '',
    );
  }, 180_000);
});
