/** The procedure of a restore in place, step by step. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import { restoreRefusal, timelineAt } from '../../failover/core/facts/restores';
import { newWatch } from '../../failover/core/facts/watch';
import type { ClusterState, Decision, Policy } from '../../failover/core/state/cluster';
import type { Observation, Request } from '../../failover/core/state/observation';
import { parseState, printState } from '../../failover/core/state/stored';
import {
  entry,
  leaderView,
  NOW_MS,
  observation,
  orderOf,
  POLICY,
  replicaView,
  type StatusPart,
  serving,
  situation,
} from './world';

const BACKUP: Policy = { ...POLICY, backup: true };
const CLOSED = { reachable: true, epoch: '1@1', slot: null, closed: true, keeping: null, clean: true };
const ARCHIVE = { open: true, waiting: 0, waitingBytes: 0, archivedTo: '0/5000', timeline: 1 };
const ROOM = { freeBytes: 1e12 };
const SOON = { watch: { ...newWatch(NOW_MS - 60_000), stepSinceMs: NOW_MS - 500 } };
const WISH: Request = {
  ...{ id: 'r1', kind: 'restore', target: { kind: 'time', atMs: 1_700_000_000_000 } },
  ...{ timeline: 1, sizeBytes: 1e9, keepsOld: true },
};

/** p leads, a follows; `part` replaces fields of p's status. */
function seen(state: ClusterState, part: StatusPart = {}, more: Partial<Observation> = {}): Observation {
  const own: StatusPart = { ...ROOM, archive: ARCHIVE, ...part };
  return observation([leaderView(state, own), replicaView(state, 'a', ROOM)], { ...SOON, ...more });
}

const run = (state: ClusterState, see: Observation): Decision => decide(state, see, NOW_MS, BACKUP);

/** p with its PostgreSQL down, done with its present order or not. */
const down = (state: ClusterState, more: StatusPart = {}): StatusPart => {
  const order = state.orders.p;
  return {
    lead: null,
    accepted:
      order === undefined ? null : { incarnation: 1, term: order.term, seq: order.seq, kind: order.target.kind },
    postgres: { state: 'stopped', cleanShutdown: true },
    ...more,
  };
};

/** The states of a restore, one after the other, up to the wanted stage. */
function upTo(stage: 'prepare' | 'stop' | 'make' | 'swap'): ClusterState {
  let { state } = run(serving(['a']), seen(serving(['a']), {}, { request: WISH }));
  if (stage === 'prepare') return state;
  ({ state } = run(state, seen(state)));
  ({ state } = run(state, seen(state, {}, { haproxy: CLOSED })));
  if (stage === 'stop') return state;
  ({ state } = run(state, seen(state, down(state), { haproxy: CLOSED })));
  if (stage === 'make') return state;
  return run(state, seen(state, down(state), { haproxy: CLOSED })).state;
}

describe('a restore in place', () => {
  it('stops the leader first, then the others, makes the data, and swaps them', () => {
    const stop = upTo('stop');
    expect(stop.activity).toMatchObject({ kind: 'restore', stage: 'stop', above: 2 });
    expect(stop.orders.p?.target.kind).toBe('stop');
    expect(stop.orders.a?.target.kind).toBe('follow');
    const make = upTo('make');
    expect(make.orders.p?.target).toMatchObject({ kind: 'restore', step: 'make', id: 'r1', above: 2 });
    expect(make.orders.a?.target.kind).toBe('stop');
    expect(upTo('swap').orders.p?.target).toMatchObject({ kind: 'restore', step: 'swap', id: 'r1' });
    expect(parseState(printState(upTo('swap')))).toEqual(upTo('swap'));
  });

  it('lets only the restored data count afterwards: a new generation, one member, no other vote', () => {
    const state = upTo('swap');
    const swapped = { dataId: '1:new', restored: { id: 'r1', atMs: 5_000, keptBytes: 7 } };
    const made = run(state, seen(state, down(state, swapped), { haproxy: CLOSED }));
    expect(made).toMatchObject({
      code: 'RESTORED',
      state: {
        ...{ generation: 2, term: state.term + 1, leader: 'p', members: { p: '1:new' }, rebuild: {} },
        ...{ restored: { node: 'p', id: 'r1' }, restores: [{ atMs: 5_000, timeline: 1 }] },
        joint: [{ k: 0, members: [] }],
      },
    });
    expect(made.state.ledger.at(-1)).toMatchObject({ generation: 2, dataId: '1:new', opened: false });
    expect(orderOf(made.actions, 'a')?.kind).toBe('stop');
  });

  it('does not take data for restored that are not, or not of this restore', () => {
    const state = upTo('swap');
    const wrong = [{ dataId: '1:new' }, { restored: { id: 'r1', atMs: 5_000, keptBytes: 7 } }];
    for (const part of wrong) {
      expect(run(state, seen(state, down(state, part), { haproxy: CLOSED })).code).toBe('RESTORING');
    }
  });

  it('leads again with the former data when the keeper cannot make them', () => {
    const state = upTo('make');
    const failure = { code: 'RESTORE_IMPOSSIBLE' as const, message: 'a file is damaged' };
    const failed = run(state, seen(state, down(state, { done: false, failure }), { haproxy: CLOSED }));
    expect(failed).toMatchObject({
      code: 'RESTORE_FAILED',
      state: { generation: 1, term: state.term + 1, leader: 'p' },
    });
    expect(failed.state.members).toEqual(state.members);
    expect(failed.state.request?.aborted).toContain('a file is damaged');
  });

  it('waits for a keeper that only restarts, and gives a leader up that stays away; never while data are swapped', () => {
    const away = (state: ClusterState, sinceMs: number) => {
      const p = { ...leaderView(state), connected: false, status: null, changedAtMs: NOW_MS - sinceMs };
      return run(state, observation([p, replicaView(state, 'a', ROOM)], { ...SOON, haproxy: CLOSED }));
    };
    expect(away(upTo('make'), 1_000).code).toBe('RESTORING');
    expect(away(upTo('make'), 11_000)).toMatchObject({
      code: 'RESTORE_FAILED',
      state: { activity: { kind: 'serving' } },
    });
    expect(away(upTo('swap'), 600_000).code).toBe('RESTORING');
  });

  it('refuses every other operation meanwhile', () => {
    const state = upTo('make');
    const see = seen(state, down(state), { haproxy: CLOSED });
    const pause: Request = { kind: 'pause', pause: { reason: 'x', sinceWallMs: 1, untilWallMs: null } };
    expect(run(state, { ...see, request: { id: 's', kind: 'switchover', to: 'a' } }).code).not.toBe('SWITCHOVER_BEGUN');
    expect(run(state, { ...see, request: pause }).code).not.toBe('PAUSE_BEGUN');
  });
});

