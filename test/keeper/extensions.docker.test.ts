/**
 * What the config puts into the image, on two real nodes: extensions of Debian, one of them with a background worker
 * that has to be preloaded, and locales of the operating system. All of it is there after a copy and a promotion, too.
 *
 * PostGIS is left out: its packages are many, and each of the tests' first runs would have to fetch them.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { buildImage, docker, dockerQuietly, NodePair } from './node-containers';

const pair = new NodePair({
  ...{ prefix: 'ext', subnet: '10.211.78', port: 17_490 },
  buildArgs: {
    EXTRA_PACKAGES: 'postgresql-17-cron postgresql-17-pgvector',
    LOCALES: 'en_US.UTF-8 vi_VN.UTF-8',
  },
  postgresSettings: {
    shared_preload_libraries: 'pg_cron',
    'cron.database_name': 'app',
    'cron.use_background_workers': 'on',
  },
});
const { a: A, b: B, monitor, streams } = pair;
const REFUSED_IMAGE = 'ext-refused:test';
const JOB_LIMIT_MS = 20_000;

const psql = (node: string, text: string, database = 'app') =>
  docker('exec', node, 'psql', '-XAtq', '-U', 'postgres', '-d', database, '-c', text);
const beats = async (node: string) => Number(await psql(node, 'SELECT count(*) FROM beats'));
/** In the order of the Vietnamese alphabet, in which đ comes after d. */
const SORTED = `SELECT string_agg(word, ' ' ORDER BY word) FROM (VALUES ('e'), ('đ'), ('da'), ('dz')) AS words (word)`;

beforeAll(async () => {
  await pair.start();
});

afterAll(async () => {
  await pair.remove();
  await dockerQuietly('rmi', REFUSED_IMAGE);
});

describe('extra packages and locales', () => {
  it('give extensions, and a job that runs every second', async () => {
    await psql(A, 'CREATE EXTENSION vector');
    await psql(A, 'CREATE TABLE points (at vector(3))');
    await psql(A, `INSERT INTO points VALUES ('[1,2,3]'), ('[4,5,6]')`);
    await psql(A, 'CREATE INDEX ON points USING hnsw (at vector_l2_ops)');
    expect(await psql(A, `SELECT at FROM points ORDER BY at <-> '[4,4,4]' LIMIT 1`)).toBe('[4,5,6]');
    await psql(A, 'CREATE EXTENSION pg_cron');
    await psql(A, 'CREATE TABLE beats (at timestamptz)');
    await psql(A, `SELECT cron.schedule('beat', '1 second', 'INSERT INTO beats VALUES (now())')`);
    await vi.waitFor(async () => expect(await beats(A)).toBeGreaterThan(0), JOB_LIMIT_MS);
  });

  it('give databases with a locale of the operating system', async () => {
    const create = (name: string, options: string) =>
      psql(A, `CREATE DATABASE ${name} TEMPLATE template0 ${options}`, 'postgres');
    await create('viet', `LOCALE_PROVIDER libc LOCALE 'vi_VN.UTF-8'`);
    expect(await psql(A, SORTED, 'viet')).toBe('da dz đ e');
    await create('viet_icu', `LOCALE_PROVIDER icu ICU_LOCALE 'vi'`);
    expect(await psql(A, SORTED, 'viet_icu')).toBe('da dz đ e');
    // PostgreSQL's own rule: without a provider it is that of the template, which is builtin here (docs/limits.md).
    await expect(create('viet_bare', `LOCALE 'vi_VN.UTF-8'`)).rejects.toThrow(/invalid locale name "vi_VN.UTF-8"/);
  });

  it('are all there after a copy and a promotion, and the job runs on the new leader', async () => {
    const { dataId } = await monitor.done(B, 1, { kind: 'follow', leader: A, method: 'stream' });
    monitor.order(B, 1, { kind: 'follow', leader: A, method: 'copy', replaces: dataId ?? '' });
    await monitor.until(B, (s) => streams(s) && s.dataId !== dataId, 'streams a copy', 60_000);
    const lsn = await psql(A, 'SELECT pg_current_wal_flush_lsn()');
    await vi.waitFor(
      async () => expect(await psql(B, `SELECT pg_last_wal_replay_lsn() >= '${lsn}'`)).toBe('t'),
      10_000,
    );
    await docker('kill', A);
    await monitor.done(B, 2, { kind: 'lead', sync: { leader: B, k: 0, members: [] } });
    expect(await psql(B, `SELECT at FROM points ORDER BY at <-> '[1,1,1]' LIMIT 1`)).toBe('[1,2,3]');
    expect(await psql(B, SORTED, 'viet')).toBe('da dz đ e');
    const before = await beats(B);
    await vi.waitFor(async () => expect(await beats(B)).toBeGreaterThan(before), JOB_LIMIT_MS);
  });

  it.each([
    ['EXTRA_PACKAGES', 'postgresql-17-pgvectr', 'extraPackages: "postgresql-17-pgvectr" is refused; Debian'],
    ['EXTRA_PACKAGES', 'postgresql-17-cron=0.1-1', 'extraPackages: "postgresql-17-cron=0.1-1" is refused; apt'],
    ['LOCALES', 'vn_VN.UTF-8', 'locales: "vn_VN.UTF-8" is refused; Debian has no such locale'],
  ])('are refused by key and value where there is none: %s %s', async (key, value, sentence) => {
    await expect(buildImage(REFUSED_IMAGE, { [key]: value })).rejects.toThrow(sentence);
  });
});
