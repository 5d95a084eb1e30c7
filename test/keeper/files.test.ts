import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { laterLsn, parseLsn } from '../../failover/contract/lsn';
import { slotName } from '../../failover/contract/naming';
import { KEY_ITERATIONS, newVerifier } from '../../failover/contract/scram';
import { SLOT_BYTES } from '../../failover/disk/two-slot-file';
import { EMPTY_STATE } from '../../failover/keeper/keeper-state';
import { StateFolder } from '../../failover/keeper/memory';
import {
  conninfo,
  renderFailoverConf,
  renderPgHba,
  renderPostgresqlConf,
  sizing,
} from '../../failover/keeper/postgres/config-files';
import { barrierNames, syncNames } from '../../failover/keeper/sync';
import { testFolder } from '../rig/folder';
import { SETTINGS } from './fakes';

const PLACE = { port: 5432, passfile: '/p' };

describe('the rendered configuration', () => {
  it('is the golden one for a node of 512 MB', () => {
    const settings = {
      ...SETTINGS,
      postgresSettings: { work_mem: '8MB', "log_line'prefix": 'x', 'auto_explain.level': "a'b" },
    };
    expect(renderPostgresqlConf('postgres-primary', settings, 512 * 1024 * 1024)).toMatchSnapshot();
    expect(renderPgHba({ ...SETTINGS, databaseUser: 'all' })).toMatchSnapshot();
    const upstream = { name: 'b', address: '10.0.0.21' };
    expect(
      renderFailoverConf({ ...PLACE, node: 'postgres-replica-1' }, { settings, upstream, syncNames: '' }),
    ).toMatchSnapshot();
    expect(
      renderFailoverConf({ ...PLACE, node: 'a' }, { settings, upstream: null, syncNames: 'ANY 1 ("b")' }),
    ).toMatchSnapshot();
  });

  it('copies logical slots, and holds consumers back, only on a server that was started with them', () => {
    const [place, settings] = [{ ...PLACE, node: 'a' }, SETTINGS];
    const upstream = { name: 'b', address: '10.0.0.2' };
    const logical = { logical: true };
    const standby = renderFailoverConf(place, { settings, upstream, syncNames: '' }, 0, logical);
    expect(standby).toContain('sync_replication_slots = on\n');
    expect(standby).toContain("dbname=''postgres''");
    const leader = renderFailoverConf(
      place,
      { settings, upstream: null, syncNames: '', consumerSlots: 'b' },
      0,
      logical,
    );
    expect(leader).toContain("sync_replication_slots = off\nsynchronized_standby_slots = 'b'\n");
    const plain = renderFailoverConf(place, { settings, upstream, syncNames: '', consumerSlots: 'b' });
    expect(plain).not.toMatch(/_slots|dbname/);
  });

  it('lets readers delay replay for long only where no write waits for the node (S16)', () => {
    const config = { settings: SETTINGS, upstream: { name: 'b', address: '10.0.0.21' }, syncNames: '' };
    const delays = (text: string) => text.split('\n').filter((line) => line.startsWith('max_standby_'));
    const late = renderFailoverConf({ ...PLACE, node: 'a' }, { ...config, lateReplay: true });
    expect(delays(late)).toEqual(['max_standby_streaming_delay = 30s', 'max_standby_archive_delay = 30s']);
    expect(delays(renderFailoverConf({ ...PLACE, node: 'a' }, config))).toEqual([]);
    // It comes last, so its values count.
    expect(renderPostgresqlConf('a', SETTINGS, null).trimEnd().split('\n').at(-1)).toBe("include 'failover.conf'");
  });

  it('lets roles with REPLICATION in from the gate alone, and only where the stack has a port for them', () => {
    const lines = (settings: typeof SETTINGS) =>
      renderPgHba(settings)
        .split('\n')
        .filter((line) => line.includes('pg_hba.replicators'));
    expect(lines(SETTINGS)).toEqual([]);
    expect(lines({ ...SETTINGS, replication: { leaseMs: 2_000 } }).map((line) => line.replaceAll(/ +/g, ' '))).toEqual([
      'host replication @pg_hba.replicators 127.0.0.2/32 scram-sha-256',
      'host all @pg_hba.replicators 127.0.0.2/32 scram-sha-256',
    ]);
  });

  it('follows the memory limit and stays modest without one', () => {
    expect(sizing(null)).toEqual({ sharedBuffers: '256MB', maxConnections: 200 });
    expect(sizing(128 * 1024 * 1024)).toEqual({ sharedBuffers: '32MB', maxConnections: 100 });
    expect(sizing(64 * 1024 ** 3)).toEqual({ sharedBuffers: '8192MB', maxConnections: 200 });
  });

  it('quotes names and passwords of any kind', () => {
    expect(conninfo(PLACE, '10.0.0.1', "it's")).toContain(`application_name='it\\'s'`);
    const both = "options='-c idle_session_timeout=0 -c wal_sender_timeout=5min'";
    expect(conninfo(PLACE, '10.0.0.1', 'a', {}, '-c wal_sender_timeout=5min')).toContain(both);
    expect(slotName('postgres-replica-1')).toBe('postgres_replica_1');
    expect(syncNames({ leader: 'a', k: 2, members: ['b', 'c'] })).toBe('ANY 2 ("b", "c")');
    expect(barrierNames({ leader: 'a', k: 1, members: ['b'] })).toBe('ANY 2 ("b", "failover-barrier")');
    expect(barrierNames({ leader: 'a', k: 0, members: [] })).toBe('');
  });
});

