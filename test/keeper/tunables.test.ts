import { describe, expect, it } from 'vitest';
import { settingValues } from '../../failover/keeper/postgres/config-files';
import { plainWords } from '../../failover/keeper/postgres/server-log';
import { type End, type Floors, Tunables } from '../../failover/keeper/tunables';

const floors = (connections: number): Floors => ({
  max_connections: connections,
  max_worker_processes: 8,
  max_wal_senders: 20,
  max_prepared_transactions: 0,
  max_locks_per_transaction: 64,
});
const fresh = () => new Tunables(settingValues('a', null));
const HUNDRED_EIGHTY = { max_connections: '180' };
/** It ends by an error of its own, before it begins to recover. */
const ends = (message: string | null, part: Partial<End> = {}): End => ({
  code: 1,
  recovered: false,
  message,
  ...part,
});
const NO_MEMORY = 'could not map anonymous shared memory: Cannot allocate memory';

describe('what a standby must not have less of than its leader (S23)', () => {
  it('is what the control file says, until the leader has less, and then the lower value waits for a restart', () => {
    const tunables = fresh();
    expect(tunables.begin(HUNDRED_EIGHTY, floors(200), false)).toEqual({
      settings: { max_connections: '200' },
      blind: false,
    });
    expect(tunables.isFloored(HUNDRED_EIGHTY)).toBe(true);
    expect(tunables.status(HUNDRED_EIGHTY, [], false)).toMatchObject({ restart: 'none', pending: ['max_connections'] });
    tunables.floorsAre(floors(180));
    expect(tunables.inFile(HUNDRED_EIGHTY)).toEqual(HUNDRED_EIGHTY);
    const pending = [{ name: 'max_connections', setting: '200' }];
    expect(tunables.status(HUNDRED_EIGHTY, pending, false)).toMatchObject({
      restart: 'needed',
      pending: ['max_connections'],
    });
  });

  it('counts the template’s own value, too: a setting that was taken back', () => {
    expect(fresh().begin({}, floors(300), false).settings).toEqual({ max_connections: '300' });
  });

  it('does not bind a leader that shut down cleanly: it starts blind, with the lower value', () => {
    expect(fresh().begin(HUNDRED_EIGHTY, floors(200), true)).toEqual({ settings: HUNDRED_EIGHTY, blind: true });
    expect(fresh().begin(HUNDRED_EIGHTY, floors(180), true).blind).toBe(false);
  });

  it('makes a running leader restart in place when it is lowered, and not when it is raised', () => {
    const tunables = fresh();
    tunables.begin({}, floors(200), false);
    tunables.promoted();
    const pending = [{ name: 'max_connections', setting: '200' }];
    expect(tunables.status(HUNDRED_EIGHTY, pending, true).restart).toBe('in-place');
    expect(tunables.status({ max_connections: '300' }, pending, true).restart).toBe('needed');
    expect(
      tunables.status({ shared_buffers: '1GB' }, [{ name: 'shared_buffers', setting: '32768' }], true).restart,
    ).toBe('needed');
  });
});

describe('settings that PostgreSQL does not start with', () => {
  const BAD = { shared_buffers: '64GB' };

  it('are left out at the next start, told with their names and its words, and tried again only when they change', () => {
    const tunables = fresh();
    tunables.begin({ work_mem: '8MB' }, floors(200), false);
    tunables.answered();
    expect(tunables.begin(BAD, floors(200), false).settings).toEqual(BAD);
    tunables.failed(ends(NO_MEMORY));
    expect(tunables.begin(BAD, floors(200), false).settings).toEqual({ work_mem: '8MB' });
    tunables.answered();
    expect(tunables.status(BAD, [], false).refused).toBe(`no work_mem, shared_buffers = 64GB: ${NO_MEMORY}`);
    expect(tunables.inFile(BAD)).toEqual({ work_mem: '8MB' });
    expect(tunables.inFile({})).toEqual({});
    expect(tunables.status({}, [], false).refused).toBeNull();
  });

  it('are not blamed for a crash, for log that brought a higher value, or where the former ones fail as well', () => {
    const tunables = fresh();
    // Whatever the log contains: it was killed, shut down by another signal, or ended after it had taken its settings.
    for (const end of [{ code: null }, { code: 0 }, { code: 2 }, { recovered: true }]) {
      tunables.begin(BAD, floors(200), false);
      tunables.failed(ends(NO_MEMORY, end));
      expect(tunables.inFile(BAD)).toEqual(BAD);
    }
    tunables.begin(BAD, floors(200), false);
    tunables.failed(ends('could not locate a valid checkpoint record'));
    tunables.begin(BAD, floors(200), false);
    tunables.failed(ends('could not locate a valid checkpoint record'));
    expect(tunables.inFile(BAD)).toEqual(BAD);
  });

  it('are found without a word of PostgreSQL, by a start with the former ones', () => {
    const tunables = fresh();
    tunables.begin(BAD, floors(200), false);
    tunables.failed(ends(null));
    expect(tunables.begin(BAD, floors(200), false).settings).toEqual({});
    tunables.answered();
    expect(tunables.status(BAD, [], false).refused).toBe('shared_buffers = 64GB: PostgreSQL does not start with it');
  });

  it('are not blamed for what ends a server that answered', () => {
    const tunables = fresh();
    tunables.begin(BAD, floors(200), false);
    tunables.answered();
    tunables.failed(ends('could not write to file: No space left on device'));
    expect(tunables.inFile(BAD)).toEqual(BAD);
  });
});

describe("PostgreSQL's words", () => {
  const at = '2026-11-25 02:01:22.046 UTC [23] ';

  it('are shown without moments, process ids and file names', () => {
    const text = [
      `${at}LOG:  unrecognized configuration parameter "work_mme" in file "/tmp/x/postgresql.conf" line 32`,
      `${at}FATAL:  configuration file "/tmp/x/postgresql.conf" contains errors`,
    ].join('\n');
    expect(plainWords(text)).toBe('unrecognized configuration parameter "work_mme"');
  });
});

describe('prepared transactions, of which PostgreSQL must have room for all', () => {
  const some = (least: number) => [{ name: 'max_prepared_transactions', setting: '10', least }];

  it('refuse a lower setting while there are more of them, without a restart', () => {
    const tunables = fresh();
    const refused =
      'max_prepared_transactions below 2: transactions are prepared (pg_prepared_xacts): commit them or roll them back';
    expect(tunables.status({}, some(2), true)).toMatchObject({ restart: 'none', refused });
    expect(tunables.status({ max_prepared_transactions: '2' }, some(2), true)).toMatchObject({ restart: 'in-place' });
    expect(tunables.status({}, some(0), true)).toMatchObject({ restart: 'in-place', refused: null });
  });

  it('that were not seen end a blind start once; the next start has the former value', () => {
    const tunables = fresh();
    const ten = { ...floors(200), max_prepared_transactions: 10 };
    expect(tunables.begin({}, ten, true).blind).toBe(true);
    tunables.failed(ends('maximum number of prepared transactions reached', { recovered: true }));
    expect(tunables.begin({}, ten, true)).toMatchObject({
      blind: false,
      settings: { max_prepared_transactions: '10' },
    });
    tunables.answered();
    tunables.failed(ends(null));
    expect(tunables.begin({}, ten, true).blind).toBe(true);
  });
});
