/** The jobs for the backups on the leader: what begins one, what ends it, and what is reported. */
import { expect, it } from 'vitest';
import type { JobKind } from '../../failover/contract/backups';
import type { ArchiveView, NodeSettings } from '../../failover/contract/messages';
import { BackupJobs } from '../../failover/keeper/backup-job';
import type { Leadership } from '../../failover/keeper/leadership';
import { type BackupTool, NO_VIEW, NOTHING_SEEN, type RepositoryFacts } from '../../failover/keeper/ports';
import { STACK_SETTINGS } from '../../simulator/machine';
import { waitFor } from '../rig/wait';

const SETTINGS: NodeSettings = {
  ...{ ...STACK_SETTINGS, nodes: [{ name: 'a', address: '10.0.0.20' }], postgresSettings: {} },
  backup: { leaseMs: 2_000, queueBytes: 1_000, keep: 3 },
};
const OPEN: ArchiveView = { open: true, waiting: 0, waitingBytes: 0, archivedTo: '0/500000' };
const FULL: RepositoryFacts['backups'][number] = {
  ...{ label: '20260601-120000F', type: 'full', startMs: 1_000, stopMs: 2_000 },
  ...{ startLsn: '0/200000', stopLsn: '0/300000' },
  ...{ walStart: '000000010000000000000002', walStop: '000000010000000000000003' },
  ...{ sizeBytes: 100, storedBytes: 10, hasErrors: false },
};
const calm = () => ({ term: 3, calm: true }) as Leadership;

/** A leader of term 3 whose pgBackRest works until a test ends its job. */
function rig() {
  const time = { boot: 1_000_000, mono: 1_000, wall: 1_700_000_000_000 };
  const did: string[] = [];
  const notes: string[] = [];
  const forgot: string[] = [];
  const state = { leadership: calm() as Leadership | null, archive: OPEN as ArchiveView | undefined };
  const repository = { backups: [] as RepositoryFacts['backups'], leftOut: 0, freeBytes: 5 };
  let job = Promise.withResolvers<string[]>();
  let progress: (part: number) => void = () => undefined;
  const until = (signal: AbortSignal) => {
    signal.addEventListener('abort', () => job.reject(new Error('killed')));
    return job.promise;
  };
  const tool: BackupTool = {
    backup: async (type, keep, onProgress, signal) => {
      did.push(`backup ${type} keep ${keep}`);
      progress = onProgress;
      await until(signal);
    },
    verify: async (signal) => {
      did.push('verify');
      return until(signal);
    },
    repository: async () => ({ ...repository }),
  };
  const sql = { ...NOTHING_SEEN, inRecovery: false, timeline: 1, flushLsn: '0/400000' };
  const host = {
    settings: SETTINGS as NodeSettings,
    view: { ...NO_VIEW, sql },
    get archive() {
      return state.archive;
    },
    leadership: () => state.leadership,
    forgetGaps: (walStart: string) => void forgot.push(walStart),
    note: (_: string, code: string, message: string) => void notes.push(`${code} ${message}`),
    report: () => undefined,
  };
  // Time passes only when a test says so; a wait ends with the next turn of the process.
  const sleep = () => new Promise<void>((resolve) => setImmediate(resolve));
  const clock = { nowMs: () => time.mono, sleep };
  const jobs = new BackupJobs(
    tool,
    clock,
    host,
    () => time.boot,
    () => time.wall,
  );
  const pass = (ms: number) => {
    for (const name of ['boot', 'mono', 'wall'] as const) time[name] += ms;
  };
  const ping = async (
    order: { id: string; kind: JobKind } | null = null,
    archive: { term: number } | null = { term: 3 },
  ) => {
    pass(100);
    const lease = archive === null ? {} : { archive: { ...archive, heard: 1 } };
    jobs.pinged({ type: 'ping', n: 1, ...lease, ...(order !== null && { backup: order }) });
    await sleep();
    await sleep();
  };
  const finish = async (result: Error | string[]) => {
    if (result instanceof Error) job.reject(result);
    else job.resolve(result);
    await waitFor('the job ended', 2_000, () => jobs.view?.job == null, 1);
    job = Promise.withResolvers();
  };
  const renew = () => {
    job = Promise.withResolvers();
  };
  return {
    time,
    did,
    notes,
    forgot,
    state,
    repository,
    jobs,
    pass,
    ping,
    finish,
    renew,
    host,
    part: (n: number) => progress(n),
  };
}

