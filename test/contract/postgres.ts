/**
 * What the keeper takes for granted of PostgreSQL: the traps that the rules of docs/safety.md close. The cases build on
 * one another and run on two real servers and on the simulator's model. Two nodes, `a` and `b`, of one database.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import { parseLsn } from '../../failover/contract/lsn';
import type { SqlView } from '../../failover/keeper/ports';
import type { Canary } from '../../failover/keeper/postgres/canary';

export interface Commit {
  /** Ends with whether it came with a warning; throws what the server says. */
  done: Promise<{ warned: boolean }>;
  /** `pg_cancel_backend` */
  cancel(): Promise<void>;
}

export interface ContractNode {
  readonly name: string;
  readonly address: string;
  /** Starts it as a standby: of the other server, or without a source. */
  start(upstream: ContractNode | null, syncNames?: string): Promise<void>;
  configure(upstream: ContractNode | null, syncNames: string): Promise<void>;
  /** kill −9 of everything. */
  kill(): Promise<void>;
  /** Takes the other one's data; it must not run. */
  copyFrom(source: ContractNode): Promise<void>;
  promote(): Promise<number>;
  /** Throws while it does not answer. */
  look(): Promise<SqlView>;
  /** Value of synchronous_standby_names, as a new session is shown it. */
  shownNames(): Promise<string>;
  insert(row: number): Commit;
  rows(): Promise<number[]>;
  ensureSlots(nodes: readonly string[], renew: boolean): Promise<void>;
  slots(): Promise<string[]>;
  readonly canary: Pick<Canary, 'start' | 'waits' | 'kick' | 'waiters'>;
}

export interface Pair {
  a: ContractNode;
  b: ContractNode;
  /** The model has to show every trap that the real one may show. */
  isModel: boolean;
}

const LIMIT_MS = 5_000;
const NOBODY = 'ANY 1 ("nobody")';

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let waitedMs = 0; waitedMs < LIMIT_MS; waitedMs += 10) {
    if (await holds().catch(() => false)) return;
    await delay(10);
  }
  throw new Error(`never: ${what}`);
}

/**
 * By both sides: PostgreSQL 17 calls a walreceiver `streaming` from its start, also one whose request is refused then.
 */
const streams = (node: ContractNode, from: ContractNode) => async () => {
  const { walReceiver } = await node.look();
  const state = (await seen(from, node.name))?.state;
  return walReceiver?.status === 'streaming' && walReceiver.host === from.address && state === 'streaming';
};
const seen = async (leader: ContractNode, name: string) => (await leader.look()).standbys.find((s) => s.name === name);
const position = (lsn: string | null | undefined) => parseLsn(lsn ?? '0/0');

/** Whether a commit ends within so many ms. */
async function ends(commit: Commit, ms: number): Promise<boolean> {
  return Promise.race([commit.done.then(() => true), delay(ms).then(() => false)]);
}

/** Waiting commits go with the next record. */
async function nobodyWaits({ canary }: ContractNode): Promise<void> {
  await until('nobody waits', async () => {
    await canary.kick();
    return (await canary.waiters()) === 0;
  });
}

/** Waits until the other one has all that this one has on disk, and returns that position. */
async function caughtUp(a: ContractNode, b: ContractNode) {
  const flushed = position((await a.look()).flushLsn);
  await until(`${b.name} has it`, async () => position((await seen(a, b.name))?.flushLsn) >= flushed);
  return flushed;
}

const answers = (node: ContractNode) => until(`${node.name} answers`, async () => (await node.look()).inRecovery);

