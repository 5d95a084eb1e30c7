/** Two places of the backups in the monitor: a schedule for each, and one job at a time. */
import { expect, it } from 'vitest';
import { isOnlyHere, placeWords } from '../../failover/contract/backup-place';
import type { JobOrder, RepositoryName } from '../../failover/contract/backups';
import type { Policy } from '../../failover/contract/inputs';
import type { Decision } from '../../failover/core/state/cluster';
import type { Observation } from '../../failover/core/state/observation';
import { BackupPlaces } from '../../failover/monitor/backup-places';

const DAY = 86_400_000;
const POLICY = { backup: true, backupFullEveryMs: 7 * DAY, backupEveryMs: DAY };
const S3 = { fullEveryMs: 30 * DAY, everyMs: 2 * DAY, only: false };

function rig(policy: object) {
  const time = { mono: 1_000, wall: Date.parse('2026-06-01T12:00:00Z') };
  const sent: Partial<Record<RepositoryName, JobOrder | null>> = {};
  const ends: Partial<Record<RepositoryName, string>> = {};
  let ids = 0;
  const places = new BackupPlaces(
    policy as Policy,
    { backup: (order, name = 'local') => void Object.assign(sent, { [name]: order }) },
    { nowMs: () => time.mono },
    { write: () => undefined },
    () => `job-${++ids}`,
    () => time.wall,
  );
  const part = (name: RepositoryName) => {
    const id = ends[name];
    const made = { label: name, type: 'full', startMs: time.wall, stopMs: time.wall, usable: true, sizeBytes: 1 };
    const last = id && { id, kind: 'full', result: 'done', message: '', endedMs: time.wall, tookMs: 1 };
    const repository = { backups: id ? [{ ...made, storedBytes: 1 }] : [], leftOut: 0, freeBytes: null };
    const archive = { open: true, waiting: 0, waitingBytes: name === 's3' ? 9 : 0, archivedTo: '0/500000' };
    return { archive, backup: { job: null, last: last ?? null, archivedMs: null, version: 1, repository } };
  };
  const cycle = (afterMs: number) => {
    time.mono += afterMs;
    time.wall += afterMs;
    const status = { ...part('local'), s3: { place: 'x', ...part('s3') } };
    const actions = [{ kind: 'archive', node: 'p', term: 3 }];
    const decision = { state: { activity: { kind: 'serving' } }, actions } as unknown as Decision;
    places.cycle(decision, { nodes: { p: { connected: true, status } } } as unknown as Observation);
  };
  return { places, sent, ends, cycle };
}

it('makes the first backup in one place, and then in the other', () => {
  const { places, sent, ends, cycle } = rig({ ...POLICY, backupS3: S3 });
  for (let s = 0; s < 62; s++) cycle(1_000);
  expect(sent).toEqual({ local: { id: 'job-1', kind: 'full' }, s3: null });
  expect(places.backup('full', false, 's3').message).toContain('other place');
  ends.local = 'job-1';
  for (let s = 0; s < 3; s++) cycle(1_000);
  expect(sent).toEqual({ local: null, s3: { id: 'job-2', kind: 'full' } });
  ends.s3 = 'job-2';
  for (let s = 0; s < 3; s++) cycle(1_000);
  expect(sent).toEqual({ local: null, s3: null });
  const summary = places.summary();
  expect([summary?.repository, summary?.second?.repository]).toEqual(['local', 's3']);
  expect(summary?.second?.archive.waitingBytes).toBe(9);
  expect(Date.parse(summary?.second?.next?.at ?? '')).toBeGreaterThan(Date.parse(summary?.next?.at ?? ''));
  expect(places.list()?.second?.backups).toHaveLength(1);
});

it('begins a person’s job where it is asked for, and refuses a place that is not there', () => {
  const { places, sent, cycle } = rig({ ...POLICY, backupS3: S3 });
  cycle(1_000);
  expect(places.backup('verify', false, 's3')).toMatchObject({ done: true, message: expect.stringContaining('in S3') });
  cycle(1_000);
  expect(sent).toEqual({ local: null, s3: { id: 'job-1', kind: 'verify' } });
  const alone = rig(POLICY);
  alone.cycle(1_000);
  expect(alone.places.backup('full', false, 's3')).toMatchObject({
    done: false,
    message: expect.stringContaining('local'),
  });
  expect(alone.places.summary()?.second).toBeUndefined();
});

it('keeps none on the machine when S3 is the only place', () => {
  const { places, cycle } = rig({ ...POLICY, backupS3: { ...S3, only: true } });
  cycle(1_000);
  expect(places.summary()?.repository).toBe('s3');
  expect(places.summary()?.second).toBeUndefined();
  expect(rig({ ...POLICY, backup: false, backupS3: S3 }).places.summary()).toBeNull();
});

it('restores in place from the machine, and from S3 when that is the only place', () => {
  const wanted = (backupS3?: object) => {
    const { places, ends, cycle } = rig({ ...POLICY, ...(backupS3 && { backupS3 }) });
    Object.assign(ends, { local: 'a', s3: 'b' });
    cycle(1_000);
    return places.restore({ kind: 'backup', label: '20260131-120000F' });
  };
  expect(wanted(S3)).toEqual({ refusal: 'there is no backup 20260131-120000F; there are local' });
  expect(wanted({ ...S3, only: true })).toEqual({ refusal: 'there is no backup 20260131-120000F; there are s3' });
  const off = rig({ ...POLICY, backup: false, backupS3: S3 }).places;
  expect(off.restore({ kind: 'latest' })).toEqual({ refusal: 'backups are off in this stack (backup: false)' });
  expect(off.refuse('why')).toMatchObject({ done: false, message: 'why' });
});

it('says that the backups share the machine’s fate only while no second place is there', () => {
  expect(placeWords({})).toContain('on the same machine as the data');
  expect(isOnlyHere({ repository: 'local', second: { repository: 's3' } })).toBe(false);
  expect(placeWords({ repository: 'local', second: { repository: 's3' } })).toBe(
    'The backups are on this machine, and in S3.',
  );
  expect(placeWords({ repository: 's3' })).toBe('The backups are in S3 alone.');
});
