/** One real node with backups in two places: its volume, and S3 behind TLS, which is also killed and slow. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { JobEnd, JobKind, S3Settings } from '../../failover/contract/backups';
import { PATHS } from '../../failover/contract/layout';
import { compareLsn } from '../../failover/contract/lsn';
import { S3Server } from '../rig/s3-server';
import { docker, NodePair } from './node-containers';

const JOB_LIMIT_MS = 60_000;
const ARCHIVED_LIMIT_MS = 30_000;
/** A shutdown takes a few tenths of a second; S3 must not make it longer. */
const STOPPED_LIMIT_MS = 3_000;
const RESTORED = `${PATHS.nodeVolume}/restored`;
const SECRET = 'TheSecretOfTheAccessKey';

const s3 = new S3Server('bs3-moto', '10.211.18.1', 17_448, 'backups');
const hosts = [`${s3.host}:${s3.address}`];
const pair = new NodePair({ prefix: 'bs3', subnet: '10.211.18', port: 17_498, hosts });
const { a: NODE, monitor } = pair;
const psql = (text: string) => docker('exec', NODE, 'psql', '-U', 'postgres', '-Atc', text);
const shell = (text: string) => docker('exec', NODE, 'sh', '-c', text);
const status = () => monitor.view(NODE).status;

let jobs = 0;
async function ended(kind: JobKind): Promise<JobEnd> {
  const id = `s3-job-${++jobs}`;
  monitor.jobS3 = { id, kind };
  const { s3: seen } = await monitor.until(NODE, (s) => s.s3?.backup?.last?.id === id, `ends ${kind}`, JOB_LIMIT_MS);
  const last = seen?.backup?.last;
  if (last == null) throw new Error('the job has no end');
  console.log(`${kind} in S3: ${last.result} after ${last.tookMs} ms: ${last.message}`);
  return last;
}

/** Ends the present file of write-ahead log, and returns the position after it. */
async function fill(): Promise<string> {
  await psql("SELECT pg_logical_emit_message(false, 'filler', 'x')");
  return psql('SELECT pg_switch_wal()');
}
const has = (place: 'local' | 's3', position: string) => {
  const view = place === 'local' ? status()?.archive : status()?.s3?.archive;
  return view?.archivedTo != null && compareLsn(view.archivedTo, position) >= 0;
};
const archives = (place: 'local' | 's3', position: string, limitMs = ARCHIVED_LIMIT_MS) =>
  monitor.until(NODE, () => has(place, position), `${place} has ${position}`, limitMs);

beforeAll(async () => {
  await s3.start();
  await pair.startAlone();
  await s3.listen();
  const place: S3Settings = {
    ...{ endpoint: s3.endpoint, bucket: s3.bucket, region: 'us-east-1', path: '/of/this' },
    ...{ key: 'TheAccessKey', secret: SECRET, uriStyle: 'path', ca: s3.ca },
  };
  monitor.settle({ ...pair.settings, backup: { leaseMs: 2_000, queueBytes: 1e9, keep: 2, s3: place } });
  monitor.archivist = { node: NODE, term: 1 };
  await monitor.until(NODE, (s) => s.archive?.open === true && s.s3?.archive?.open === true, 'has the lease', 30_000);
  await psql('CREATE TABLE rows AS SELECT generate_series(1, 1000) AS n');
}, 300_000);

afterAll(async () => {
  s3.close();
  await pair.remove();
  await s3.remove();
});

it('archives to both places, makes a backup in S3, and restores from there', async () => {
  const position = await fill();
  await Promise.all([archives('local', position), archives('s3', position)]);
  expect((await ended('full')).result).toBe('done');
  await psql('INSERT INTO rows SELECT generate_series(1001, 1500)');
  await archives('s3', await fill());
  const config = `${PATHS.archiveRun}/backup-s3.conf`;
  expect(await docker('exec', NODE, 'stat', '-c', '%a', config)).toBe('600');
  await shell(`pgbackrest --config=${config} --stanza=$(sed -n 's/^\\[\\(c[0-9]*\\)\\]$/\\1/p' ${config}) \\
    --pg1-path=${RESTORED} --type=default --archive-mode=off restore`);
  const files = await shell(`cat ${RESTORED}/postgresql.auto.conf; ls ${RESTORED}`);
  expect(files).toContain('restore_command');
  expect(files).toContain('recovery.signal');
  await shell(`rm -rf ${RESTORED}`);
});

it('shows the secret of S3 nowhere but in the file in memory', async () => {
  const seen = await Promise.all([
    docker('logs', NODE),
    docker('inspect', NODE),
    docker('top', NODE, '-eo', 'pid,args'),
    shell(`grep -rl ${SECRET} ${PATHS.nodeVolume} /tmp /etc 2>/dev/null || true`),
  ]);
  expect(seen.join('\n')).not.toContain(SECRET);
  expect(seen[3]).toBe('');
  expect(JSON.stringify(status())).not.toContain(SECRET);
});

it('goes on in the volume while S3 is dead, says why, and catches up', async () => {
  s3.turn('shut');
  const first = await fill();
  await archives('local', first);
  const { s3: seen } = await monitor.until(
    NODE,
    (s) => s.s3?.archive?.problem !== undefined,
    'says what is wrong',
    JOB_LIMIT_MS,
  );
  console.log(`S3 dead: ${seen?.archive?.problem}`);
  expect(seen?.archive?.problem).toMatch(/S3|s3\.test|TLS|connect/i);
  expect(status()?.archive?.problem).toBeUndefined();
  const second = await fill();
  await archives('local', second);
  expect(has('s3', first)).toBe(false);
  // The slot keeps what S3 does not have.
  const kept = await psql("SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'failover_archive'");
  expect(compareLsn(kept, first)).toBeLessThan(0);
  s3.turn('open');
  await archives('s3', second, 90_000);
  expect(status()?.s3?.archive?.gaps).toBeUndefined();
});

it('stops without waiting for S3 that answers nothing', async () => {
  s3.turn('silent');
  await fill();
  await monitor.wait(() => (status()?.s3?.archive?.waiting ?? 0) > 0, 'waits for S3', 20_000);
  const fromMs = performance.now();
  monitor.order(NODE, 1, { kind: 'stop' });
  await monitor.until(NODE, (s) => s.postgres.state === 'stopped', 'stopped', STOPPED_LIMIT_MS);
  console.log(`stopped while S3 says nothing: ${Math.round(performance.now() - fromMs)} ms`);
  expect(await docker('top', NODE, '-eo', 'pid,args')).not.toMatch(/pgbackrest .*archive-push/);
});
