/**
 * One real node with backups in two places: its volume, and S3 behind TLS, which is also killed and slow. Restores are
 * tested by the command, and by the container that the stack has for it.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { restoreTest } from '../../cli/backup-check';
import { lookArgs, questionFor } from '../../cli/restore-look';
import type { BackupsPart } from '../../failover/contract/api';
import type { JobEnd, JobKind, RestoreTarget, S3Settings } from '../../failover/contract/backups';
import { PATHS } from '../../failover/contract/layout';
import { compareLsn } from '../../failover/contract/lsn';
import { derivedPassword } from '../../failover/contract/proof';
import { RepositoryLook } from '../../failover/contract/restore';
import type { RestoreTestResult } from '../../failover/contract/restore-test';
import { RestoreTests } from '../../failover/monitor/restore-tests/schedule';
import { CheckerServer } from '../../failover/monitor/restore-tests/server';
import { run } from '../../scripts/lib/exec';
import { S3Server } from '../rig/s3-server';
import { waitFor } from '../rig/wait';
import { docker, dockerQuietly, NodePair, removeNode, startNode } from './node-containers';

const JOB_LIMIT_MS = 60_000;
const ARCHIVED_LIMIT_MS = 30_000;
/** A restore and its recovery take some seconds; a restore in place waits 20 s for a second place at most. */
const RESTORED_LIMIT_MS = 90_000;
/** A shutdown takes a few tenths of a second; S3 must not make it longer. */
const STOPPED_LIMIT_MS = 3_000;
const SECRET = 'TheSecretOfTheAccessKey';
/** The key of a new stack, which restores. */
const READER = { key: 'TheReadingKey', secret: 'TheSecretOfTheReadingKey' };
const NEW = 'bs3-new';

const s3 = new S3Server('bs3-moto', '10.211.18.1', 17_448, 'backups');
const hosts = [`${s3.host}:${s3.address}`];
const pair = new NodePair({ prefix: 'bs3', subnet: '10.211.18', port: 17_498, hosts });
const { a: NODE, monitor } = pair;
const passphrase = derivedPassword(pair.clusterKey, 'backup');
let place: S3Settings;
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

async function removeNew(): Promise<void> {
  await removeNode(NEW);
  await dockerQuietly('volume', 'rm', `${NEW}-backup`);
}

