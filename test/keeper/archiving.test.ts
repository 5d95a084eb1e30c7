/** The lease of the node that archives: who gets it, for how long, and what ends it. */
import { expect, it } from 'vitest';
import type { NodeSettings } from '../../failover/contract/messages';
import { Archiving, type ArchivingHost, withArchive } from '../../failover/keeper/archiving';
import type { Leadership } from '../../failover/keeper/leadership';
import type { Archive, ArchiveLease } from '../../failover/keeper/ports';
import { NO_VIEW, NOTHING_SEEN } from '../../failover/keeper/ports';
import { STACK_SETTINGS } from '../../simulator/machine';

const LEASE_MS = 2_000;
const SETTINGS: NodeSettings = {
  ...{ ...STACK_SETTINGS, nodes: [{ name: 'a', address: '10.0.0.20' }], postgresSettings: {} },
  backup: { leaseMs: LEASE_MS, queueBytes: 1_000 },
};

/** A leader of term 3. `boot` and `mono` are its two clocks; only the first goes on while the machine is suspended. */
function rig() {
  const time = { boot: 1_000_000, mono: 1_000 };
  const did: string[] = [];
  const notes: string[] = [];
  const state = {
    lease: null as ArchiveLease | null,
    leadership: { term: 3, calm: true } as Leadership | null,
    fails: false,
    waits: 0,
  };
  const archive: Archive = {
    bootMs: () => time.boot,
    prepare: async (timeline, archivedTo) => {
      did.push(`prepare ${timeline} ${archivedTo}`);
      if (state.fails) throw new Error('no room');
    },
    open: (lease) => {
      state.lease = lease;
    },
    shut: () => {
      state.lease = null;
    },
    look: async () => ({ waiting: state.waits, waitingBytes: state.waits, archivedTo: '0/300000' }),
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
  const archiving = new Archiving(archive, { nowMs: () => time.mono, sleep: async () => undefined }, host);
  let n = 0;
  const pass = (ms: number) => {
    time.boot += ms;
    time.mono += ms;
  };
  /** A ping 100 ms later, which says that the monitor has the answer to the one before it, or to an older one. */
  const ping = async (term: number | null = 3, heard = n, archivedTo?: string) => {
    pass(100);
    n += 1;
    archiving.pinged({
      type: 'ping',
      n,
      ...(term !== null && { archive: { term, heard } }),
      ...(archivedTo && { archivedTo }),
    });
    await new Promise((resolve) => setImmediate(resolve));
  };
  const opened = async () => {
    for (let turn = 0; turn < 4; turn++) await ping();
    expect(state.lease).not.toBeNull();
  };
  return { time, did, notes, state, host, archiving, pass, ping, opened };
}

it('opens the gate once the repository is ready, with a lease that begins when the answer was sent', async () => {
  const { time, did, state, ping, archiving } = rig();
  await ping();
  expect(state.lease).toBeNull();
  await ping();
  await ping();
  expect(did).toContain('prepare 2 null');
  expect(state.lease).toEqual({ term: 3, timeline: 2, untilBootMs: time.boot - 100 + LEASE_MS });
  expect(archiving.view).toMatchObject({ open: true });
});

it('gives a late ping no time: what it says was heard was sent long ago', async () => {
  const { time, state, ping, pass, opened, archiving } = rig();
  await opened();
  const until = state.lease?.untilBootMs ?? 0;
  pass(LEASE_MS);
  for (let turn = 0; turn < 5; turn++) await ping(3, 4);
  expect(state.lease?.untilBootMs).toBeLessThanOrEqual(until + 100);
  expect(time.boot).toBeGreaterThan(state.lease?.untilBootMs ?? 0);
  expect(archiving.view?.open).toBe(false);
});

it('counts the time for which the machine was suspended', async () => {
  const { time, state, ping, opened } = rig();
  await opened();
  time.boot += LEASE_MS;
  await ping();
  expect(time.boot).toBeGreaterThan(state.lease?.untilBootMs ?? 0);
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
])('shuts the gate when %s', async (_, act) => {
  const all = rig();
  await all.opened();
  await act(all);
  expect(all.state.lease).toBeNull();
  expect(all.archiving.view).toBeUndefined();
});

it('does not take the answers of an earlier connection for those of this one', async () => {
  const { state, ping, opened, archiving, pass } = rig();
  await opened();
  const before = state.lease;
  pass(LEASE_MS / 2);
  archiving.connected();
  await ping();
  expect(state.lease).toEqual(before);
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
  expect(did).toContain('prepare 2 0/200000');
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

it('tries a repository that is not ready again, after rests that grow, and says it once', async () => {
  const { did, notes, state, ping, pass, archiving } = rig();
  state.fails = true;
  const tries = () => did.filter((line) => line.startsWith('prepare')).length;
  await ping();
  await ping();
  expect(tries()).toBe(1);
  expect(archiving.view).toMatchObject({ open: false, problem: 'no room' });
  for (let turn = 0; turn < 11; turn++) await ping();
  expect(tries()).toBe(2);
  for (let turn = 0; turn < 11; turn++) await ping();
  expect(tries()).toBe(2);
  pass(60_000);
  state.fails = false;
  await ping();
  await ping();
  expect(state.lease).not.toBeNull();
  expect(notes).toEqual(['ARCHIVE_PROBLEM no room']);
});

it('leaves PostgreSQL’s settings alone without backups, and keeps a person’s archive_timeout', () => {
  const plain = { ...SETTINGS, backup: undefined };
  expect(withArchive(plain)).toBe(plain);
  const of = (postgresSettings: Record<string, string>) =>
    withArchive({ ...SETTINGS, postgresSettings }).postgresSettings;
  expect(of({})).toMatchObject({ archive_mode: 'on', archive_timeout: '60s' });
  expect(of({ archive_timeout: '5min' })).toMatchObject({ archive_mode: 'on', archive_timeout: '5min' });
});