const ORDER = { id: 'one', kind: 'full' } as const;

it('runs an order once, although each ping repeats it, and reports progress and end', async () => {
  const { jobs, did, ping, finish, part, repository, notes } = rig();
  await ping();
  expect(jobs.view).toMatchObject({ job: null, last: null, repository: { backups: [], freeBytes: 5 } });
  await ping(ORDER);
  await ping(ORDER);
  expect(did).toEqual(['backup full keep 3']);
  part(0.25);
  expect(jobs.view?.job).toMatchObject({ id: 'one', kind: 'full', progress: 0.25 });
  repository.backups = [FULL];
  await finish([]);
  expect(jobs.view?.last).toMatchObject({ id: 'one', result: 'done', message: expect.stringContaining(FULL.label) });
  expect(jobs.view?.repository?.backups).toEqual([{ ...FULL, usable: true }]);
  await ping(ORDER);
  await ping(null);
  await ping(ORDER);
  expect(did).toHaveLength(1);
  expect(notes.map((note) => note.split(' ')[0])).toEqual(['BACKUP_BEGUN', 'BACKUP_DONE']);
});

it('calls a backup good only when its end is in the archive', async () => {
  const { jobs, ping, finish, repository, state, renew } = rig();
  state.archive = { ...OPEN, archivedTo: '0/200000' };
  await ping(ORDER);
  repository.backups = [FULL];
  const ended = finish([]);
  await ping(ORDER);
  expect(jobs.view?.job).not.toBeNull();
  expect(jobs.view?.repository?.backups[0]?.usable).toBe(false);
  state.archive = OPEN;
  await ended;
  expect(jobs.view?.last?.result).toBe('done');
  renew();
});

it('fails when the archive does not reach the end of the backup in time', async () => {
  const { jobs, ping, finish, repository, state, pass } = rig();
  state.archive = { ...OPEN, archivedTo: '0/200000' };
  await ping(ORDER);
  repository.backups = [FULL];
  const ended = finish([]);
  for (let turn = 0; turn < 30; turn++) {
    pass(25_000);
    await ping(ORDER);
  }
  await ended;
  expect(jobs.view?.last).toMatchObject({ result: 'failed', message: expect.stringContaining('0/300000') });
});

it('says why a job failed', async () => {
  const { jobs, ping, finish, notes } = rig();
  await ping(ORDER);
  await finish(new Error('no space left'));
  expect(jobs.view?.last).toMatchObject({ result: 'failed', message: 'no space left' });
  expect(notes).toContain('BACKUP_FAILED backup (full): no space left');
});

it('ends a backup that makes no progress for two hours, as failed', async () => {
  const { ping, pass, jobs, part, notes } = rig();
  const hours = async (count: number, order: { id: string; kind: JobKind }) => {
    for (let minute = 0; minute < count * 60; minute++) {
      // A keeper that hears nothing for longer ends its job.
      for (const third of [1, 2, 3]) {
        pass(third === 3 ? 19_700 : 19_900);
        await ping(order);
      }
    }
  };
  await ping({ id: 'slow', kind: 'full' });
  await hours(1.9, { id: 'slow', kind: 'full' });
  part(0.1);
  await hours(1.9, { id: 'slow', kind: 'full' });
  expect(jobs.view?.job?.id).toBe('slow');
  await hours(0.2, { id: 'slow', kind: 'full' });
  expect(jobs.view?.last).toMatchObject({ id: 'slow', result: 'failed' });
  expect(notes.at(-1)).toBe(
    'BACKUP_FAILED backup (full): the backup made no progress for 2 hours; its place is too slow',
  );
});

it.each<[string, (all: ReturnType<typeof rig>) => void]>([
  [
    'the leadership ends',
    ({ state }) => {
      state.leadership = null;
    },
  ],
  [
    'no ping comes for long',
    ({ time }) => {
      time.boot += 31_000;
    },
  ],
])('kills the job when %s, without a ping', async (_, act) => {
  const all = rig();
  await all.ping(ORDER);
  act(all);
  await waitFor('the job ended', 2_000, () => all.notes.some((note) => note.startsWith('BACKUP_STOPPED')), 1);
});