describe('positions', () => {
  it('are compared as numbers, not as text', () => {
    expect(parseLsn('1/0') > parseLsn('0/FFFFFFFF')).toBe(true);
    expect(laterLsn('0/A0', '0/9F')).toBe('0/A0');
    expect(laterLsn(null, '0/9F')).toBe('0/9F');
    expect(() => parseLsn('x')).toThrow('"x" is not a write-ahead log position');
  });
});

describe('SCRAM verifiers', () => {
  it('are made new only for another password', async () => {
    const stored = await newVerifier('12345', null);
    expect(stored).toMatch(/^SCRAM-SHA-256\$4096:/);
    expect(await newVerifier('12345', stored)).toBeNull();
    expect(await newVerifier('12346', stored)).not.toBeNull();
    expect(await newVerifier('12345', 'md5abc')).not.toBeNull();
  });

  it('of a derived key take one iteration, and are made new when they took more', async () => {
    const stored = await newVerifier('12345', null);
    const quick = await newVerifier('12345', stored, KEY_ITERATIONS);
    expect(quick).toMatch(/^SCRAM-SHA-256\$1:/);
    expect(await newVerifier('12345', quick, KEY_ITERATIONS)).toBeNull();
  });
});

describe('the state on the volume', () => {
  let folder = '';
  beforeEach(() => {
    folder = testFolder();
  });

  const state = (term: number) => ({
    ...EMPTY_STATE,
    accepted: { incarnation: 1, term, seq: term, target: { kind: 'freeze' as const } },
  });

  it('is what was saved last, also when the last write was torn', async () => {
    expect(await new StateFolder(folder).load()).toEqual(EMPTY_STATE);
    const files = new StateFolder(folder);
    await files.load();
    for (const term of [1, 2, 3]) await files.save(state(term));
    expect(await new StateFolder(folder).load()).toEqual(state(3));
    const path = join(folder, 'state');
    const bytes = readFileSync(path);
    bytes.fill(0x78, SLOT_BYTES + 100, SLOT_BYTES + 110); // the third save went to the second slot
    writeFileSync(path, bytes);
    expect(await new StateFolder(folder).load()).toEqual(state(2));
  });

  it('is never taken as new when it cannot be read', async () => {
    const files = new StateFolder(folder);
    await files.load();
    await files.save(state(1));
    writeFileSync(join(folder, 'state'), Buffer.alloc(2 * SLOT_BYTES, 0x78));
    await expect(new StateFolder(folder).load()).rejects.toThrow('no readable record');
  });
});
