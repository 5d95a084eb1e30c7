/** The schedule in the monitor: which job goes out, to whom, and what people are told. */
import { expect, it } from 'vitest';
import { BackupSummary, BackupsAnswer } from '../../failover/contract/api';
import type { Backup, BackupView, Gap, JobEnd, JobOrder } from '../../failover/contract/backups';
import type { Action, ClusterState, Decision } from '../../failover/core/state/cluster';
import type { Observation } from '../../failover/core/state/observation';
import { plansOf } from '../../failover/monitor/backup-places';
import { Backups } from '../../failover/monitor/backups';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const PLAN = { fullEveryMs: 7 * DAY, everyMs: DAY };
const NO_JOB: BackupView = { job: null, last: null, archivedMs: null, version: 1 };

/** A monitor whose leader p archives in term 3, and has an empty repository. */
function rig(plan: typeof PLAN | null = PLAN) {
  const time = { mono: 1_000, wall: Date.parse('2026-06-01T12:00:00Z') };
  const lines: string[] = [];
  const sent: (JobOrder | null)[] = [null];
  let ids = 0;
  const state = {
    node: 'p' as string | null,
    term: 3,
    activity: 'serving',
    open: true,
    gaps: [] as Gap[],
    restores: undefined as ClusterState['restores'],
    view: { ...NO_JOB, repository: { backups: [], leftOut: 0, freeBytes: 9 } } as BackupView | undefined,
  };
  const backups = new Backups(
    plan,
    { backup: (order) => sent.splice(0, 1, order) },
    { nowMs: () => time.mono },
    { write: (...[, , code, message]) => void lines.push(`${code} ${message}`) },
    () => `job-${++ids}`,
    () => time.wall,
  );
  const pass = (ms: number) => {
    time.mono += ms;
    time.wall += ms;
  };
  /** A cycle after this time, ms. Returns the order that goes out. */
  const cycle = (afterMs = 1_000): JobOrder | null => {
    pass(afterMs);
    const { node, term, activity, open, gaps, view, restores } = state;
    const actions: Action[] = node === null ? [] : [{ kind: 'archive', node, term }];
    const archive = { open, waiting: 0, waitingBytes: 7, archivedTo: '0/500000', gaps };
    const status = { archive, ...(view && { backup: view }) };
    const nodes = node === null ? {} : { [node]: { connected: true, status } };
    const decision = { state: { activity: { kind: activity }, restores }, actions } as unknown as Decision;
    backups.cycle(decision, { nodes } as unknown as Observation);
    return sent[0] ?? null;
  };
  const end = (id: string, result: JobEnd['result'], kind: JobEnd['kind'] = 'full') => {
    const last: JobEnd = { id, kind, result, message: 'so it was', endedMs: time.wall, tookMs: 5 };
    state.view = { ...NO_JOB, last };
  };
  const hold = (...held: Backup[]) => {
    state.view = { ...NO_JOB, ...state.view, repository: { backups: held, leftOut: 0, freeBytes: 9 } };
  };
  const full = (): Backup => ({
    ...{ label: 'F', type: 'full', startMs: time.wall, stopMs: time.wall, startLsn: '0/1', stopLsn: '0/2' },
    ...{ walStart: null, walStop: null, sizeBytes: 10, storedBytes: 3, hasErrors: false, usable: true },
  });
  return { time, lines, state, backups, cycle, end, hold, full };
}

it('orders the first backup when the leadership is a minute old, and repeats the order until it has ended', () => {
  const { cycle, end, hold, full } = rig();
  for (let second = 0; second < 60; second++) expect(cycle()).toBeNull();
  expect(cycle()).toEqual({ id: 'job-1', kind: 'full' });
  expect(cycle()).toEqual({ id: 'job-1', kind: 'full' });
  end('job-1', 'done');
  hold(full());
  expect(cycle()).toBeNull();
  expect(cycle(DAY - 2_000)).toBeNull();
  expect(cycle(3_000)).toEqual({ id: 'job-2', kind: 'incr' });
});

