/** The archiving of the opened leader: who archives, for how long, in which order, and what ends it. */
import { expect, it } from 'vitest';
import type { Gap } from '../../failover/contract/backups';
import type { NodeSettings } from '../../failover/contract/messages';
import { Archiving, type ArchivingHost } from '../../failover/keeper/archiving';
import type { Leadership } from '../../failover/keeper/leadership';
import type { Archive } from '../../failover/keeper/ports';
import { NO_VIEW, NOTHING_SEEN } from '../../failover/keeper/ports';
import { STACK_SETTINGS } from '../../simulator/machine';

const LEASE_MS = 2_000;
const SETTINGS: NodeSettings = {
  ...{ ...STACK_SETTINGS, nodes: [{ name: 'a', address: '10.0.0.20' }], postgresSettings: {} },
  backup: { leaseMs: LEASE_MS, queueBytes: 1_000 },
};
const file = (segment: number) => `00000001000000000000000${segment}`;
/** Lets everything that waits for nothing run. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A leader of term 3. `boot` and `mono` are its two clocks; only the first goes on while the machine is suspended. */
function rig() {
  const time = { boot: 1_000_000, mono: 1_000 };
  const did: string[] = [];
  const notes: string[] = [];
  const state = {
    leadership: { term: 3, calm: true } as Leadership | null,
    /** Why pgBackRest fails; null: it does not. */
    fails: null as string | null,
    /** Files that are finished and wait. */
    waits: 0,
    present: '0/300000',
    gaps: [] as readonly Gap[],
    /** Called when a file was handed over. */
    after: (() => undefined) as () => void,
    /** Ends the push that hangs; null: none does. */
    hangs: null as (() => void) | null,
  };
  const may = () => {
    if (state.fails !== null) throw new Error(state.fails);
  };
  const archive: Archive = {
    bootMs: () => time.boot,
    prepare: async (timeline, archived) => {
      state.gaps = archived?.gaps ?? state.gaps;
      did.push(`prepare ${timeline} ${archived && `${archived.lsn} of ${archived.timeline}`}`);
      may();
    },
    push: async () => {
      if (state.waits === 0) return false;
      did.push('push');
      if (state.hangs !== null)
        await new Promise<void>((_, reject) => (state.hangs = () => reject(new Error('killed'))));
      may();
      state.waits -= 1;
      state.after();
      return true;
    },
    finish: async (archived) => {
      did.push(`finish ${archived && `${archived.lsn} of ${archived.timeline}`}`);
      may();
    },
    shut: () => {
      did.push('shut');
      state.hangs?.();
    },
    look: () => ({
      waiting: state.waits,
      waitingBytes: state.waits,
      archivedTo: '0/300000',
      timeline: 2,
      gaps: [...state.gaps],
    }),
    letGo: async (_, bytes) => {
      did.push(`let go ${bytes}`);
      if (state.waits > bytes) state.gaps = [{ from: file(1), to: file(state.gaps.length === 0 ? 2 : 3) }];
    },
    changeGaps: async (make) => {
      state.gaps = make(state.gaps);
    },
    present: () => state.present,
    switchSegment: async () => void did.push('switch'),
    keep: async (archivedTo) => void did.push(`keep ${archivedTo}`),
    release: async () => void did.push('release'),
  };
  const sql = { ...NOTHING_SEEN, inRecovery: false, timeline: 2, flushLsn: '0/400000' };
  const host: ArchivingHost & { settings: NodeSettings } = {
    settings: SETTINGS,
    view: { ...NO_VIEW, sql },
    settled: true,
    leadership: () => state.leadership,
    note: (_, code, message) => void notes.push(`${code} ${message}`),
  };
  const archiving = new Archiving(archive, { nowMs: () => time.mono, sleep: settle }, host);
  let n = 0;
  const pass = (ms: number) => {
    time.boot += ms;
    time.mono += ms;
  };
  /** A ping 100 ms later, which says that the monitor has the answer to the one before it, or to an older one. */
  const ping = async (term: number | null = 3, heard = n, archivedTo?: string, archivedGaps?: Gap[]) => {
    pass(100);
    n += 1;
    archiving.pinged({
      type: 'ping',
      n,
      ...(term !== null && { archive: { term, heard } }),
      ...(archivedTo && { archivedTo, archivedTimeline: 1, ...(archivedGaps && { archivedGaps }) }),
    });
    for (let turn = 0; turn < 5; turn++) await settle();
  };
  /** So many files more are finished. */
  const finish = (files: number) => {
    did.length = 0;
    state.waits += files;
  };
  const opened = async () => {
    for (let turn = 0; turn < 4; turn++) await ping();
    expect(archiving.view?.open).toBe(true);
  };
  const pushes = () => did.filter((line) => line === 'push').length;
  return { time, did, notes, state, host, archiving, pass, ping, opened, finish, pushes };
}