export const POSTGRES_CONTRACT: Readonly<Record<string, (pair: Pair) => Promise<void>>> = {
  'starts as a standby, refuses writes, and takes a new timeline when it is promoted (S8)': async ({ a }) => {
    await a.start(null);
    await answers(a);
    const before = (await a.look()).timeline ?? 0;
    await expect(a.insert(1).done).rejects.toMatchObject({ code: '25006' });
    expect(await a.promote()).toBe(before + 1);
    const now = { inRecovery: false, timeline: before + 1, receiveLsn: null, walReceiver: null };
    expect(await a.look()).toMatchObject(now);
    expect(await a.insert(1).done).toEqual({ warned: false });
  },
  'never streams to a follower whose slot is missing, and does so as soon as it is there (S22, S20)': async (pair) => {
    const { a, b, isModel } = pair;
    await b.copyFrom(a);
    await b.start(a);
    await answers(b);
    let [seemed, streamed] = [0, 0];
    for (let look = 0; look < 60; look++) {
      if ((await b.look()).walReceiver?.status === 'streaming') seemed += 1;
      if ((await seen(a, b.name))?.state === 'streaming') streamed += 1;
      await delay(10);
    }
    console.log(`S22: in ${seemed} of 60 looks the refused follower calls itself streaming, its leader in ${streamed}`);
    expect(streamed).toBe(0);
    if (isModel) expect(seemed).toBeGreaterThan(0);
    await a.ensureSlots([b.name], false);
    await until('b streams', streams(b, a));
  },
  'keeps slots that are in use or that a person made, and drops those of other nodes (S22)': async ({ a, b }) => {
    await a.ensureSlots([b.name, 'replica_9', 'barman'], false);
    expect((await a.slots()).sort()).toEqual(['barman', b.name, 'replica_9'].sort());
    await a.ensureSlots([b.name], true);
    expect((await a.slots()).sort()).toEqual(['barman', b.name].sort());
    expect(await streams(b, a)()).toBe(true);
    await b.ensureSlots([a.name], true);
    expect(await b.slots()).toEqual([a.name]);
  },
  'shows its standby by name, with what it has on disk': async ({ a, b }) => {
    await a.insert(2).done;
    await caughtUp(a, b);
    expect(await seen(a, b.name)).toMatchObject({ state: 'streaming', syncState: 'async' });
    await until('b shows it', async () => (await b.rows()).includes(2));
    await until('its startup process waits for more', async () => (await b.look()).startupWaits === true);
  },
  'acknowledges by a counted standby only': async ({ a, b }) => {
    await a.configure(null, `ANY 1 ("${b.name}")`);
    await until('b counts', async () => (await seen(a, b.name))?.syncState === 'quorum');
    expect(await a.insert(3).done).toEqual({ warned: false });
  },
  'shows a setting that is new before commits wait by it; sooner or later they do (S4)': async ({ a, isModel }) => {
    let holes = 0;
    for (let turn = 0; turn < 12; turn++) {
      await a.configure(null, '');
      await until('none is shown', async () => (await a.shownNames()) === '');
      await a.canary.kick();
      await until('nobody waits', async () => (await a.canary.waiters()) === 0);
      await delay(50);
      await a.configure(null, NOBODY);
      await until('the new one is shown', async () => (await a.shownNames()) === NOBODY);
      const commit = a.insert(100 + turn);
      if (await ends(commit, 250)) holes += 1;
      else {
        await commit.cancel();
        await commit.done;
      }
    }
    console.log(`S4: in ${holes} of 12 turns a commit did not wait although the new setting was shown`);
    if (isModel) expect(holes).toBeGreaterThan(0);
    await a.canary.start();
    expect(await a.canary.waits()).toBe(true);
    expect(await ends(a.insert(200), 300)).toBe(false);
  },
  'lets waiting commits go when nobody is named any more and one more record is written (S17)': async ({ a }) => {
    await until('both commits wait', async () => (await a.canary.waiters()) >= 2);
    await a.configure(null, '');
    await nobodyWaits(a);
    expect(await a.canary.waits()).toBe(false);
    expect(await a.rows()).toContain(200);
  },
  'returns from a cancelled wait with a warning, and the row is visible (S7)': async ({ a }) => {
    await a.configure(null, NOBODY);
    await a.canary.start();
    const commit = a.insert(300);
    expect(await ends(commit, 300)).toBe(false);
    expect(await a.rows()).not.toContain(300);
    await commit.cancel();
    expect(await commit.done).toEqual({ warned: true });
    expect(await a.rows()).toContain(300);
    await a.configure(null, '');
    await nobodyWaits(a);
  },
  'shows no received position after a restart, and waits for log only when all of it is applied (S6)': async (pair) => {
    const { a, b } = pair;
    for (let row = 400; row < 440; row++) await a.insert(row).done;
    const flushed = await caughtUp(a, b);
    await b.kill();
    await b.start(null);
    await answers(b);
    expect((await b.look()).receiveLsn).toBeNull();
    await until('b has applied all', async () => {
      const now = await b.look();
      expect(now.receiveLsn).toBeNull();
      return now.startupWaits && position(now.replayLsn) >= flushed;
    });
    expect(await b.rows()).toContain(439);
    await b.configure(a, '');
    await until('b streams again', streams(b, a));
    const { receiveLsn, replayLsn } = await b.look();
    console.log(`S6: b shows received ${receiveLsn}, applied ${replayLsn}`);
  },
  'stops to follow when its source is taken away, and follows again (S1)': async ({ a, b }) => {
    await b.configure(null, '');
    await until('b has no source', async () => (await b.look()).walReceiver === null);
    await a.insert(500).done;
    await delay(300);
    expect(await b.rows()).not.toContain(500);
    await b.configure(a, '');
    await until('b has it', async () => (await b.rows()).includes(500));
  },
  'gives two promotions the same timeline number, and a follower of the same number streams happily (S3)': async (
    pair,
  ) => {
    const { a, b } = pair;
    await b.kill();
    await b.start(null);
    await answers(b);
    const before = (await a.look()).timeline ?? 0;
    expect(await b.promote()).toBe(before + 1);
    await b.insert(601).done;
    await a.kill();
    await a.start(null);
    await until('a answers', async () => (await a.look()).inRecovery && (await a.look()).startupWaits);
    expect(await a.promote()).toBe(before + 1);
    for (let row = 700; row < 740; row++) await a.insert(row).done;
    await a.ensureSlots([b.name], false);
    await b.kill();
    await b.start(a);
    await until('b streams', streams(b, a));
    expect((await a.rows()).includes(601)).toBe(false);
    expect((await b.rows()).includes(601)).toBe(true);
  },
};
