/** One real node that makes backups with pgBackRest: full and incremental ones, a check, damage, and a job that is killed. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { JobEnd, JobKind } from '../../failover/contract/backups';
import { PATHS } from '../../failover/contract/layout';
import { lsnDistance } from '../../failover/contract/lsn';
import type { Status, Target } from '../../failover/contract/messages';
import { ARCHIVE_SLOT } from '../../failover/contract/naming';
import { waitFor } from '../rig/wait';
import { docker, NodePair } from './node-containers';

/** A backup of the small database takes some seconds, and the archive of its end some more. */
const JOB_LIMIT_MS = 60_000;
/** A shutdown takes a few tenths of a second; a job must not make it longer. */
const STOPPED_LIMIT_MS = 3_000;
const RESTORED = `${PATHS.nodeVolume}/restored`;
const SOCKETS = '/tmp';
const CONFIG = `${PATHS.archiveRun}/backup.conf`;
const PGBACKREST = `pgbackrest --config=${CONFIG} --stanza=$(sed -n 's/^\\[\\(c[0-9]*\\)\\]$/\\1/p' ${CONFIG})`;

/** Write-ahead log that may wait, and the room for the backups. */
const QUEUE_BYTES = 4 * 1024 ** 2;
const BACKUP_MB = 64;

const pair = new NodePair({ prefix: 'bkp', subnet: '10.211.17', port: 17_497, backupMb: BACKUP_MB });
const { a: NODE, monitor } = pair;
const psql = (text: string) => docker('exec', NODE, 'psql', '-U', 'postgres', '-Atc', text);
const shell = (text: string) => docker('exec', NODE, 'sh', '-c', text);
const ALONE: Target = { kind: 'lead', sync: { leader: NODE, k: 0, members: [] } };

let jobs = 0;
/** Orders a job, and returns at its beginning. */
async function begun(kind: JobKind): Promise<string> {
  const id = `job-${++jobs}`;
  monitor.job = { id, kind };
  await monitor.until(NODE, ({ backup }) => backup?.job?.id === id || backup?.last?.id === id, `begins ${kind}`);
  return id;
}

/** Orders a job, and returns its end. */
async function ended(kind: JobKind): Promise<JobEnd> {
  const id = await begun(kind);
  const status = await monitor.until(NODE, ({ backup }) => backup?.last?.id === id, `ends ${kind}`, JOB_LIMIT_MS);
  const last = status.backup?.last;
  if (last == null) throw new Error('the job has no end');
  console.log(`${kind}: ${last.result} after ${last.tookMs} ms: ${last.message}`);
  return last;
}

const held = () => (monitor.view(NODE).repository?.backups ?? []).map(({ type, usable }) => `${type} ${usable}`);
const mayArchive = (term: number) => {
  monitor.archivist = { node: NODE, term };
  return monitor.until(NODE, (s) => s.archive?.open === true, 'has the lease', 30_000);
};

beforeAll(async () => {
  monitor.settle({ ...pair.settings, backup: { leaseMs: 2_000, queueBytes: 1e9, keep: 2 } });
  await pair.startAlone();
  await mayArchive(1);
  await psql('CREATE TABLE rows AS SELECT generate_series(1, 1000) AS n');
});

afterAll(async () => {
  await pair.remove();
});

it('makes a full and an incremental backup, which can be restored to the end of the archive', async () => {
  expect((await ended('full')).result).toBe('done');
  expect(held()).toEqual(['full true']);
  await psql('INSERT INTO rows SELECT generate_series(1001, 1500)');
  expect((await ended('incr')).result).toBe('done');
  expect(held()).toEqual(['full true', 'incr true']);
  const [full, incr] = monitor.view(NODE).repository?.backups ?? [];
  expect(full?.sizeBytes).toBeGreaterThan(1e7);
  expect(incr?.storedBytes).toBeLessThan(full?.storedBytes ?? 0);
  expect(await docker('exec', NODE, 'stat', '-c', '%a', CONFIG)).toBe('600');
  // A person restores it beside the running server, without the product's help.
  await shell(`${PGBACKREST} \\
    --pg1-path=${RESTORED} --type=immediate --target-action=promote restore`);
  await shell(`: > ${RESTORED}/postgresql.conf; : > ${RESTORED}/pg_ident.conf; echo 'local all all trust' > ${RESTORED}/pg_hba.conf;
    /usr/lib/postgresql/17/bin/pg_ctl -D ${RESTORED} -w -t 30 -l /tmp/restored.log \\
      -o "-p 5999 -k ${SOCKETS} -c listen_addresses= -c archive_mode=off -c shared_buffers=16MB \\
          -c max_connections=300 -c max_wal_senders=30 -c max_worker_processes=32 -c max_locks_per_transaction=256 -c max_prepared_transactions=200" start || { tail -20 /tmp/restored.log >&2; exit 1; }`);
  const restored = () =>
    docker('exec', NODE, 'psql', '-U', 'postgres', '-h', SOCKETS, '-p', '5999', '-Atc', 'SELECT count(*) FROM rows');
  expect(await waitFor('the restored server answers', 30_000, restored)).toBe('1500');
  await shell(`/usr/lib/postgresql/17/bin/pg_ctl -D ${RESTORED} -m immediate stop; rm -rf ${RESTORED}`);
});