it('hands over all that is finished, once the repository is ready', async () => {
  const { did, finish, ping, archiving } = rig();
  finish(3);
  await ping();
  expect(did).toEqual(['keep null']);
  await ping();
  expect(did).toEqual(['keep null', 'prepare 2 null', 'push', 'push', 'push']);
  expect(archiving.view).toMatchObject({ open: true, archivedTo: '0/300000' });
});

it('gives a late ping no time: what it says was heard was sent long ago', async () => {
  const { ping, pass, opened, archiving, finish, pushes } = rig();
  await opened();
  pass(LEASE_MS);
  finish(1);
  for (let turn = 0; turn < 5; turn++) await ping(3, 4);
  expect(archiving.view?.open).toBe(false);
  expect(pushes()).toBe(0);
});

it('counts the time for which the machine was suspended', async () => {
  const { time, ping, opened, archiving, finish, pushes } = rig();
  await opened();
  time.boot += LEASE_MS;
  finish(1);
  await ping();
  expect(archiving.view?.open).toBe(false);
  expect(pushes()).toBe(0);
});

it.each<[string, (r: ReturnType<typeof rig>) => Promise<void>]>([
  ['the monitor takes it', ({ ping }) => ping(null)],
  ['the monitor means another term', ({ ping }) => ping(4)],
  [
    'the node does not lead any more',
    async ({ state, ping }) => {
      state.leadership = null;
      await ping();
    },
  ],
  [
    'there are no backups any more',
    async ({ host, ping }) => {
      host.settings = { ...SETTINGS, backup: undefined };
      await ping();
    },
  ],
])('ends the push under way, and begins no other one, when %s', async (_, act) => {
  const all = rig();
  await all.opened();
  all.state.hangs = () => undefined;
  all.finish(2);
  await all.ping();
  await act(all);
  expect(all.did).toContain('shut');
  expect(all.pushes()).toBe(1);
  expect(all.archiving.view).toBeUndefined();
  expect(all.notes).toEqual([]);
});

it.each<[string, (r: ReturnType<typeof rig>) => void]>([
  ['its lease', ({ pass }) => pass(LEASE_MS)],
  [
    'the leadership',
    ({ state }) => {
      state.leadership = null;
    },
  ],
])('ends the push under way with %s, also when no ping comes any more', async (_, act) => {
  const all = rig();
  await all.opened();
  all.state.hangs = () => undefined;
  all.finish(2);
  await all.ping();
  expect(all.did).toEqual(['push']);
  act(all);
  for (let turn = 0; turn < 5; turn++) await settle();
  expect(all.did).toContain('shut');
  expect(all.pushes()).toBe(1);
});

it('begins no further file after the leadership has ended', async () => {
  const { state, opened, finish, ping, pushes } = rig();
  await opened();
  finish(3);
  state.after = () => {
    state.leadership = null;
  };
  await ping();
  expect(pushes()).toBe(1);
});

it('does not take the answers of an earlier connection for those of this one', async () => {
  const { ping, opened, archiving, pass } = rig();
  await opened();
  pass(LEASE_MS - 100);
  archiving.connected();
  await ping();
  expect(archiving.view?.open).toBe(false);
});

it('leaves a new leader alone before its clients have had the machine for a while', async () => {
  const { did, state, ping } = rig();
  state.leadership = { term: 3, calm: false } as Leadership;
  for (let turn = 0; turn < 4; turn++) await ping();
  expect(did).toEqual([]);
});

it('begins with what the former leader had not archived, as the monitor said', async () => {
  const { did, state, ping } = rig();
  state.leadership = null;
  await ping(null, 0, '0/200000');
  state.leadership = { term: 3, calm: true } as Leadership;
  await ping();
  await ping();
  expect(did).toContain('prepare 2 0/200000 of 1');
});

it('goes on where it was when a new monitor knows nothing', async () => {
  const { did, ping, opened } = rig();
  await opened();
  await ping(null);
  did.length = 0;
  await ping();
  await ping();
  expect(did).toContain('prepare 2 0/300000 of 2');
});

it('keeps what the repository does not have, also as a standby, and drops the slot once without backups', async () => {
  const { did, state, ping, pass, host } = rig();
  state.leadership = null;
  await ping(null, 0, '0/200000');
  expect(did).toEqual(['keep 0/200000']);
  host.settings = { ...SETTINGS, backup: undefined };
  for (let turn = 0; turn < 3; turn++) {
    pass(10_000);
    await ping(null);
  }
  expect(did).toEqual(['keep 0/200000', 'release']);
});

it('lets nothing go as a new leader because of what a former one had archived', async () => {
  const { did, state, ping, pass, opened } = rig();
  state.fails = 'no room';
  await ping(3, 0, '0/900000');
  await ping();
  expect(did).toEqual(['keep null', 'prepare 2 0/900000 of 1']);
  state.fails = null;
  pass(60_000);
  await opened();
  pass(10_000);
  await ping();
  expect(did.at(-1)).toBe('keep 0/300000');
});