beforeAll(async () => {
  await removeNew();
  await s3.start();
  await pair.startAlone();
  await s3.listen();
  place = {
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
  await removeNew();
  await dockerQuietly('rm', '-f', CHECKER);
  await dockerQuietly('volume', 'rm', `${CHECKER}-scratch`);
  await pair.remove();
  await s3.remove();
});

it('archives to both places, and makes a backup in S3', async () => {
  const position = await fill();
  await Promise.all([archives('local', position), archives('s3', position)]);
  expect((await ended('full')).result).toBe('done');
  const config = `${PATHS.archiveRun}/backup-s3.conf`;
  expect(await docker('exec', NODE, 'stat', '-c', '%a', config)).toBe('600');
});

it('shows the secret of S3 nowhere but in the file in memory', async () => {
  const seen = await Promise.all([
    docker('logs', NODE),
    docker('inspect', NODE),
    docker('top', NODE, '-eo', 'pid,args'),
  ]);
  for (const text of seen) expect(text.includes(SECRET)).toBe(false);
  const files = `grep -rl ${SECRET} ${PATHS.nodeVolume} /tmp /etc 2>/dev/null || true`;
  expect(await shell(files)).toBe('');
  expect(JSON.stringify(status())).not.toContain(SECRET);
});

/** Tests a restore as the command does; the archive promises what was written by now. */
async function tested(repository: 'local' | 's3', to = new Date()): Promise<RestoreTestResult> {
  const window = { from: to.toISOString(), to: to.toISOString() };
  const result = await restoreTest(run, NODE, { repository, window });
  console.log(`restore test of ${repository}: ${result.result} after ${result.tookMs} ms: ${result.message}`);
  return result;
}
const containers = () => docker('ps', '-aq', '--filter', `name=${NODE}-check`);

it('restores the newest backup of each place in a container of its own, of which nothing is left', async () => {
  monitor.job = { id: 'local-job', kind: 'full' };
  await monitor.until(NODE, (s) => s.backup?.last?.id === 'local-job', 'makes a backup in the volume', JOB_LIMIT_MS);
  const written = new Date();
  const position = await fill();
  await Promise.all([archives('local', position), archives('s3', position)]);
  for (const place of ['local', 's3'] as const) {
    const { result, message, label, newest } = await tested(place, written);
    expect([result, message]).toEqual(['done', expect.stringContaining('are sound')]);
    expect(label).toMatch(/^\d{8}-\d{6}F$/);
    expect(Date.parse(newest ?? '')).toBeGreaterThan(written.getTime() - 10_000);
  }
  expect(await docker('volume', 'ls', '-q', '--filter', 'label=postgres-failover.role=restore-test')).toBe('');
  expect(await containers()).toBe('');
  // The extension is in the copy alone.
  expect(await psql("SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'")).toBe('0');
});

it('fails and names the cause when a file of the repository is damaged, or the archive ends too early', async () => {
  const early = await tested('local', new Date(Date.now() + 3_600_000));
  expect([early.result, early.message]).toEqual(['failed', expect.stringContaining('the archive promises all up to')]);
  const found = await docker('exec', NODE, 'find', PATHS.backupVolume, '-path', '*/backup/*/bundle/*', '-type', 'f');
  const file = found.split('\n').sort().at(0) ?? '';
  await shell(`cp -p ${file} /tmp/kept && printf 'XXXXXXXX' | dd of=${file} bs=1 seek=4096 conv=notrunc 2>/dev/null`);
  const { result, message } = await tested('local');
  await shell(`cp -p /tmp/kept ${file}`);
  expect(result).toBe('failed');
  // The file of the data whose backup is damaged.
  expect(message).toMatch(/restoring '[^']+\/data\/[^']+'/);
  await waitFor('its container is gone', 10_000, async () => (await containers()) === '');
});

/** What the bucket can bring back, as `restore` asks for it. */
async function look(target: RestoreTarget, secret = passphrase): Promise<RepositoryLook> {
  const { ca, ...rest } = { ...place, ...READER };
  const args = lookArgs({ s3: rest }, pair.image, 'bs3-look', 'postgres-failover.role=look');
  const [first = '', ...others] = args;
  const network = ['--network', pair.network, ...hosts.flatMap((host) => ['--add-host', host])];
  const question = questionFor({ at: { s3: rest }, passphrase: secret, because: '' }, target);
  const input = JSON.stringify({ ...question, s3: { ...question.s3, ca } });
  const ran = await run('docker', [first, ...network, ...others], { deadlineMs: JOB_LIMIT_MS, input });
  if (ran.code !== 0) throw new Error(ran.tail.join(' '));
  return RepositoryLook.parse(JSON.parse(ran.stdout));
}

it('restores a moment from S3 into a new stack, with every row, and only reads there', async () => {
  await psql('CREATE TABLE moments AS SELECT generate_series(1, 300) AS n');
  const atMs = Math.floor(Number(await psql('SELECT extract(epoch FROM clock_timestamp()) * 1000')));
  await psql('DROP TABLE moments');
  await archives('s3', await fill());
  await expect(look({ kind: 'latest' }, 'wrong')).rejects.toThrow('the passphrase is another one');
  const { stanza, timeline, backups, archivedMs } = await look({ kind: 'time', atMs });
  expect([backups.map(({ type }) => type), timeline]).toEqual([['full'], 2]);
  expect(archivedMs).toBeGreaterThanOrEqual(atMs - 1_000);
  const source = { stanza, passphrase, timeline, target: { kind: 'time', atMs } as const, s3: { ...place, ...READER } };
  await startNode({
    ...{ name: NEW, image: pair.image, network: pair.network, address: '10.211.18.30', hosts },
    ...{ monitor: { host: pair.host, port: 17_498 }, clusterKey: pair.clusterKey, backupVolume: `${NEW}-backup` },
    restore: { source },
  });
  await monitor.until(NEW, (s) => s.postgres.state === 'absent', 'first status', RESTORED_LIMIT_MS);
  const fromMs = performance.now();
  await monitor.done(NEW, 1, { kind: 'bootstrap' }, RESTORED_LIMIT_MS);
  await monitor.done(NEW, 1, { kind: 'lead', sync: { leader: NEW, k: 0, members: [] } }, RESTORED_LIMIT_MS);
  console.log(`restored from S3 and leading: ${Math.round(performance.now() - fromMs)} ms`);
  const sql = 'SELECT count(*), sum(n) FROM moments';
  expect(await docker('exec', NEW, 'psql', '-U', 'postgres', '-Atc', sql)).toBe(`300|${(300 * 301) / 2}`);
  expect([...(s3.methods.get(READER.key) ?? [])].filter((method) => method !== 'GET' && method !== 'HEAD')).toEqual([]);
  expect(s3.methods.get(READER.key)?.has('GET')).toBe(true);
  // The key of the old stack is left neither in the new node's memory nor on its disk.
  const left = `grep -rl ${READER.secret} ${PATHS.archiveRun} ${PATHS.nodeVolume} /tmp || true`;
  expect(await docker('exec', NEW, 'sh', '-c', left)).toBe('');
  await removeNew();
});

const CHECKER = 'bs3-checker';
const SCRATCH = `${PATHS.nodeVolume}/restore-test`;
const inside = (text: string) => docker('exec', CHECKER, 'sh', '-c', text);

/** The container as the stack has it (components/backup-check.ts), and the monitor's schedule, as after ten minutes. */
async function checker() {
  const listening = { address: pair.host, port: 17_499 };
  const startedMs = performance.now();
  let aheadMs = 0;
  const clock = { nowMs: () => performance.now() - startedMs + aheadMs };
  const lines: string[] = [];
  const log = {
    write: (_level: string, _subject: string, code: string, text: string) => void lines.push(`${code} ${text}`),
  };
  const server = new CheckerServer(listening, pair.clusterKey, clock, log);
  const made = { label: 'newest', type: 'full' as const, at: new Date().toISOString(), sizeBytes: 1 };
  const archived = new Date(status()?.backup?.archivedMs ?? 0).toISOString();
  const part: BackupsPart = {
    ...{ repository: 'local', window: { from: archived, to: archived }, lastFull: made, last: made, backups: [] },
    ...{ next: null, job: null, lastJob: null, old: null, problem: null, storedBytes: 5, freeBytes: 9, leftOut: 0 },
    archive: { open: true, waitingBytes: 0, lagSeconds: 1, archivedTo: null, gap: null, gaps: [] },
  };
  const backups = (status()?.backup?.repository ?? monitor.view(NODE).repository)?.backups ?? [];
  part.backups = backups.map((one) => ({ ...one, start: '', stop: '' }));
  const tests = new RestoreTests({
    ...{ everyMs: 1_000, passphrase: derivedPassword(pair.clusterKey, 'backup'), checker: server, clock, log },
    now: () => ({ stanza: `c${status()?.dataId?.split(':')[0]}`, places: [part] }),
    memory: { load: async () => ({}), save: async () => undefined },
    ...{ newId: randomUUID, wallMs: Date.now },
  });
  await server.listen();
  tests.start();
  await docker(
    ...['run', '-d', '--name', CHECKER, '--init', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges:true'],
    ...[
      '--read-only',
      '--tmpfs',
      '/tmp:mode=1777,size=16m',
      '--shm-size',
      '256m',
      '--memory',
      '1g',
      '--user',
      '10000:10000',
    ],
    ...['--cpu-shares', '64', '--network', pair.network, '--ip', '10.211.18.14'],
    ...['--mount', `type=volume,source=${CHECKER}-scratch,target=${PATHS.nodeVolume}`],
    ...['--mount', `type=volume,source=${pair.backupVolume},target=${PATHS.backupVolume},readonly`],
    ...[pair.image, 'nice', '-n', '10', 'node', '--disable-sigusr1', '/app/keeper.mjs', 'restore-tests'],
  );
  const config = {
    monitor: { host: pair.host, port: listening.port },
    key: derivedPassword(pair.clusterKey, 'checker'),
  };
  await inside(`umask 077 && echo '${JSON.stringify(config)}' > ${PATHS.checkerConfig}`);
  await waitFor('the container is connected', 30_000, () => server.state !== null);
  return {
    ...{ server, lines },
    /** Resolves with the end of the next test. None follows, because a backup seems to run then. */
    next: async () => {
      aheadMs = 600_000;
      part.job = null;
      const before = tests.view('local').last?.ended;
      await waitFor('a test begins', JOB_LIMIT_MS, () => server.wanted?.id);
      part.job = { id: 'a job', kind: 'full', progress: null, since: null };
      return waitFor('the test ends', JOB_LIMIT_MS, () => {
        const { last } = tests.view('local');
        return last?.ended === before ? null : last;
      });
    },
    close: async () => {
      tests.stop();
      await server.close();
      await dockerQuietly('rm', '-f', CHECKER);
      await dockerQuietly('volume', 'rm', `${CHECKER}-scratch`);
    },
  };
}

it('tests a restore by itself in the stack’s own container, and names the damaged file', async () => {
  const one = await checker();
  try {
    expect(one.server.wanted ?? null).toBeNull();
    const good = await one.next();
    console.log(`scheduled restore test: ${good.result} after ${good.tookMs} ms: ${good.message}`);
    expect([good.result, good.label]).toEqual(['done', expect.stringMatching(/^\d{8}-\d{6}F$/)]);
    // No copy and no secret is left, and the container cannot write where it should not.
    expect(await inside(`ls ${PATHS.nodeVolume}; ls ${PATHS.archiveRun} 2>/dev/null; true`)).toBe('checker.json');
    expect(await inside(`touch ${PATHS.backupVolume}/x /x 2>&1 | grep -c 'Read-only'`)).toBe('2');
    expect(await docker('logs', CHECKER)).not.toContain(derivedPassword(pair.clusterKey, 'backup'));
    // Unlike a file of the data, pgBackRest does not read it again and again before it gives up.
    const file = `${PATHS.backupVolume}/backup/c${status()?.dataId?.split(':')[0]}/${good.label}/backup.manifest`;
    await shell(`for f in ${file} ${file}.copy; do cp -p $f $f.kept && echo XXXXXXXX > $f; done`);
    const bad = await one.next();
    await shell(`for f in ${file} ${file}.copy; do mv $f.kept $f; done`);
    console.log(`with a damaged file, after ${bad.tookMs} ms: ${bad.message}`);
    expect(bad.result).toBe('failed');
    expect(bad.message).toContain(file);
    expect(one.lines.filter((line) => line.startsWith('RESTORE_TEST_FAILED'))).toHaveLength(1);
    // What a crash leaves is gone after the start that follows.
    await inside(`mkdir -p ${SCRATCH}/data`);
    await docker('kill', CHECKER);
    await docker('start', CHECKER);
    await waitFor('it is connected again', 30_000, () => one.server.state !== null);
    expect(await inside(`ls ${PATHS.nodeVolume}`)).toBe('checker.json');
  } finally {
    await one.close();
  }
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

it('archives and makes a backup in the volume while S3 answers a few bytes a second, with a job of its own', async () => {
  s3.turn('trickles');
  monitor.jobS3 = { id: 'slow-job', kind: 'full' };
  const position = await fill();
  await archives('local', position);
  monitor.job = { id: 'beside', kind: 'full' };
  const { s3: seen } = await monitor.until(NODE, (s) => s.backup?.last?.id === 'beside', 'makes it', JOB_LIMIT_MS);
  expect(status()?.backup?.last?.result).toBe('done');
  expect(has('s3', position)).toBe(false);
  expect(seen?.backup?.job?.id).toBe('slow-job');
});

it.each([
  ['trickles', 1],
  ['silent', 2],
] as const)('stops without waiting for S3 whose door is: %s', async (door, term) => {
  s3.turn('open');
  if (term === 2) {
    monitor.jobS3 = null;
    await monitor.done(NODE, 2, { kind: 'lead', sync: { leader: NODE, k: 0, members: [] } });
    monitor.archivist = { node: NODE, term: 2 };
  }
  await archives('s3', await fill());
  s3.turn(door);
  await fill();
  await monitor.wait(() => (status()?.s3?.archive?.waiting ?? 0) > 0, 'waits for S3', 20_000);
  const fromMs = performance.now();
  monitor.order(NODE, term, { kind: 'stop' });
  await monitor.until(NODE, (s) => s.postgres.state === 'stopped', 'stopped', STOPPED_LIMIT_MS);
  console.log(`stopped while S3 is ${door}: ${Math.round(performance.now() - fromMs)} ms`);
  expect(await docker('top', NODE, '-eo', 'pid,args')).not.toMatch(/pgbackrest .*(archive-push|backup)/);
});

/** As the monitor orders it after the second leadership, which ended just now. */
const restored = (id: string) =>
  monitor.done(
    NODE,
    2,
    {
      ...{ kind: 'restore', step: 'make', id, above: 4 },
      from: { kind: 'backup', target: { kind: 'latest' }, timeline: 3 },
    },
    RESTORED_LIMIT_MS,
  );

it('restores in place from the volume although S3 answers nothing, and from S3 when that is the only place', async () => {
  await restored('from-volume');
  expect(monitor.view(NODE).notes.join('\n')).toMatch(
    /ARCHIVE_PROBLEM S3: the end of what was written before the restore is not in this place/,
  );
  s3.turn('open');
  monitor.settle({ ...pair.settings, backup: { leaseMs: 2_000, queueBytes: 1e9, local: false, s3: place } });
  await docker('exec', NODE, 'mv', `${PATHS.backupVolume}/backup`, `${PATHS.backupVolume}/away`);
  await restored('from-s3');
  expect(await shell(`cat ${PATHS.archiveRun}/restore.conf`)).toContain('repo2-type=s3');
  await shell(`test -f ${PATHS.nodeVolume}/data.restored/PG_VERSION`);
});