it('kills a job when PostgreSQL stops, which waits for nothing, and the next leadership makes it', async () => {
  const id = await begun('full');
  const fromMs = performance.now();
  monitor.order(NODE, 1, { kind: 'stop' });
  await monitor.until(NODE, (s) => s.postgres.state === 'stopped', 'stopped', STOPPED_LIMIT_MS);
  console.log(`stopped with a backup under way: ${Math.round(performance.now() - fromMs)} ms`);
  expect(monitor.view(NODE).notes.join('\n')).toContain('BACKUP_STOPPED');
  expect(await docker('top', NODE, '-eo', 'pid,args')).not.toMatch(/pgbackrest .* backup/);
  monitor.job = null;
  await monitor.done(NODE, 2, ALONE);
  await mayArchive(2);
  monitor.job = { id, kind: 'full' };
  await monitor.until(
    NODE,
    ({ backup }) => backup?.last?.id === id && backup.last.result === 'done',
    'makes it',
    JOB_LIMIT_MS,
  );
  expect(held()).toEqual(['full true', 'incr true', 'full true']);
});

it('makes a backup right after a promotion, although PostgreSQL’s checkpoint of it takes minutes', async () => {
  // The next start applies these pages anew, and their checkpoint is spread.
  await psql('CREATE TABLE pages AS SELECT generate_series(1, 100000) AS n');
  await shell(`kill -9 $(head -1 ${PATHS.nodeVolume}/data/postmaster.pid)`);
  await monitor.until(NODE, (s) => s.postgres.state === 'stopped', 'crashed', 30_000);
  await monitor.done(NODE, 3, ALONE);
  await mayArchive(3);
  const timelines = 'SELECT timeline_id, left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_checkpoint()';
  console.log(`control file and write-ahead log: ${await psql(timelines)}`);
  expect((await ended('incr')).result).toBe('done');
});

it('keeps as many full backups as it is told to', async () => {
  expect((await ended('full')).result).toBe('done');
  expect(held()).toEqual(['full true', 'incr true', 'full true']);
  // The keeper's other commands remove nothing, and pgBackRest has nothing to warn of.
  const commands = ['stanza-create', 'info', 'expire'].map((command) => `${PGBACKREST} ${command}`);
  expect(await shell(`{ ${commands.join(' && ')}; } 2>&1`)).not.toMatch(/WARN|ERROR/);
  expect((await shell(`${PGBACKREST} info`)).match(/(full|incr) backup:/g)).toHaveLength(3);
});

it('finds the repository sound, and names a file in it that is damaged', async () => {
  expect(await ended('verify')).toMatchObject({ result: 'done', message: 'the repository is sound' });
  const files = await docker('exec', NODE, 'find', PATHS.backupVolume, '-name', '0*-*.zst', '-size', '+0');
  const file = files.trim().split('\n').sort().at(-1) ?? '';
  await shell(`printf 'XXXXXXXX' | dd of=${file} bs=1 seek=64 conv=notrunc 2>/dev/null`);
  const { result, damaged } = await ended('verify');
  expect(result).toBe('failed');
  expect(damaged?.join('\n')).toContain(file.split('/').at(-1));
  expect(monitor.view(NODE).notes.at(-1)).toMatch(/^BACKUP_DAMAGED /);
});

it('says why a backup failed', async () => {
  await shell(`chmod 500 ${PATHS.backupVolume}/backup/*`);
  const { result, message } = await ended('incr');
  await shell(`chmod 700 ${PATHS.backupVolume}/backup/*`);
  expect([result, message]).toEqual(['failed', expect.stringMatching(/Permission denied|unable to/)]);
  expect((await ended('incr')).result).toBe('done');
});