it.each(['prepare', 'push'])(
  'tries again when it fails to %s, after rests that grow, and says it once',
  async (what) => {
    const { did, notes, state, ping, opened, finish, archiving } = rig();
    if (what === 'push') await opened();
    state.fails = 'no room';
    finish(1);
    const tries = () => did.filter((line) => line.startsWith(what)).length;
    await ping();
    await ping();
    expect(tries()).toBe(1);
    expect(archiving.view).toMatchObject({ open: true, problem: 'no room' });
    for (let turn = 0; turn < 11; turn++) await ping();
    expect(tries()).toBe(2);
    for (let turn = 0; turn < 11; turn++) await ping();
    expect(tries()).toBe(2);
    state.fails = null;
    for (let turn = 0; turn < 11; turn++) await ping();
    expect(tries()).toBe(3);
    expect(state.waits).toBe(0);
    expect(archiving.view?.problem).toBeUndefined();
    expect(notes).toEqual(['ARCHIVE_PROBLEM no room']);
  },
);

it('lets write-ahead log go only while the archive takes nothing, and notes the gap once', async () => {
  const { did, notes, state, ping, pass, opened, finish } = rig();
  await opened();
  finish(2_000);
  state.hangs = () => undefined;
  for (let turn = 0; turn < 60; turn++) await ping();
  expect(did.filter((line) => line.startsWith('let go'))).toEqual([]);
  state.fails = 'no room';
  state.hangs();
  await settle();
  for (let turn = 0; turn < 3; turn++) {
    pass(LEASE_MS);
    for (let more = 0; more < 60; more++) await ping();
  }
  expect(did).toContain('let go 1000');
  const gapNotes = () => notes.filter((note) => note.startsWith('ARCHIVE_GAP'));
  const words = (to: number) =>
    `ARCHIVE_GAP write-ahead log from ${file(1)} to ${file(to)} was let go or is lost: it is in no backup`;
  expect(gapNotes()).toEqual([words(2)]);
  state.fails = null;
  const { hangs } = state;
  state.hangs = null;
  hangs();
  pass(60_000);
  for (let turn = 0; turn < 5; turn++) await ping();
  expect(gapNotes()).toEqual([words(2), words(3)]);
});

it('writes down on a standby what the leader let go, and goes on from there when it leads itself', async () => {
  const { state, ping, archiving, did } = rig();
  const { leadership } = state;
  state.leadership = null;
  const gap = { from: file(1), to: file(2) };
  await ping(null, 0, '0/300000', [gap]);
  expect(state.gaps).toEqual([gap]);
  // The monitor is a new one and knows nothing yet.
  for (let turn = 0; turn < 60; turn++) await ping(null);
  expect(state.gaps).toEqual([gap]);
  state.leadership = leadership;
  for (let turn = 0; turn < 3; turn++) await ping();
  expect(did).toContain('prepare 2 0/300000 of 1');
  expect(archiving.view?.gaps).toEqual([gap]);
});

it('forgets a gap when no backup that it cuts off is kept any more', async () => {
  const { state, opened, archiving } = rig();
  await opened();
  state.gaps = [1, 3, 5].map((segment) => ({ from: file(segment), to: file(segment) }));
  archiving.forgetGaps(file(3));
  await settle();
  expect(archiving.view?.gaps?.map(({ to }) => to)).toEqual([file(3), file(5)]);
  archiving.forgetGaps(`00000002${file(6).slice(8)}`);
  await settle();
  expect(archiving.view?.gaps).toBeUndefined();
});

/** Pings for so many seconds. */
async function forSeconds({ ping }: ReturnType<typeof rig>, seconds: number): Promise<void> {
  for (let turn = 0; turn < seconds * 10; turn++) await ping();
}
const switches = ({ did }: ReturnType<typeof rig>) => did.filter((line) => line === 'switch').length;

it('finishes a file that is not full after a minute', async () => {
  const all = rig();
  await all.opened();
  await forSeconds(all, 59);
  expect(switches(all)).toBe(0);
  await forSeconds(all, 2);
  expect(switches(all)).toBe(1);
  all.state.present = '0/400000';
  await forSeconds(all, 59);
  expect(switches(all)).toBe(1);
  await forSeconds(all, 2);
  expect(switches(all)).toBe(2);
});

it.each<[string, (r: ReturnType<typeof rig>) => void]>([
  [
    'the archive takes nothing',
    ({ state, finish }) => {
      state.fails = 'no room';
      finish(1);
    },
  ],
  [
    'the leadership ends',
    ({ state }) => {
      state.leadership = null;
    },
  ],
])('finishes none while %s', async (_, act) => {
  const all = rig();
  await all.opened();
  act(all);
  await forSeconds(all, 70);
  expect(switches(all)).toBe(0);
});
