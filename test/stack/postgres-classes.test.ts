/** The classes of PostgreSQL's settings: their rows, their limits, and how a refusal reads. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkConfig } from '../../stack/config';
import { BOUNDED, CLASSED_NAMES, classOf, FREE, OWNED } from '../../stack/postgres-classes';
import { offOr, size, time, whole } from '../../stack/postgres-values';

/** The shipped file, before and after the heading below which nothing can be overridden. */
const [TUNED = '', FIXED = ''] = readFileSync(join(__dirname, '../../templates/postgresql.conf'), 'utf8').split(
  '# What the failover depends on.',
);
const settingsIn = (text: string) =>
  [...text.matchAll(/^([a-z_]+)\s*=\s*(\S.*?)\s*(?:#.*)?$/gm)].map(([, name = '', value = '']) => {
    return { name, value: value.replaceAll("'", '') };
  });

function refusalOf(name: string, value: unknown): string | null {
  const { problems } = checkConfig({ postgresSettings: JSON.stringify({ [name]: value }) });
  return problems[0] ?? null;
}

describe('the rows', () => {
  const rows = [...OWNED.flatMap(({ names }) => names), ...BOUNDED.map(({ name }) => name)];
  const all = [...rows, ...FREE.flatMap(({ names }) => names)];

  it('name each setting once, in lower case', () => {
    expect(all.filter((name, i) => all.indexOf(name) !== i)).toEqual([]);
    expect([...all].sort()).toEqual(CLASSED_NAMES);
    expect(all.filter((name) => !/^[a-z_]+$/.test(name))).toEqual([]);
  });

  it('own what the template fixes, because a value before it would have no effect', () => {
    const fixed = settingsIn(FIXED).map(({ name }) => name);
    expect(fixed.length).toBeGreaterThan(30);
    expect(fixed.filter((name) => classOf(name)?.class !== 'owned')).toEqual([]);
  });

  it('live with the values that the template has', () => {
    const shipped = settingsIn(TUNED).filter(({ value }) => !value.includes('{{'));
    const beyond = shipped.filter(({ name, value }) => {
      const classed = classOf(name);
      return classed?.class === 'bounded' && !classed.limit.accepts(value);
    });
    expect(beyond).toEqual([]);
    expect(shipped.map(({ name }) => name)).toContain('wal_sender_timeout');
  });

  it('leave the settings of extensions free, but not those of the keeper', () => {
    expect(classOf('pg_stat_statements.max')).toEqual({ class: 'free' });
    expect(classOf('failover.configuration')).toMatchObject({ class: 'owned' });
  });
});

describe('a limit', () => {
  it.each([
    [whole(10, 1_000), ['10', '1000'], ['9', '1001', '-1', '1e2', '0x10', '10 ', '']],
    [
      time('5s', '1min', 'ms'),
      ['5s', '5000', ' 5 s ', '5000ms', '0.1min', '60s', '1min'],
      ['1ms', '5', '4999', '0', '61s'],
    ],
    [time('5s', '1min', 'ms'), ['5000000us'], ['-1', '5S', '5sec', 'lots', '', '1h', '5s 1ms']],
    [offOr(time('2s', '1d', 'ms')), ['0', '2s', '24h'], ['0.4ms', '1', '1999', '2d', '-1']],
    [size('16MB', '1TB', '8kB'), ['16MB', '2048', '16384kB', '0.5GB', '1TB'], ['2047', '128kB', '16mb', '2TB', '-1']],
    [size('256MB', '1TB', 'MB'), ['256', '1GB'], ['255', '-1', '0']],
  ])('%o takes %j and not %j', ({ accepts }, good, bad) => {
    expect(good.filter((value) => !accepts(value))).toEqual([]);
    expect(bad.filter(accepts)).toEqual([]);
  });
});

describe('a refusal', () => {
  it.each([
    [
      'wal_sender_timeout',
      '1ms',
      /"1ms" is refused; must be a time from 5s to 1min \(without a unit: in ms\)\. A standby/,
    ],
    ['wal_receiver_timeout', 0, /0 is refused; must be a time from 5s/],
    ['tcp_user_timeout', 1, /must be 0 \(off\) or a time from 2s to 1d/],
    ['transaction_timeout', '1ms', /must be 0 \(off\) or a time from 10s to 24d .* a login is a transaction/],
    ['tcp_keepalives_idle', '1d', /must be 0 \(off\) or a time from 1s to 9h .*Linux refuses a larger number/],
    ['wal_keep_size', 0, /must be a size from 64MB to 1TB .* it cannot be rewound/],
    ['max_slot_wal_keep_size', -1, /-1 is refused; must be a size from 256MB/],
    ['huge_pages', true, /true is refused; must be off or try\. With on/],
    ['shared_buffers', '128kB', /must be a size from 16MB to 1TB \(without a unit: in 8kB\)/],
    ['default_transaction_isolation', 'serializable', /must be read committed or .* the read port would serve nothing/],
    ['log_min_messages', 'debug5', /must be info or /],
    ['client_encoding', 'MULE_INTERNAL', /must be another one than mule_internal/],
    ['extension_destdir', '/tmp', /cannot be set, because each standby has to find the library/],
    ['summarize_wal', true, /cannot be set, because with it a promotion waits until the write-ahead log is summarized/],
    [
      'sync_replication_slots',
      true,
      /cannot be set, because the failover sets it, so that logical replication slots move/,
    ],
    ['log_hostname', true, /cannot be set, because each connection of the failover would wait for a name server/],
    ['transaction_isolation', 'serializable', /cannot be set, because it belongs to one transaction/],
    ['wrok_mem', '8MB', /PostgreSQL 17 has no such setting; did you mean work_mem\?/],
    ['sort_mem', '8MB', /PostgreSQL 17 has no such setting/],
  ])('of %s = %j names key, value, what is allowed and why', (name, value, words) => {
    const problem = refusalOf(name, value);
    expect(problem).toMatch(new RegExp(`^postgresSettings\\.${name}: `));
    expect(problem).toMatch(words);
  });

  it.each([
    ['statement_timeout', '1ms'],
    ['idle_session_timeout', 1],
    ['checkpoint_timeout', '1d'],
    ['autovacuum', false],
    ['timezone', 'Asia/Ho_Chi_Minh'],
    ['shared_preload_libraries', 'pg_stat_statements'],
    ['recovery_prefetch', 'off'],
    ['archive_timeout', '1min'],
  ])('does not come to %s = %j', (name, value) => {
    expect(refusalOf(name, value)).toBeNull();
  });
});