it('fails in a full repository, bounds what waits, shows the gap, and ends it with the next backup', async () => {
  monitor.settle({ ...pair.settings, backup: { leaseMs: 2_000, queueBytes: QUEUE_BYTES, keep: 1 } });
  const before = held().length;
  const fillUp = `dd if=/dev/zero of=${PATHS.backupVolume}/filler bs=64k 2>/dev/null || true`;
  // A full backup takes about 4 MB, so the room ends in the middle of it.
  await shell(`${fillUp}; truncate -s -2M ${PATHS.backupVolume}/filler`);
  const { result, message } = await ended('full');
  expect([result, message]).toEqual(['failed', expect.stringMatching(/No space left/)]);
  await shell(fillUp);
  const files = 'SELECT pg_logical_emit_message(false, repeat($$x$$, 10), $$y$$), pg_switch_wal()';
  for (let file = 0; file < 8; file++) await psql(files);
  const { archive } = await monitor.until(NODE, (s) => s.archive?.gaps !== undefined, 'has a gap', 30_000);
  expect(archive?.problem).toMatch(/^pgbackrest ended with .*No space left/);
  const kept = `SELECT pg_current_wal_lsn() - restart_lsn FROM pg_replication_slots WHERE slot_name = '${ARCHIVE_SLOT}'`;
  await waitFor('no more is kept', 20_000, async () => Number(await psql(kept)) <= QUEUE_BYTES + 2 * 1024 ** 2);
  expect(monitor.view(NODE).notes.filter((note) => note.startsWith('ARCHIVE_GAP'))).toHaveLength(1);
  const usable = () => held().filter((one) => one.endsWith('true'));
  await waitFor('no backup reaches beyond the gap', 20_000, () => held().length >= before && usable().length === 0);
  await shell(`rm ${PATHS.backupVolume}/filler`);
  await monitor.until(NODE, (s) => s.archive?.problem === undefined, 'archives again', 60_000);
  expect((await ended('full')).result).toBe('done');
  expect(held()).toEqual(['full true']);
  // No backup from before the gap is kept.
  await monitor.until(NODE, (s) => s.archive !== undefined && s.archive.gaps === undefined, 'forgets it', 10_000);
});

it('goes on when the repository has lost all that it had', async () => {
  await shell(`rm -rf ${PATHS.backupVolume}/*`);
  const end = await psql("SELECT pg_logical_emit_message(false, 'filler', 'x')");
  await psql('SELECT pg_switch_wal()');
  const archives = ({ archive }: Status) => archive?.archivedTo != null && lsnDistance(end, archive.archivedTo) > 0;
  await monitor.until(NODE, archives, 'archives', 30_000);
  expect((await ended('full')).result).toBe('done');
  expect(held()).toEqual(['full true']);
});

it('names another passphrase, overwrites nothing, and writes go on', async () => {
  const other = '/tmp/other.conf';
  await shell(`rm -rf ${PATHS.backupVolume}/*
    sed 's/^repo1-cipher-pass=.*/repo1-cipher-pass=of-another-stack/' ${CONFIG} > ${other}
    ${PGBACKREST.replace(CONFIG, other)} stanza-create; rm ${other}`);
  const sums = () => shell(`cd ${PATHS.backupVolume} && find . -type f | sort | xargs sha256sum`);
  const before = await sums();
  await psql("SELECT pg_logical_emit_message(false, 'filler', 'x')");
  await psql('SELECT pg_switch_wal()');
  const says = () => monitor.until(NODE, (s) => s.archive?.problem !== undefined, 'says what is wrong', 30_000);
  const why = /^the repository has another passphrase, or .*archive\.info is damaged$/;
  expect((await says()).archive?.problem).toMatch(why);
  // A new tour begins with the stanza.
  const { archivist } = monitor;
  monitor.archivist = null;
  await monitor.until(NODE, (s) => s.archive === undefined, 'archives no more', 10_000);
  monitor.archivist = archivist;
  expect((await says()).archive?.problem).toContain('passphrase');
  const { result, message } = await ended('full');
  expect([result, message]).toEqual(['failed', expect.stringContaining('passphrase')]);
  await psql('INSERT INTO rows VALUES (0)');
  expect(await sums()).toBe(before);
});