describe('a restore in place is refused', () => {
  const state = serving(['a']);
  const refusal = (see: Observation, wish: Request = WISH, of = state) => {
    if (wish.kind !== 'restore' && wish.kind !== 'undo' && wish.kind !== 'confirm') throw new Error(wish.kind);
    return restoreRefusal(situation(of, see, NOW_MS, BACKUP), wish);
  };

  it('never when all is well', () => {
    expect(refusal(seen(state))).toBeNull();
  });

  it.each<[string, StatusPart, RegExp]>([
    ['the archive takes nothing', { archive: { ...ARCHIVE, problem: 'no room' } }, /takes nothing.*no room/],
    ['the archive is far behind', { archive: { ...ARCHIVE, waitingBytes: 1e9 } }, /954 MB behind/],
    ['the leader does not archive yet', { archive: { ...ARCHIVE, archivedTo: null } }, /does not archive yet/],
    ['the disk is too small', { freeBytes: 5e8 }, /the disk of p has 477 MB free, and the old and the new data need/],
    ['a keeper is older', { freeBytes: undefined }, /may be of an older release/],
  ])('while %s', (_, part, words) => {
    expect(refusal(seen(state, part))).toMatch(words);
  });

  it('while the archive in S3 takes nothing, when that is the only place of the backups', () => {
    const see = seen(state, { s3: { place: 'x', archive: { ...ARCHIVE, problem: 'no route' } } });
    expect(refusal(see)).toBeNull();
    const backupS3 = { fullEveryMs: 86_400_000, everyMs: 86_400_000, only: true };
    expect(restoreRefusal(situation(state, see, NOW_MS, { ...BACKUP, backupS3 }), WISH)).toMatch(/no route/);
  });

  it('while a disk that both nodes share has no room for the copy', () => {
    const free = { freeBytes: 2e9 };
    const p = leaderView(state, { ...free, archive: ARCHIVE });
    const see = observation([p, replicaView(state, 'a', free)], SOON);
    expect(refusal(see)).toMatch(/the disk of a has/);
  });

  it('in a pause, and while data from before are kept', () => {
    const pause = { reason: 'disks', sinceWallMs: 1, untilWallMs: null };
    expect(refusal(seen(state), WISH, { ...state, pause })).toMatch(/paused \(disks\); resume first/);
    const kept = { ...state, restored: { id: 'r0', node: 'p', words: 'x' } };
    expect(refusal(seen(kept), WISH, kept)).toMatch(/still kept: restore --confirm/);
  });

  it('to be undone, without kept data, or when another node leads', () => {
    const undo: Request = { id: 'u', kind: 'undo' };
    expect(refusal(seen(state), undo)).toBe('no data from before a restore are kept');
    const kept = { ...state, restored: { id: 'r0', node: 'a', words: 'x' } };
    expect(refusal(seen(kept), undo, kept)).toMatch(/on a, which does not lead; switchover a first/);
    const own = { ...state, restored: { id: 'r0', node: 'p', words: 'x' } };
    expect(refusal(seen(own), undo, own)).toMatch(/does not have the data/);
    const has = { restored: { id: 'r0', atMs: 1, keptBytes: 9 } };
    expect(refusal(seen(own, has), undo, own)).toBeNull();
  });
});

describe('the timeline of a target', () => {
  const state = serving(['a'], {
    generation: 2,
    restores: [{ atMs: 1_000, timeline: 4 }],
    ledger: [entry({ generation: 2, timeline: 9 })],
  });

  it('is the one that a restore left, for a moment before it', () => {
    expect(timelineAt(state, { kind: 'time', atMs: 999 }, null)).toBe(4);
    expect(timelineAt(state, { kind: 'backup', label: '20260101-000000F' }, 500)).toBe(4);
  });

  it('is the present one after it', () => {
    expect(timelineAt(state, { kind: 'time', atMs: 1_001 }, null)).toBe(9);
    expect(timelineAt(state, { kind: 'latest' }, 500)).toBe(9);
  });
});
