import { mkdir, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { printLsn } from '../../failover/contract/lsn';
import { dropStreamed, endOfBackup } from '../../failover/keeper/postgres/copy';
import { placeOf } from '../../failover/keeper/postgres/place';
import { walFileIn } from '../../failover/keeper/postgres/processes';
import { receivedUpTo } from '../../failover/keeper/postgres/receive-wal';
import { makeRoom, reserveFor, watchRoom } from '../../failover/keeper/postgres/room';
import { Server } from '../../failover/keeper/postgres/server';
import type { Session } from '../../failover/keeper/postgres/session';
import { ensureSlots, handOver, reserveSlot } from '../../failover/keeper/postgres/slots';
import {
  claimTablespaces,
  forgetTablespaces,
  locationsOf,
  makeFolders,
  mustHaveTablespaces,
  removeLeftTablespaces,
  removeTablespaces,
} from '../../failover/keeper/postgres/tablespaces';

const MB = 1024 * 1024;
const GB = 1024 * MB;

let volume: string;

beforeEach(async () => {
  volume = await mkdtemp(join(tmpdir(), 'keeper-copy-'));
});
afterEach(async () => {
  await rm(volume, { recursive: true, force: true });
});

describe('segments of write-ahead log', () => {
  /** Position up to which the volume has write-ahead log, with nothing but these files in it. */
  const received = async (segmentBytes: number, ...names: string[]) => {
    for (const name of await readdir(volume)) await rm(join(volume, name));
    for (const name of names) {
      await writeFile(join(volume, name), '');
      await truncate(join(volume, name), segmentBytes);
    }
    const { received: position } = await receivedUpTo(volume);
    return position === null ? null : printLsn(position);
  };

  it('are whole when they are no longer called partial', async () => {
    expect(await received(MB, '00000002.history', 'archive_status')).toBeNull();
    const names = ['000000020000000000000011', '000000010000000000000010', '000000020000000000000012.partial'];
    expect(await received(MB, ...names)).toBe('0/1200000');
    expect(await received(MB, ...names, '000000010000000000000013')).toBe('0/1400000');
    expect(await receivedUpTo(join(volume, 'none'))).toEqual({ received: null, segmentBytes: BigInt(MB) });
  });

  it('are counted across the places where the name turns over', async () => {
    expect(await received(MB, '000000020000000100000FFF')).toBe('2/0');
    expect(await received(MB, '000000020000000200000000')).toBe('2/100000');
    expect(await received(16 * MB, '000000020000000200000000')).toBe('2/1000000');
  });

  it('are told by the title of the startup process', () => {
    const file = '00000002000000000000001C';
    expect(walFileIn(`postgres: replica-1: startup recovering ${file}`)).toBe(file);
    expect(walFileIn(`postgres: replica-1: startup waiting for ${file}`)).toBe(file);
    expect(walFileIn('postgres: replica-1: startup ')).toBeNull();
    expect(walFileIn('postgres: replica-1: walreceiver streaming 0/1C000000')).toBeNull();
  });
});

describe('the manifest of a backup', () => {
  it('ends with the position up to which write-ahead log is needed', async () => {
    const files = Array.from({ length: 500 }, (_, i) => `{ "Path": "base/1/${i}", "Size": 8192 }`).join(',\n');
    const ranges = '{ "Timeline": 2, "Start-LSN": "0/1024E18", "End-LSN": "0/1428148" }';
    const text = `{ "Files": [\n${files}\n],\n"WAL-Ranges": [\n${ranges}\n],\n"Manifest-Checksum": "${'a'.repeat(64)}"}\n`;
    await writeFile(join(volume, 'backup_manifest'), text);
    expect(await endOfBackup(volume)).toBe('0/1428148');
  });

  it('without one is an error', async () => {
    await writeFile(join(volume, 'backup_manifest'), '{}');
    await expect(endOfBackup(volume)).rejects.toThrow('no range of write-ahead log');
  });
});

describe('the WAL that pg_basebackup itself receives', () => {
  it('is removed segment by segment, once it is whole', async () => {
    await mkdir(join(volume, 'archive_status'));
    const [whole, begun] = ['00000001000000000000000A', '00000001000000000000000B'];
    for (const name of [whole, begun, `archive_status/${whole}.done`]) await writeFile(join(volume, name), '');
    dropStreamed(volume);
    expect((await readdir(volume)).sort()).toEqual([begun, 'archive_status']);
    expect(await readdir(join(volume, 'archive_status'))).toEqual([]);
    dropStreamed(join(volume, 'none'));
  });
});

describe('what is found in the volume after the container died in the middle of a copy', () => {
  const server = () => new Server(placeOf('b', 'k'.repeat(48), volume), null);
  const made = async (folder: string, mark: string) => {
    await mkdir(join(volume, folder), { recursive: true });
    await writeFile(join(volume, folder, 'PG_VERSION'), mark);
  };
  const data = () => readFile(join(volume, 'data', 'PG_VERSION'), 'utf8');
  const onlyData = () => vi.waitFor(async () => expect(await readdir(volume)).toEqual(['data']), 5_000);

  it('is removed when the copy was not whole', async () => {
    for (const folder of ['data.new', 'data.wal']) await made(folder, 'half');
    await made('data', 'old');
    await server().tidy();
    await onlyData();
    expect(await data()).toBe('old');
  });

  it.each([
    ['before the old data is moved', { data: 'old', 'data.new': 'new' }],
    ['between the two', { 'data.old': 'old', 'data.new': 'new' }],
    ['before the old data is removed', { data: 'new', 'data.old': 'old' }],
    ['when an older copy left something', { data: 'old', 'data.new': 'new', 'data.old': 'older' }],
  ])('takes its place when it was whole: %s', async (_when, folders) => {
    for (const [folder, mark] of Object.entries(folders)) await made(folder, mark);
    const found = server();
    await found.swapIn();
    await found.tidy();
    await onlyData();
    expect(await data()).toBe('new');
  });
});

describe('room for a copy', () => {
  const place = () => placeOf('b', 'k'.repeat(32), volume);

  it('is kept in proportion', () => {
    expect(reserveFor(0)).toBe(128 * MB);
    expect(reserveFor(2 * GB)).toBe(128 * MB);
    expect(reserveFor(100 * GB)).toBe(5 * GB);
  });

  it('is refused before anything is removed', async () => {
    const removed: string[] = [];
    const tooSmall = makeRoom('a', 1e18, place(), async () => void removed.push('old'));
    await expect(tooSmall).rejects.toMatchObject({ code: 'DISK_TOO_SMALL' });
    await expect(tooSmall).rejects.toThrow(/^the copy of a needs \d+ bytes \(\d+ MB\), \d+ bytes \(\d+ MB\) are free/);
    expect(removed).toEqual([]);
    await expect(makeRoom('a', 0, place(), null)).resolves.toBeUndefined();
  });

  it('is watched: too little ends the copy once', async () => {
    const stop = new AbortController();
    const told: string[] = [];
    watchRoom('a', place(), 0, stop.signal, () => told.push('enough'));
    await new Promise<void>((resolve) => {
      watchRoom('a', place(), 1e18, stop.signal, (error) => {
        told.push(error.code);
        resolve();
      });
    });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(told).toEqual(['DISK_TOO_SMALL']);
    stop.abort();
  });
});

describe('tablespaces of a copy', () => {
  const place = (name: string) => join(volume, 'spaces', name);
  const filled = async (name: string, entry = 'PG_17_202406281') => {
    await mkdir(join(place(name), entry), { recursive: true });
    await writeFile(join(place(name), entry, 'table'), 'rows');
  };
  const linked = async (data: string, ...names: string[]) => {
    await mkdir(join(volume, data, 'pg_tblspc'), { recursive: true });
    for (const [i, name] of names.entries()) await symlink(place(name), join(volume, data, 'pg_tblspc', `${i}`));
  };
  const spaces = (...names: string[]) => names.map((name) => ({ name, location: place(name) }));
  const data = () => join(volume, 'data');
  const b = () => placeOf('b', '', volume);

  it('are refused where the old data has its own, or somebody else’s files lie', async () => {
    await linked('data', 'one');
    await filled('one');
    await filled('two', 'photos');
    const claim = (name: string, mayRemove = false) => claimTablespaces(spaces(name), b(), mayRemove);
    await expect(claim('one')).rejects.toThrow('where the old data of b has its own: allow rebuildInPlace');
    expect(await claim('one', true)).toBe(true);
    await filled('one', 'photos');
    for (const name of ['one', 'two']) {
      await expect(claim(name, true)).rejects.toThrow('in the container of b is not empty: empty it');
    }
    await mkdir(place('three'));
    expect(await claim('three')).toBe(false);
  });

  it('are refused where they cannot be, before the old data goes', async () => {
    await linked('data', 'one');
    await filled('one');
    const claim = (location: string) =>
      claimTablespaces([...spaces('one'), { name: 'bad', location: join(volume, location) }], b(), true);
    await expect(claim('none')).rejects.toThrow(/tablespace "bad", which b does not have and cannot make: make it/);
    for (const folder of ['data', 'data/inside', 'data.new', 'data.wal/inside', 'data.old']) {
      await expect(claim(folder)).rejects.toThrow('"bad", which a copy replaces with the data directory');
    }
    await mkdir(join(volume, 'database'));
    expect(await claim('database')).toBe(true);
  });

  it('that were made while they were copied get their folder', async () => {
    await linked('data.new', 'one', 'two');
    await filled('one');
    await makeFolders(await locationsOf(join(volume, 'data.new')));
    expect(await readdir(place('one'))).toHaveLength(1);
    expect(await readdir(place('two'))).toEqual([]);
  });

  it('of this data are missed when their folder is gone or empty', async () => {
    await linked('data', 'one', 'two');
    await filled('one');
    const gone = { code: 'MUST_COPY', message: `${place('two')}, the folder of a tablespace of this data, is gone` };
    await expect(mustHaveTablespaces(data())).rejects.toMatchObject(gone);
    await mkdir(place('two'));
    await expect(mustHaveTablespaces(data())).rejects.toMatchObject(gone);
    await filled('two');
    await mustHaveTablespaces(data());
    await mustHaveTablespaces(join(volume, 'none'));
  });

  it('are emptied when the copy was not finished, but for what the present data has', async () => {
    await linked('data', 'one');
    await mkdir(place('one'), { recursive: true });
    await mkdir(place('two'));
    await claimTablespaces(spaces('one', 'two'), b(), false);
    await filled('one');
    await filled('two');
    await filled('two', 'photos');
    await filled('three');
    await removeLeftTablespaces(volume, data());
    expect(await readdir(place('one'))).toEqual(['PG_17_202406281']);
    expect(await readdir(place('two'))).toEqual(['photos']);
    expect(await readdir(place('three'))).toEqual(['PG_17_202406281']);
    // Nothing is remembered: what comes there later is not the copy's.
    await filled('two');
    await removeLeftTablespaces(volume, data());
    expect(await readdir(place('two'))).toHaveLength(2);
  });

  it('stay once the copy has taken its place; those of the old data go with it', async () => {
    await mkdir(place('new'), { recursive: true });
    await claimTablespaces(spaces('new'), b(), false);
    await filled('new');
    await filled('dropped');
    await filled('both');
    await linked('data', 'new', 'both');
    await linked('data.old', 'dropped', 'both');
    await forgetTablespaces(volume);
    await removeTablespaces(join(volume, 'data.old'), data());
    await removeLeftTablespaces(volume, data());
    expect(await readdir(place('new'))).toHaveLength(1);
    expect(await readdir(place('both'))).toHaveLength(1);
    expect(await readdir(place('dropped'))).toEqual([]);
  });
});

describe('slots for a copy', () => {
  interface Row {
    slot_name: string;
    active: boolean;
    fell_off: boolean;
    idle: boolean;
  }
  /** A server with these slots; `said` are the names that were dropped and made. */
  const server = (rows: Row[]) => {
    const said: string[] = [];
    const query = async (text: string) => {
      const [, call, names] = /SELECT pg_((?:drop|create|copy|replication_slot)_\w+)\((.*)\)/.exec(text) ?? [];
      if (call !== undefined) said.push(`${call} ${names}`);
      return text.includes('FROM pg_replication_slots WHERE slot_type') ? rows : [];
    };
    const ask = (_name: string, text: string) => query(text);
    return { said, session: { ask, query } as unknown as Session };
  };
  const slot = (name: string, change: Partial<Row> = {}): Row => {
    return { slot_name: name, active: false, fell_off: false, idle: false, ...change };
  };

  it('stay while they are in use or were a moment ago, and so do those that a person made', async () => {
    const { said, session } = server([
      slot('b'),
      slot('b_copy', { active: true }),
      slot('c_copy'),
      slot('c', { active: true }),
      slot('x_replica_3_copy', { active: true }),
      slot('y_replica_3', { active: true }),
      slot('barman'),
    ]);
    const { dropped } = await ensureSlots(session, 'x-primary', ['b', 'c'], false);
    expect(said).toEqual([`drop_replication_slot 'x_replica_3_copy'`]);
    expect(dropped).toEqual(['x_replica_3_copy']);
  });

  it('are dropped when they are idle, or when the node becomes a standby', async () => {
    const idle = server([slot('b'), slot('b_copy', { idle: true })]);
    await ensureSlots(idle.session, 'a', ['b'], false);
    expect(idle.said).toEqual([`drop_replication_slot 'b_copy'`]);
    const standby = server([slot('b', { active: true }), slot('b_copy', { active: true })]);
    await ensureSlots(standby.session, 'a', ['b'], true);
    expect(standby.said).toEqual([`drop_replication_slot 'b_copy'`]);
  });

  it('keep write-ahead log from their first moment, and hand it over', async () => {
    const { said, session } = server([]);
    await reserveSlot(session, 'b_copy');
    await handOver(session, 'b_copy', 'b');
    expect(said).toEqual([
      `drop_replication_slot 'b_copy'`,
      `create_physical_replication_slot 'b_copy', true`,
      `replication_slot_advance 'b_copy', pg_current_wal_flush_lsn()`,
      `drop_replication_slot 'b'`,
      `copy_physical_replication_slot 'b_copy', 'b'`,
      `drop_replication_slot 'b_copy'`,
    ]);
  });
});