it('does not take an order from pings that waited while it was asleep, and takes it again later', async () => {
  const { did, time, ping, renew, notes } = rig();
  await ping(ORDER);
  time.boot += 31_000;
  await ping(ORDER);
  await waitFor('the job ended', 2_000, () => notes.some((note) => note.startsWith('BACKUP_STOPPED')), 1);
  renew();
  await ping(ORDER);
  expect(did).toHaveLength(1);
  await ping(null);
  await ping(ORDER);
  expect(did).toHaveLength(2);
});

it('goes on with its job while the monitor says nothing of the archive, and ends it when backups are turned off', async () => {
  const { jobs, ping, host, notes } = rig();
  await ping(ORDER);
  await ping(null, null);
  expect(jobs.view?.job).toMatchObject({ id: 'one' });
  host.settings = { ...SETTINGS, backup: undefined };
  await ping(null, null);
  await waitFor('the job ended', 2_000, () => notes.some((note) => note.startsWith('BACKUP_STOPPED')), 1);
  expect(jobs.view).toBeUndefined();
});

it('takes no order for another term, before the calm, while the gate is shut, or without leading', async () => {
  const { did, ping, state, jobs } = rig();
  await ping(ORDER, { term: 4 });
  await ping(ORDER, null);
  state.archive = { ...OPEN, open: false };
  await ping(ORDER);
  state.archive = OPEN;
  state.leadership = { term: 3, calm: false } as Leadership;
  await ping(ORDER);
  state.leadership = null;
  await ping(ORDER);
  expect(did).toEqual([]);
  expect(jobs.view).toBeUndefined();
});

it('names the files that the check found damaged', async () => {
  const { jobs, ping, finish, notes } = rig();
  await ping({ id: 'two', kind: 'verify' });
  await finish(['backup/c1/x.zst']);
  expect(jobs.view?.last).toMatchObject({ result: 'failed', damaged: ['backup/c1/x.zst'] });
  expect(notes.at(-1)).toMatch(/^BACKUP_DAMAGED .*x\.zst/);
});

it('does not count a backup before a gap', async () => {
  const { jobs, ping, repository, state } = rig();
  repository.backups = [FULL];
  await ping();
  expect(jobs.view?.repository?.backups[0]?.usable).toBe(true);
  const gap = { from: '000000010000000000000004', to: '000000020000000000000004' };
  state.archive = { ...OPEN, gaps: [gap] };
  expect(jobs.view?.repository?.backups[0]?.usable).toBe(false);
  const before = { from: gap.from.replace(/4$/, '0'), to: gap.from.replace(/4$/, '1') };
  state.archive = { ...OPEN, gaps: [before] };
  expect(jobs.view?.repository?.backups[0]?.usable).toBe(true);
  state.archive = { ...OPEN, gaps: [before, gap] };
  expect(jobs.view?.repository?.backups[0]?.usable).toBe(false);
  // While the gaps are not known, what was said last stays.
  for (const archive of [{ ...OPEN, archivedTo: null }, undefined]) {
    state.archive = archive;
    expect(jobs.view?.repository?.backups[0]?.usable).toBe(false);
  }
});

it('says so when the repository has lost its backups', async () => {
  const { ping, repository, notes, pass } = rig();
  const look = async () => {
    pass(300_000);
    await ping();
  };
  await ping();
  repository.backups = [FULL];
  await look();
  expect(notes).toEqual([]);
  repository.backups = [];
  await look();
  await look();
  expect(notes).toEqual(['BACKUP_DAMAGED the repository is empty: it had 1 backups before']);
});

it('says with which file the oldest backup begins, unless older ones are left out', async () => {
  const { ping, repository, forgot, pass } = rig();
  const look = async () => {
    pass(300_000);
    await ping();
    return forgot.splice(0);
  };
  await ping();
  expect(forgot).toEqual([]);
  const second = { ...FULL, label: 'second', walStart: '000000030000000000000001' };
  repository.backups = [FULL, second];
  expect(await look()).toEqual([second.walStart]);
  repository.backups = [FULL, { ...second, walStart: null }];
  expect(await look()).toEqual([]);
  repository.backups = [FULL];
  repository.leftOut = 1;
  expect(await look()).toEqual([]);
});

it('tells until when a restore could reach', async () => {
  const { jobs, ping, pass, time, state } = rig();
  state.archive = { ...OPEN, archivedTo: '0/300000' };
  await ping();
  expect(jobs.view?.archivedMs).toBeNull();
  const writtenMs = time.wall;
  pass(20_000);
  state.archive = OPEN;
  expect(jobs.view?.archivedMs).toBe(writtenMs);
});
