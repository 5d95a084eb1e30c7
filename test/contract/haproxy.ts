/**
 * How HAProxy's runtime API and sessions behave, as the monitor relies on it. Each case runs with the real HAProxy and
 * its shipped configuration, and with the simulator's model. It uses the monitor's own `ask` and parsers.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import {
  parseEpoch,
  parseLoads,
  parseOldWorkers,
  parseServers,
  type Session,
} from '../../failover/monitor/router/haproxy-socket';
import { sessionsIn } from '../rig/haproxy-sessions';

/** A client at one of the two ports. */
export interface ContractClient {
  /** Address of the node that has answered; null: none yet. */
  node(): string | null;
  ended(): boolean;
  leave(): void;
}

export interface HaproxyUnderTest {
  /** Addresses of two nodes that answer. */
  readonly a: string;
  readonly b: string;
  admin(commands: string): Promise<string>;
  master(commands: string): Promise<string>;
  dial(port: 'write' | 'read'): ContractClient;
  reload(): Promise<void>;
  restart(): Promise<void>;
  /** Freezes node b (true), or lets it continue (false). */
  hang(still: boolean): Promise<void>;
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1_500; i++) {
    if (await holds()) return;
    await delay(5);
  }
  throw new Error(`never: ${what}`);
}

const servers = async (h: HaproxyUnderTest) => parseServers(await h.admin('show servers state'));
const server = async (h: HaproxyUnderTest, backend: string, name: string) =>
  (await servers(h)).find((s) => s.backend === backend && s.server === name);
const sessions = async (h: HaproxyUnderTest) => sessionsIn(await h.admin('show sess'));
/** Sessions and queue of a server of the write backend; with the name `BACKEND`, of the whole backend. */
const load = async (h: HaproxyUnderTest, name: string) =>
  parseLoads(await h.admin('show stat -1 6 -1')).find((l) => l.backend === 'write' && l.server === name);
const epoch = async (h: HaproxyUnderTest) => parseEpoch(await h.admin('show info').catch(() => ''));

const slotOf = (h: HaproxyUnderTest, address: string) => (address === h.a ? 'node1' : 'node2');
const isClosed = async (h: HaproxyUnderTest) =>
  (await servers(h)).filter((s) => s.backend === 'write' && s.server !== 'hold').every((s) => s.maintenance);

/**
 * Opens the write slot of this address. HAProxy applies a new address after it has answered, so it is read back (S15).
 */
async function openOn(h: HaproxyUnderTest, address: string): Promise<void> {
  const name = slotOf(h, address);
  await h.admin(`set server write/${name} addr ${address} port 5432`);
  await until(`${name} has the address ${address}`, async () => {
    const slot = await server(h, 'write', name);
    return slot?.address === address && slot.port === 5432;
  });
  const others = ['node1', 'node2'].filter((other) => other !== name);
  const close = others.map((other) => `set server write/${other} state maint`);
  await h.admin([...close, `set server write/${name} state ready`].join(';'));
}

/** Connects a client that a node answers, and finds its session. */
async function established(h: HaproxyUnderTest, port: 'write' | 'read'): Promise<{ c: ContractClient; s: Session }> {
  const known = new Set((await sessions(h)).map((s) => s.id));
  const c = h.dial(port);
  await until('the client is answered', () => c.node() !== null);
  const s = (await sessions(h)).find((x) => !known.has(x.id) && x.backend === port);
  if (s === undefined) throw new Error('its session is not shown');
  return { c, s };
}

const anotherWorker = (h: HaproxyUnderTest, before: string | null) =>
  until('there is a new worker', async () => ![null, before].includes(await epoch(h)));