it('orders nothing while the leader changes, does not archive, or does not report its repository', () => {
  const { cycle, state } = rig();
  cycle();
  const view = state.view;
  state.activity = 'preparing';
  expect(cycle(HOUR)).toBeNull();
  state.activity = 'serving';
  state.open = false;
  expect(cycle(HOUR)).toBeNull();
  state.open = true;
  state.view = { ...NO_JOB, problem: 'no room' };
  expect(cycle(HOUR)).toBeNull();
  state.view = undefined;
  expect(cycle(HOUR)).toBeNull();
  state.node = null;
  expect(cycle(HOUR)).toBeNull();
  state.node = 'p';
  state.view = view;
  expect(cycle()).toBeNull();
  expect(cycle(60_000)).toMatchObject({ kind: 'full' });
});

it('gives the job of a lost leader to the next one, once the former has surely ended it', () => {
  const { cycle, state } = rig();
  cycle();
  expect(cycle(60_000)).toEqual({ id: 'job-1', kind: 'full' });
  state.node = null;
  expect(cycle()).toBeNull();
  state.node = 'r';
  state.term = 4;
  expect(cycle()).toBeNull();
  expect(cycle(59_000)).toBeNull();
  expect(cycle(1_000)).toEqual({ id: 'job-1', kind: 'full' });
});

it('asks again later when a job was stopped', () => {
  const { cycle, end } = rig();
  cycle();
  cycle(60_000);
  end('job-1', 'stopped');
  expect(cycle()).toBeNull();
  expect(cycle(60_000)).toEqual({ id: 'job-1', kind: 'full' });
});

it('tries a failed backup again after rests that grow', () => {
  const { cycle, end } = rig();
  cycle();
  const rests: number[] = [];
  let order = cycle(60_000);
  for (let failure = 0; failure < 3; failure++) {
    end(order?.id ?? '', 'failed');
    let minutes = 0;
    for (order = cycle(1_000); order === null; order = cycle(60_000)) minutes += 1;
    rests.push(minutes);
  }
  expect(rests).toEqual([2, 4, 8]);
});

it('goes on with a job that an earlier start of the monitor has begun, and does not repeat one that failed then', () => {
  const { cycle, state, time, backups, end } = rig();
  state.view = { ...NO_JOB, ...state.view, job: { id: 'old', kind: 'incr', sinceMs: time.wall, progress: 0.5 } };
  expect(cycle()).toEqual({ id: 'old', kind: 'incr' });
  expect(backups.summary()?.job).toMatchObject({ id: 'old', progress: 0.5 });
  end('old', 'failed', 'incr');
  expect(cycle()).toBeNull();
});

it('begins what a person asks for at once, one job at a time', () => {
  const { cycle, backups, end } = rig();
  expect(backups.backup('full', false)).toMatchObject({ done: false, message: expect.stringContaining('archive') });
  cycle();
  expect(backups.backup('verify', true)).toMatchObject({ done: true, leader: 'p', term: 3 });
  expect(cycle()).toBeNull();
  expect(backups.backup('verify', false)).toMatchObject({ done: true, job: 'job-1' });
  expect(cycle()).toEqual({ id: 'job-1', kind: 'verify' });
  expect(backups.backup('full', false)).toMatchObject({ done: false, message: expect.stringContaining('one runs') });
  end('job-1', 'failed', 'verify');
  cycle();
  expect(backups.backup('full', false)).toMatchObject({ done: true, job: 'job-2' });
});

it('says once that the backups are too old', () => {
  const { cycle, lines, hold, full, backups, end } = rig();
  hold(full());
  cycle();
  for (let day = 0; day < 3; day++) cycle(DAY);
  expect(lines).toEqual([expect.stringMatching(/^BACKUP_OLD the newest backup is of 2026-06-01/)]);
  expect(backups.summary()?.old).toContain('2026-06-01');
  hold(full());
  cycle();
  expect(backups.summary()?.old).toBeNull();
  end('none', 'done');
});

it.each([
  ['ahead by a day', DAY],
  ['back by a day', -DAY],
])('goes on with its job and its rests when the clock is set %s', (_, byMs) => {
  const { cycle, end, time } = rig();
  cycle();
  expect(cycle(60_000)).toEqual({ id: 'job-1', kind: 'full' });
  time.wall += byMs;
  expect(cycle()).toEqual({ id: 'job-1', kind: 'full' });
  end('job-1', 'failed');
  expect(cycle()).toBeNull();
  expect(cycle(119_000)).toBeNull();
  expect(cycle(2_000)).toEqual({ id: 'job-2', kind: 'full' });
});

it('makes one backup after a restore in place that the clock, set back since, has in the future', () => {
  const { cycle, end, hold, full, state, time } = rig();
  const before = full();
  state.restores = [{ atMs: time.wall + DAY, timeline: 1 }];
  hold({ ...before, usable: false });
  cycle();
  expect(cycle(60_000)).toEqual({ id: 'job-1', kind: 'full' });
  end('job-1', 'done');
  hold({ ...before, usable: false }, full());
  expect(cycle()).toBeNull();
  expect(cycle(HOUR)).toBeNull();
  expect(cycle(DAY - 2 * HOUR)).toBeNull();
});

it('says that there is no backup also when it began while the clock was ahead', () => {
  const { cycle, lines, time } = rig();
  time.wall -= 30 * DAY;
  cycle();
  cycle(HOUR);
  expect(lines).toEqual(['BACKUP_OLD there is no backup that can be restored']);
});

it('tells people what can be restored, and what is next', () => {
  const { cycle, hold, full, backups, time, state } = rig();
  hold(full());
  cycle();
  state.view = { ...NO_JOB, archivedMs: time.wall };
  cycle();
  const summary = BackupSummary.parse(backups.summary());
  expect(summary).toMatchObject({
    window: { from: '2026-06-01T12:00:00.000Z', to: '2026-06-01T12:00:01.000Z' },
    lastFull: { label: 'F', type: 'full' },
    next: { kind: 'incr', at: '2026-06-02T12:00:00.000Z' },
    ...{ job: null, lastJob: null, old: null, problem: null, storedBytes: 3, freeBytes: 9 },
    archive: { open: true, waitingBytes: 7, lagSeconds: 1, archivedTo: '0/500000', gap: null, gaps: [] },
  });
  expect(BackupsAnswer.parse(backups.list()).backups).toMatchObject([
    { label: 'F', start: '2026-06-01T12:00:00.000Z' },
  ]);
  // What the repository holds is still known while there is no leader.
  state.node = null;
  cycle();
  expect(backups.summary()).toMatchObject({ lastFull: { label: 'F' }, archive: { open: false } });
});

it('shows a gap as open until a backup after it can be restored, and lists it as long as the leader does', () => {
  const { cycle, hold, full, backups, state } = rig();
  const [first, second] = [3, 5].map((segment) => {
    return { from: `00000001000000000000000${segment}`, to: `00000001000000000000000${segment}` };
  });
  if (first === undefined || second === undefined) throw new Error('two gaps');
  const seen = () => {
    cycle();
    const { gap, gaps } = backups.summary()?.archive ?? {};
    return { gap, gaps };
  };
  hold({ ...full(), usable: false });
  state.gaps = [first, second];
  expect(seen()).toEqual({ gap: second, gaps: [first, second] });
  const old = { ...full(), usable: false };
  hold(old, { ...full(), stopMs: old.stopMs + 5_000 });
  expect(seen()).toEqual({ gap: null, gaps: [first, second] });
  expect(backups.summary()).toMatchObject({
    oldest: new Date(old.stopMs).toISOString(),
    window: { from: new Date(old.stopMs + 5_000).toISOString() },
  });
  state.gaps = [];
  expect(seen()).toEqual({ gap: null, gaps: [] });
  // A new monitor does not know the repository yet.
  state.view = undefined;
  state.gaps = [first];
  expect(seen()).toEqual({ gap: null, gaps: [first] });
});

it('does nothing without backups', () => {
  const { cycle, backups } = rig(null);
  expect(cycle(HOUR)).toBeNull();
  expect(backups.summary()).toBeNull();
  expect(backups.backup('full', false)).toMatchObject({
    done: false,
    message: expect.stringContaining('backup: false'),
  });
  expect(plansOf({ backup: true } as never)).toEqual([]);
});