export const HAPROXY_CONTRACT: Readonly<Record<string, (h: HaproxyUnderTest) => Promise<void>>> = {
  'starts closed: all slots in maintenance (S15)': async (h) => {
    expect(await isClosed(h)).toBe(true);
    const read = (await servers(h)).filter((s) => s.backend === 'read' && /^node\d$/.test(s.server));
    expect(read.map((s) => s.maintenance)).toEqual(Array(9).fill(true));
    expect(await epoch(h)).toMatch(/^\d+@\d+$/);
  },
  'shows changed values, and accepts several commands in one line': async (h) => {
    await openOn(h, h.a);
    const set = `set server write/node1 state maint;set server read/node1 addr ${h.a} port 5432`;
    const shown = parseServers(await h.admin(`${set};set server read/node1 state ready;show servers state`));
    expect(shown.length).toBeGreaterThan(9);
    expect(await server(h, 'write', 'node1')).toMatchObject({ maintenance: true });
    await until('the read slot leads to a', async () => (await server(h, 'read', 'node1'))?.address === h.a);
    expect(await server(h, 'read', 'node1')).toMatchObject({ maintenance: false });
    await h.admin('set server read/node1 state maint');
    expect(await server(h, 'read', 'node1')).toMatchObject({ maintenance: true });
  },
  'changes nothing for a server that it does not have': async (h) => {
    // Wait until the last change is in force, so that the two answers can be compared.
    await openOn(h, h.a);
    const before = await servers(h);
    await h.admin(`set server read/node12 addr ${h.a} port 5432;set server read/node12 state ready`);
    expect(await servers(h)).toEqual(before);
  },
  'holds a client while the slot is closed, in the queue and on no node': async (h) => {
    const c = h.dial('write');
    await until('it waits in the queue', async () => (await load(h, 'BACKEND'))?.queued === 1);
    // The first one has the place in `hold`, which leads back into the queue.
    expect(await load(h, 'hold')).toMatchObject({ sessions: 1, limit: 1 });
    expect((await sessions(h)).filter((s) => s.state === 'waits')).toMatchObject([{ backend: 'write', slot: null }]);
    expect(await load(h, 'node1')).toMatchObject({ sessions: 0, queued: 0 });
    expect(c.node()).toBeNull();
    await openOn(h, h.a);
    await until('it is let in', () => c.node() === h.a);
    expect(await load(h, 'BACKEND')).toMatchObject({ queued: 0 });
  },
  'lets all held clients in, also after some of them have left': async (h) => {
    const held = Array.from({ length: 12 }, () => h.dial('write'));
    await until('they wait', async () => (await load(h, 'BACKEND'))?.queued === 12);
    // The first of these clients has the place in `hold`. When it leaves, the next client gets the place.
    for (const c of held.splice(0, 4)) c.leave();
    await until('those that left are no longer queued', async () => (await load(h, 'BACKEND'))?.queued === 8);
    expect(await load(h, 'hold')).toMatchObject({ sessions: 1 });
    await openOn(h, h.a);
    await until('the others are let in', () => held.every((c) => c.node() === h.a));
  },
  'holds new clients when the slot is closed again, and lets them in through another slot': async (h) => {
    await openOn(h, h.a);
    const { c } = await established(h, 'write');
    await h.admin('set server write/node1 state maint');
    const held = [h.dial('write'), h.dial('write')];
    await until('they wait', async () => (await load(h, 'BACKEND'))?.queued === 2);
    expect(await load(h, 'node1')).toMatchObject({ sessions: 1 });
    await openOn(h, h.b);
    await until('they are let in', () => held.every((x) => x.node() === h.b));
    expect([c.node(), c.ended()]).toEqual([h.a, false]);
  },
  'counts the sessions of each slot, and none that has ended (S2)': async (h) => {
    await openOn(h, h.a);
    const first = await established(h, 'write');
    const second = await established(h, 'write');
    expect(await load(h, 'node1')).toMatchObject({ sessions: 2, queued: 0 });
    expect(await load(h, 'node2')).toMatchObject({ sessions: 0 });
    // A backend's number in the command limits the answer to this backend.
    const number = (await server(h, 'write', 'node1'))?.backendId ?? '';
    const own = parseLoads(await h.admin(`show stat ${number} 6 -1`));
    expect(own.find((l) => l.server === 'node1')).toMatchObject({ backend: 'write', sessions: 2 });
    expect(new Set(own.map((l) => l.backend)).size).toBe(1);
    first.c.leave();
    await until('one is counted', async () => (await load(h, 'node1'))?.sessions === 1);
    await h.admin('set server write/node1 state maint;shutdown sessions server write/node1');
    await until('the other one has ended', () => second.c.ended());
    await until('none is counted', async () => (await load(h, 'node1'))?.sessions === 0);
  },
  'lets no more sessions into a slot than its limit, and serves the queue again when a limit is set (S24)': async (
    h,
  ) => {
    await openOn(h, h.a);
    const { limit, total } = { limit: 0, total: 0, ...(await load(h, 'node1')) };
    if (limit === null) throw new Error('there is no limit');
    expect(limit).toBeGreaterThan(1);
    await h.admin('set maxconn server write/node1 1');
    const first = h.dial('write');
    await until('the first one is let in', () => first.node() === h.a);
    const second = h.dial('write');
    await until('the second one waits', async () => (await load(h, 'BACKEND'))?.queued === 1);
    expect(await load(h, 'node1')).toMatchObject({ sessions: 1, limit: 1 });
    await h.admin(`set maxconn server write/node1 ${limit}`);
    await until('the second one is let in', () => second.node() === h.a);
    expect(await load(h, 'node1')).toMatchObject({ sessions: 2, limit, total: total + 2 });
    // A lower limit ends no session, and lets no client in.
    await h.admin('set maxconn server write/node1 1');
    const third = h.dial('write');
    await until('the third one waits', async () => (await load(h, 'BACKEND'))?.queued === 1);
    second.leave();
    await until('the second one has left', async () => (await load(h, 'node1'))?.sessions === 1);
    expect([first.ended(), third.node()]).toEqual([false, null]);
    await h.admin(`set maxconn server write/node1 ${limit}`);
    await until('the third one is let in', () => third.node() === h.a);
    expect(await load(h, 'node1')).toMatchObject({ total: total + 3 });
  },
  'shows an established session with its slot and state': async (h) => {
    await openOn(h, h.a);
    const { s } = await established(h, 'write');
    expect(s).toMatchObject({ backend: 'write', slot: 'node1', state: 'established' });
    expect(s.id).toMatch(/^0x[0-9a-f]+$/);
  },
  'keeps a session on its node when another slot is opened; only new sessions go to the new node (S2)': async (h) => {
    await openOn(h, h.a);
    const { c, s } = await established(h, 'write');
    await openOn(h, h.b);
    const next = await established(h, 'write');
    expect([c.node(), next.c.node(), c.ended()]).toEqual([h.a, h.b, false]);
    expect((await sessions(h)).find((x) => x.id === s.id)?.slot).toBe('node1');
  },
  'ends a session by command and then no longer shows it': async (h) => {
    await openOn(h, h.a);
    const { c, s } = await established(h, 'write');
    await h.admin(`shutdown session ${s.id}`);
    await until('the client’s connection has ended', () => c.ended());
    await until('it is not shown', async () => (await sessions(h)).every((x) => x.id !== s.id));
  },
  'ends all sessions of one slot by command, and no others': async (h) => {
    await openOn(h, h.a);
    const here = [await established(h, 'write'), await established(h, 'write')];
    await openOn(h, h.b);
    const there = await established(h, 'write');
    await h.admin('shutdown sessions server write/node1');
    await until('the clients’ connections have ended', () => here.every(({ c }) => c.ended()));
    await until('they are not shown', async () => (await sessions(h)).map((x) => x.id).join() === there.s.id);
    expect(there.c.ended()).toBe(false);
  },
  'lets no client into a slot that is closed again, and keeps the connected clients (S19)': async (h) => {
    await openOn(h, h.a);
    const { c } = await established(h, 'write');
    await h.admin('set server write/node1 state maint');
    const held = h.dial('write');
    await until('it is held', async () => (await load(h, 'BACKEND'))?.queued === 1);
    expect([c.ended(), held.node()]).toEqual([false, null]);
    await openOn(h, h.a);
    await until('it is let in', () => held.node() === h.a);
  },
  'does nothing for a session that it does not have': async (h) => {
    await openOn(h, h.a);
    const { c } = await established(h, 'write');
    await h.admin('shutdown session 0x1234567');
    expect(c.ended()).toBe(false);
  },
  'still shows the session of a client that has left, for a while, when its node hangs (S2)': async (h) => {
    await openOn(h, h.b);
    const { c } = await established(h, 'write');
    const shown = async () => (await load(h, 'node2'))?.sessions === 1;
    await h.hang(true);
    try {
      c.leave();
      // The session does not end with its client: several looks still show it.
      for (let looks = 0; looks < 3; looks++) expect(await shown()).toBe(true);
      await until('the session ends by itself', async () => !(await shown()));
    } finally {
      await h.hang(false);
    }
  },
  'has a new worker with closed slots after a reload; the old worker keeps its sessions until a command ends them (S2, S15)':
    async (h) => {
      await openOn(h, h.a);
      const { c, s } = await established(h, 'write');
      const before = await epoch(h);
      await h.reload();
      await anotherWorker(h, before);
      expect(await isClosed(h)).toBe(true);
      expect(c.ended()).toBe(false);
      expect(await load(h, 'node1')).toMatchObject({ sessions: 0 });
      const [old] = parseOldWorkers(await h.master('show proc'));
      expect(old).toMatch(/^\d+$/);
      const theirs = sessionsIn(await h.master(`@!${old} show sess`));
      expect(theirs.find((x) => x.id === s.id)).toMatchObject({ slot: 'node1', state: 'established' });
      const loads = parseLoads(await h.master(`@!${old} show stat -1 6 -1`));
      expect(loads.find((l) => l.backend === 'write' && l.server === 'node1')).toMatchObject({ sessions: 1 });
      const itsSlots = parseServers(await h.master(`@!${old} show servers state`)).filter((x) => x.backend === 'write');
      expect(itsSlots.find((x) => x.server === 'node1')).toMatchObject({ address: h.a, maintenance: false });
      await h.master(`@!${old} shutdown session ${s.id}`);
      await until('the client’s connection has ended', () => c.ended());
      const isGone = async () => parseOldWorkers(await h.master('show proc')).length === 0;
      await until('the old worker has ended', isGone).catch(async (error: unknown) => {
        throw new Error(`${String(error)}; it has ${await h.master(`@!${old} show sess`)}`);
      });
    },
  'starts closed after a restart, with another worker and without sessions (S15)': async (h) => {
    await openOn(h, h.a);
    const { c } = await established(h, 'write');
    const before = await epoch(h);
    await h.restart();
    await anotherWorker(h, before);
    await until('the client’s connection has ended', () => c.ended());
    expect(await isClosed(h)).toBe(true);
    expect(await sessions(h)).toEqual([]);
  },
};
