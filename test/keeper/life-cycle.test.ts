import { afterEach, describe, expect, it, vi } from 'vitest';
import { HANDOVER_LIMIT_MS } from '../../failover/keeper/keeper';
import { KeeperError } from '../../failover/keeper/ports';
import { Attempts } from '../../failover/keeper/rejoining';
import { ALONE, follow, lead, Rig, SETTINGS, streaming, WITH_B } from './fakes';

let rig: Rig;

afterEach(async () => {
  await rig.end();
});

describe('a keeper that was just started', () => {
  it('starts nothing before an order arrives in its own life, although it remembers one (S13)', async () => {
    rig = await Rig.leader();
    await rig.restart();
    const status = await rig.until((s) => s.accepted?.kind === 'lead');
    expect(status.postgres.state).toBe('stopped');
    expect(status.done).toBe(false);
    expect(rig.journal).toEqual(['tidy', ...rig.did(/^save/)]);
  });

  it('hands back the copy of the monitor’s state that it keeps, and only ever a newer one', async () => {
    rig = await Rig.fresh();
    rig.keeper.receive({ type: 'remember', term: 2, seq: 9, blob: 'new' });
    rig.keeper.receive({ type: 'remember', term: 2, seq: 8, blob: 'old' });
    await rig.done(1, { kind: 'wait', reason: 'test' });
    await rig.restart();
    expect(rig.link.sent.findLast((f) => f.type === 'recall')).toEqual({
      type: 'recall',
      newest: { term: 2, seq: 9, blob: 'new' },
    });
  });

  it('answers a ping at once', async () => {
    rig = await Rig.fresh();
    rig.keeper.receive({ type: 'ping', n: 7 });
    expect(rig.link.sent.at(-1)).toEqual({ type: 'pong', n: 7 });
  });

  it('puts its status behind the answer to every second ping', async () => {
    rig = await Rig.fresh();
    rig.keeper.receive({ type: 'ping', n: 8 });
    expect(rig.link.sent.slice(-2).map((frame) => frame.type)).toEqual(['pong', 'status']);
  });
});

describe('orders', () => {
  it('refuses a lower one, keeps the higher, and says so (S5)', async () => {
    rig = await Rig.standby();
    rig.order(1, lead(), 1_000);
    await rig.until((s) => s.done && s.accepted?.seq === 1_000);
    rig.order(1, { kind: 'stop' }, 999);
    rig.order(0, { kind: 'stop' }, 2_000);
    await rig.done(1, { kind: 'lead', sync: WITH_B }).catch(() => undefined);
    expect(rig.link.notes().filter((n) => n === 'ORDER_REFUSED').length).toBeGreaterThanOrEqual(2);
    expect(rig.postgres.running).toBe(true);
    expect(rig.link.status().accepted?.seq).toBe(1_000);
  });

  it('takes the same id again as the same order', async () => {
    rig = await Rig.standby();
    const seq = rig.link.status().accepted?.seq ?? 0;
    await rig.restart();
    rig.order(1, follow('copy'), seq);
    await rig.until((s) => s.done && s.postgres.streamingFrom === 'b');
    expect(rig.did(/^copy/)).toEqual([]);
  });

  it('is stored before it is acted on', async () => {
    rig = await Rig.standby();
    await rig.done(2, lead());
    const first = rig.journal.findIndex((l) => l.startsWith('save lead'));
    expect(first).toBeGreaterThanOrEqual(0);
    expect(rig.journal.indexOf('promote')).toBeGreaterThan(first);
  });

  it('is not carried out when it cannot be stored', async () => {
    rig = await Rig.standby();
    rig.files.broken = true;
    rig.order(2, lead());
    await rig.until(() => rig.link.notes().includes('STATE_NOT_STORED'));
    expect(rig.journal).not.toContain('promote');
    expect(rig.link.status().accepted?.term).toBe(1);
    rig.files.broken = false;
  });
});

describe('settings that need a restart', () => {
  /** A standby that has read new settings, one of which waits for a restart. */
  async function waiting(): Promise<void> {
    rig = await Rig.standby();
    rig.settle({ postgresSettings: { max_connections: '300' } });
    rig.postgres.pending = ['max_connections'];
    await rig.until((s) => s.settings?.restart === 'needed' && s.done);
  }

  it('are told, and PostgreSQL runs on until it may restart', async () => {
    await waiting();
    expect(rig.link.status().settings).toEqual({ restart: 'needed', pending: ['max_connections'], refused: null });
    expect(rig.journal).not.toContain('stop');
  });

  it('are followed by a restart when the order allows it, and it is done when they are in force', async () => {
    await waiting();
    const status = await rig.done(1, follow('stream', { restart: true }));
    expect(status.settings?.restart).toBe('none');
    expect(rig.did(/^(stop|start)/)).toEqual(['stop', 'start from b sync ""']);
    expect(rig.link.notes()).toContain('SETTINGS_RESTART');
  });

  it('restart nothing where none waits', async () => {
    rig = await Rig.standby();
    await rig.done(1, follow('stream', { restart: true }));
    expect(rig.journal).not.toContain('stop');
  });

  it('are not known after a reconnect until the monitor has sent its own', async () => {
    rig = await Rig.standby();
    await rig.until((s) => s.settings?.restart === 'none');
    rig.keeper.connected();
    expect(rig.link.status().settings).toBeNull();
    rig.settle();
    await rig.until((s) => s.settings?.restart === 'none');
  });

  it('make a standby restart by itself whose replay stands still for them (S23)', async () => {
    rig = await Rig.standby();
    rig.postgres.paused = true;
    await rig.until((s) => !rig.postgres.paused && s.done);
    expect(rig.journal).toContain('stop');
  });

  it('let a leader that answers only when promoted be promoted (S23)', async () => {
    rig = await Rig.leader();
    await rig.done(1, { kind: 'stop' });
    rig.postgres.blind = true;
    const status = await rig.done(2, lead());
    expect(status.postgres.state).toBe('primary');
    expect(status.lead?.term).toBe(2);
  });
});

describe('a planned switchover', () => {
  it('is prepared by a checkpoint, and is done when that is written', async () => {
    rig = await Rig.leader();
    await rig.done(1, { kind: 'lead', sync: ALONE, prepare: true });
    expect(rig.did(/^checkpoint$/)).toHaveLength(1);
    expect(rig.postgres.running).toBe(true);
  });

  it('lets transactions end, sends idle clients away meanwhile, and stops when nobody is left', async () => {
    rig = await Rig.leader();
    rig.postgres.clients = [3, 1];
    const status = await rig.done(1, { kind: 'stop', drainMs: 5_000 });
    expect(status.postgres.state).toBe('stopped');
    const steps = rig.did(/^(stop|end)/);
    expect(steps).toEqual([...Array<string>(3).fill('end idle clients'), 'stop']);
  });

  it('does not wait for a transaction beyond the limit', async () => {
    rig = await Rig.leader();
    rig.postgres.clients = Array<number>(1_000_000).fill(1);
    await rig.done(1, { kind: 'stop', drainMs: 50 });
    expect(rig.postgres.running).toBe(false);
  });

  it('is called off by the order to lead on, while clients are still let finish', async () => {
    rig = await Rig.leader();
    rig.postgres.clients = Array<number>(1_000_000).fill(1);
    rig.order(1, { kind: 'stop', drainMs: 1_000_000 });
    await rig.until(() => rig.journal.includes('end idle clients'));
    await rig.done(1, lead());
    expect(rig.journal).not.toContain('stop');
    expect(rig.postgres.running).toBe(true);
  });
});

describe('a node that is added', () => {
  it('has its slot on a standby before anything fails over to that one (S22)', async () => {
    rig = await Rig.fresh();
    await rig.done(1, follow('copy'));
    rig.settle({ nodes: [...SETTINGS.nodes, { name: 'd', address: '10.0.0.9' }] });
    await vi.waitFor(() => expect(rig.journal).toContain('ensure slots b c d'));
    expect(rig.did(/^renew slots/)).toEqual(['renew slots b c']);
  });
});

describe('what people want to know of slots', () => {
  it('is told once when it was looked at anew, and again over a new connection', async () => {
    rig = await Rig.standby();
    const slot = { name: 'b', active: false, walStatus: 'reserved', retainedBytes: 16 };
    const told = () => rig.link.sent.filter((f) => f.type === 'status' && f.slots !== undefined).length;
    rig.postgres.slots = [slot];
    expect((await rig.until((s) => s.slots !== undefined)).slots).toEqual([slot]);
    await rig.until((s) => s.slots === undefined);
    await rig.until((s) => s.slots === undefined && s.n > 20);
    expect(told()).toBe(1);
    rig.postgres.slots = [{ ...slot, retainedBytes: 32 }];
    await rig.until((s) => s.slots?.[0]?.retainedBytes === 32);
    rig.keeper.connected();
    await rig.until((s) => s.slots?.[0]?.retainedBytes === 32 && s.n <= 2);
    expect(told()).toBe(3);
  });
});

describe('bootstrap', () => {
  it('makes a cluster where there is none and leaves it stopped', async () => {
    rig = await Rig.fresh();
    const status = await rig.done(1, { kind: 'bootstrap' });
    expect(status.postgres.state).toBe('stopped');
    expect(status.dataId).toMatch(/^7000:/);
    expect(rig.did(/^(?!save)/)).toEqual(['tidy', 'initdb', 'swap']);
  });

  it('is refused where data exists', async () => {
    rig = await Rig.standby();
    await rig.fails(2, { kind: 'bootstrap' }, 'DATA_EXISTS');
    expect(rig.journal).not.toContain('initdb');
  });
});

describe('a leader', () => {
  it('notes the promotion durably with the order, sets the barrier, and only then promotes (S3, S4)', async () => {
    rig = await Rig.standby();
    rig.postgres.standbys = [streaming('0/4000000')];
    const status = await rig.done(2, lead(WITH_B));
    const steps = rig.journal.filter((l) => !l.includes('slots') && l !== 'furnish');
    expect(steps).toEqual([
      'save lead promoting 2',
      'configure from nobody sync "ANY 2 ("b", "failover-barrier")"',
      'promote',
      'canary',
      'configure from nobody sync "ANY 1 ("b")"',
      'save lead',
    ]);
    expect(status.lead).toMatchObject({ term: 2, timeline: 2, forkLsn: '0/3000060', syncInForce: WITH_B });
    expect(status.promotingTerm).toBeNull();
  });

  it('counts a member only when it has what was written before', async () => {
    rig = await Rig.leader();
    rig.postgres.standbys = [streaming('0/2000000')];
    const seq = rig.order(1, lead(WITH_B));
    await rig.until((s) => s.accepted?.seq === seq && s.lead?.standbys.length === 1);
    await rig.quiet();
    expect(rig.link.status()).toMatchObject({ done: false, lead: { syncInForce: null } });
    rig.postgres.standbys = [streaming()];
    expect((await rig.until((s) => s.done)).lead?.syncInForce).toEqual(WITH_B);
  });

  it('does not restart after a crash by the order that it had, but by one with a higher term (S8, S3)', async () => {
    rig = await Rig.leader();
    rig.postgres.crash();
    const crashed = await rig.until((s) => s.postgres.state === 'stopped' && s.failure !== null);
    expect(crashed.postgres).toMatchObject({ cleanShutdown: false, crashes: 1 });
    await rig.fails(1, lead(), 'MUST_NOT_LEAD');
    expect(rig.did(/^start/)).toEqual([]);
    const again = await rig.done(2, lead());
    expect(again.lead).toMatchObject({ term: 2, timeline: 3 });
    expect(rig.journal.findIndex((l) => l.startsWith('start from nobody'))).toBeLessThan(
      rig.journal.indexOf('promote'),
    );
  });

  it('leaves the marker of a promotion that it did not see finished, and such data is never streamed', async () => {
    rig = await Rig.standby();
    rig.order(2, lead());
    await rig.until((s) => s.accepted?.kind === 'lead');
    rig.files.state = { ...rig.files.state, promotingTerm: 2, promoted: null };
    await rig.restart();
    rig.journal.length = 0;
    const refused = await rig.fails(3, follow('stream', { leader: 'c' }), 'MUST_COPY');
    expect(refused.failure?.message).toContain('a promotion of this data in term 2 was begun');
    expect(rig.did(/copy|start/)).toEqual([]);
    await rig.done(4, follow('copy', { leader: 'c' }));
    expect(rig.journal).toContain('copy c');
  });

  it('shuts down when it is told to promise, and then starts as a standby without a source', async () => {
    rig = await Rig.leader();
    const status = await rig.done(2, { kind: 'freeze' });
    expect(rig.journal).toContain('stop');
    expect(status.postgres).toMatchObject({ state: 'standby', streamingFrom: null });
  });
});

describe('a follower', () => {
  it('goes over to another leader by a reload, without a restart', async () => {
    rig = await Rig.standby();
    await rig.done(2, follow('stream', { leader: 'c' }));
    expect(rig.did(/^(?!save)/)).toEqual(['configure from c sync ""']);
  });

  it('rewinds under a durable marker', async () => {
    rig = await Rig.leader();
    const status = await rig.done(2, follow('rewind'));
    const steps = rig.did(/stop|rewind|start|copy/);
    expect(steps).toEqual(['stop', 'save follow rewinding', 'rewind b', 'start from b sync ""']);
    expect(status.rewinding).toBe(false);
    expect(rig.journal).toContain('renew slots b c');
  });

  it('applies what a crash left as a standby of nobody before it is rewound, and writes no record of its own (S3)', async () => {
    rig = await Rig.standby();
    await rig.restart();
    rig.postgres.clean = false;
    rig.journal.length = 0;
    await rig.done(2, follow('rewind'));
    const steps = rig.did(/stop|rewind|start|copy/);
    const settled = ['start from nobody sync ""', 'stop'];
    expect(steps).toEqual([...settled, 'save follow rewinding', 'rewind b', 'start from b sync ""']);
  });

  it('says that a crash left it without WAL that it needs, and is not copied before that is ordered', async () => {
    rig = await Rig.standby();
    await rig.restart();
    rig.postgres.clean = false;
    rig.postgres.starved = true;
    rig.journal.length = 0;
    rig.order(2, follow('rewind'));
    const refused = await rig.until((s) => s.failure?.tries === 2);
    expect(refused.failure).toMatchObject({ code: 'REWIND_FAILED', message: expect.stringContaining('a crash left') });
    expect(rig.did(/^(rewind|copy)/)).toEqual([]);
    await rig.done(2, follow('copy'));
    expect(rig.journal).toContain('copy b');
  });

  it('never starts data again whose rewind failed, and copies it only when told (S12)', async () => {
    rig = await Rig.leader();
    const before = rig.dataId();
    rig.postgres.rewindFails = true;
    const failed = await rig.fails(2, follow('rewind'), 'REWIND_FAILED');
    expect(failed.failure?.message).toBe('could not find common ancestor');
    expect(rig.link.notes()).toContain('REWIND_FAILED');
    expect(failed.rewinding).toBe(true);
    for (const method of ['rewind', 'stream'] as const) await rig.fails(2, follow(method), 'REWIND_FAILED');
    await rig.restart();
    await rig.fails(2, follow('stream'), 'REWIND_FAILED');
    expect(rig.did(/^start|^copy|^rewind/)).toEqual([]);
    const copied = await rig.done(2, follow('copy'));
    expect(rig.journal).toContain('copy b');
    expect(copied.rewinding).toBe(false);
    expect(copied.dataId).not.toBe(before);
  });

  it('does not lead after it was killed in the middle of a rewind (S12)', async () => {
    rig = await Rig.leader();
    rig.files.state = { ...rig.files.state, rewinding: true };
    await rig.restart();
    await rig.fails(2, lead(), 'MUST_NOT_LEAD');
    await rig.fails(3, follow('stream'), 'REWIND_FAILED');
    expect(rig.did(/^start|^copy/)).toEqual([]);
    await rig.done(4, follow('copy'));
    expect(rig.journal).toContain('copy b');
    expect(rig.link.status().rewinding).toBe(false);
  });

  it('says so when it has no data and is not told to copy', async () => {
    rig = await Rig.fresh();
    await rig.fails(1, follow('stream'), 'MUST_COPY');
    expect(rig.did(/^copy/)).toEqual([]);
  });

  it('throws nothing away while its leader does not answer', async () => {
    rig = await Rig.leader();
    rig.postgres.reachable = false;
    rig.order(2, follow('rewind'));
    await rig.until((s) => s.accepted?.term === 2 && s.postgres.state === 'stopped');
    await rig.quiet();
    expect(rig.did(/^(rewind|copy)/)).toEqual([]);
    rig.postgres.reachable = true;
    await rig.until((s) => s.done);
  });

  it('copies anew in the same term only when the order names the data that has to go', async () => {
    rig = await Rig.fresh();
    const copied = await rig.done(1, follow('copy'));
    await rig.done(1, follow('copy'));
    expect(rig.did(/^copy b$/)).toHaveLength(1);
    const again = await rig.done(1, follow('copy', { replaces: copied.dataId ?? undefined }));
    expect(rig.did(/^copy b$/)).toHaveLength(2);
    expect(again.dataId).not.toBe(copied.dataId);
    // Given once more after a reconnect, or by a restarted monitor: that data is gone.
    await rig.done(1, follow('copy', { replaces: copied.dataId ?? undefined }));
    expect(rig.did(/^copy b$/)).toHaveLength(2);
  });

  it('goes on with a copy when the same is ordered again, and drops it for another leader', async () => {
    rig = await Rig.fresh();
    const gate = Promise.withResolvers<void>();
    rig.postgres.copyGate = gate.promise;
    rig.order(1, follow('copy'));
    await rig.until((s) => s.postgres.state === 'copying');
    rig.order(1, follow('copy'));
    rig.order(1, follow('copy', { leader: 'c' }));
    await rig.until(() => rig.journal.includes('copy c'));
    gate.resolve();
    await rig.until((s) => s.done && s.postgres.streamingFrom === 'c');
    expect(rig.did(/^copy/)).toEqual(['copy b', 'copy c']);
    expect(rig.did(/^swap$/)).toHaveLength(1);
  });

  it('only says so when streaming can never succeed, and keeps its data until it is told to copy', async () => {
    rig = await Rig.standby();
    const before = (await rig.done(1, follow('stream'))).dataId;
    rig.postgres.streams = false;
    rig.postgres.streamImpossible = 'requested WAL segment has already been removed';
    const told = await rig.until((s) => s.failure?.code === 'STREAM_IMPOSSIBLE');
    expect(told).toMatchObject({ dataId: before, postgres: { state: 'standby' } });
    expect(rig.did(/^copy/)).toEqual([]);
    rig.order(1, follow('copy'));
    await rig.until(() => rig.did(/^copy b$/).length === 1);
    rig.postgres.streams = true;
    await rig.until((s) => s.done);
  });

  it('is started again after a crash without a new order', async () => {
    rig = await Rig.standby();
    rig.postgres.crash();
    await rig.until((s) => s.postgres.crashes === 1 && s.done);
    expect(rig.did(/^start/)).toEqual(['start from b sync ""']);
  });

  /** Time from a crash to the next start, s. */
  const restAfterCrash = async (beside: () => void = () => undefined): Promise<number> => {
    await rig.until((s) => s.done);
    rig.journal.length = 0;
    const fromMs = rig.clock.nowMs();
    rig.postgres.crash();
    beside();
    await rig.until(() => rig.journal.some((l) => l.startsWith('start')));
    return Math.floor((rig.clock.nowMs() - fromMs) / 1_000);
  };

  it('rests twice as long after each crash, up to a minute, and begins anew after a good minute', async () => {
    rig = await Rig.standby();
    const rests: number[] = [];
    for (let i = 0; i < 8; i++) rests.push(await restAfterCrash());
    expect(rests).toEqual([1, 2, 4, 8, 16, 32, 60, 60]);
    const goodMs = rig.clock.nowMs() + 61_000;
    await rig.until((s) => s.done && rig.clock.nowMs() > goodMs);
    expect(await restAfterCrash()).toBe(1);
  });

  it('counts crashes no more after a good minute, nor those of data that was copied over', async () => {
    rig = await Rig.standby();
    for (let i = 0; i < 2; i++) await restAfterCrash();
    const before = await rig.until((s) => s.done && s.postgres.crashesInRow === 2);
    const goodMs = rig.clock.nowMs() + 61_000;
    const after = await rig.until((s) => s.done && rig.clock.nowMs() > goodMs);
    expect(after.postgres.crashesInRow).toBe(0);
    for (let i = 0; i < 2; i++) await restAfterCrash();
    rig.order(1, follow('copy', { replaces: before.dataId ?? undefined }));
    const copied = await rig.until((s) => s.done && s.dataId !== before.dataId);
    expect(copied.postgres).toMatchObject({ crashesInRow: 0, streamingFrom: 'b' });
  });

  it('rests no longer once its settings change, which may be what it lacked', async () => {
    rig = await Rig.standby();
    for (let i = 0; i < 4; i++) await restAfterCrash();
    expect(await restAfterCrash(() => rig.settle({ postgresSettings: { work_mem: '9MB' } }))).toBe(0);
  });

  it('tells why it ended, in the words of the server', async () => {
    rig = await Rig.standby();
    rig.postgres.crash('exit code 1; PANIC (checkpointer): No space left on device');
    await rig.until((s) => s.postgres.crashes === 1 && s.done);
    const note = rig.link.sent.find((frame) => frame.type === 'note' && frame.code === 'POSTGRES_CRASHED');
    expect(note).toMatchObject({
      message:
        'PostgreSQL ended without having been told to: exit code 1; PANIC (checkpointer): No space left on device',
    });
  });
});

describe('a sync setting that is not taken in time, as while a checkpoint is flushed (S4)', () => {
  const failuresSince = (at: number) =>
    rig.link.sent.slice(at).flatMap((f) => (f.type === 'status' && f.failure !== null ? [f.failure.code] : []));

  it('is tried again and is no failure yet', async () => {
    rig = await Rig.leader();
    rig.postgres.standbys = [streaming()];
    const at = rig.link.sent.length;
    rig.postgres.unproven = 2;
    const led = await rig.done(1, lead(WITH_B));
    expect(led.lead?.syncInForce).toEqual(WITH_B);
    expect(failuresSince(at)).toEqual([]);
  });

  it('is told when it lasts', async () => {
    rig = await Rig.leader();
    rig.postgres.unproven = 100;
    const failed = await rig.fails(1, lead(WITH_B), 'SYNC_UNPROVEN');
    expect(failed.lead?.syncInForce).toBeNull();
  });
});

describe('a copy', () => {
  const broken = new KeeperError('TOOL_FAILED', 'pg_basebackup ended with 1: No space left on device');
  const copies = () => rig.did(/^copy b$/).length;

  it('that fails rests longer each time, tells the words of the tool, and leaves the old data as it was', async () => {
    rig = await Rig.standby();
    const before = rig.dataId();
    rig.postgres.copyFails = broken;
    const fromMs = rig.clock.nowMs();
    rig.order(2, follow('copy'));
    for (const [tries, restMs] of [1, 3, 7, 15].entries()) {
      const failed = await rig.until((s) => s.failure?.tries === tries + 1);
      expect(failed.failure).toMatchObject({ code: 'TOOL_FAILED', message: broken.message });
      expect(failed.dataId).toBe(before);
      await rig.until(() => rig.clock.nowMs() - fromMs >= restMs * 1_000);
    }
    expect(copies()).toBeLessThanOrEqual(5);
    expect(rig.did(/swap|rewinding/)).toEqual([]);
    const again = await rig.done(2, follow('stream'));
    expect(again).toMatchObject({ dataId: before, failure: null, postgres: { streamingFrom: 'b' } });
  });

  it('that failed under an earlier order is tried again within half a minute, and tells no failure before', async () => {
    rig = await Rig.standby();
    rig.postgres.copyFails = broken;
    rig.order(2, follow('copy'));
    // By now it rests for more than two minutes.
    await rig.until((s) => s.failure?.tries === 8);
    await rig.done(2, { kind: 'wait', reason: 'a is copied first' });
    const [fromMs, at] = [rig.clock.nowMs(), rig.link.sent.length];
    rig.order(2, follow('copy'));
    await rig.until((s) => s.failure?.tries === 9);
    const restMs = rig.clock.nowMs() - fromMs;
    expect(restMs).toBeGreaterThan(29_000);
    expect(restMs).toBeLessThan(32_000);
    const told = rig.link.sent.slice(at).flatMap((f) => (f.type === 'status' ? [f.failure?.tries ?? 0] : []));
    expect(new Set(told)).toEqual(new Set([0, 9]));
  });

  it('never rests longer than five minutes', () => {
    const attempts = new Attempts();
    const rests = Array.from({ length: 40 }, () => attempts.failed('copy', 'TOOL_FAILED', 'x', 0).restMs / 1_000);
    expect(rests.slice(0, 10)).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    expect(rests.at(-1)).toBe(300);
    expect(attempts.resting('copy', 299_999)?.againMs).toBe(1);
    expect(attempts.resting('copy', 300_000)).toBeNull();
    expect(attempts.resting('another', 0)).toBeNull();
    attempts.forget();
    expect(attempts.failed('copy', 'TOOL_FAILED', 'x', 0)).toMatchObject({ restMs: 1_000, failure: { tries: 1 } });
  });

  it('is not made again at once when it does not end in a standby that streams', async () => {
    rig = await Rig.fresh();
    rig.postgres.streams = false;
    rig.order(1, follow('copy'));
    await rig.until(() => copies() === 1 && rig.postgres.running);
    const fromMs = rig.clock.nowMs();
    rig.postgres.streamImpossible = 'requested WAL segment has already been removed';
    await rig.until(() => copies() === 2);
    await rig.until((s) => s.postgres.state === 'standby');
    rig.postgres.streamImpossible = 'requested WAL segment has already been removed';
    await rig.until(() => copies() === 3);
    expect(rig.clock.nowMs() - fromMs).toBeGreaterThanOrEqual(2_000);
  });

  it('is aborted by another order: the old data is used again', async () => {
    rig = await Rig.standby();
    const before = rig.dataId();
    rig.postgres.copyGate = new Promise(() => undefined);
    rig.order(1, follow('copy', { replaces: before }));
    await rig.until((s) => s.postgres.state === 'copying');
    const frozen = await rig.done(2, { kind: 'freeze' });
    expect(frozen).toMatchObject({ dataId: before, failure: null, postgres: { state: 'standby' } });
    expect(rig.did(/swap|rewinding/)).toEqual([]);
  });

  it('that could not take its place is not taken for whole while the next one is made', async () => {
    rig = await Rig.standby();
    const before = rig.dataId();
    const swap = rig.postgres.swapIn.bind(rig.postgres);
    let broken = 2;
    rig.postgres.swapIn = async () => {
      if (broken-- > 0) throw new Error('input/output error');
      await swap();
    };
    const copied = await rig.done(1, follow('copy', { replaces: before }));
    expect(copied.dataId).not.toBe(before);
    expect(rig.did(/copy|swap/)).toEqual(['copy b', 'swap']);
    expect(rig.files.state.swapPending).toBe(false);
  });

  it('that is whole when another order comes is removed', async () => {
    rig = await Rig.standby();
    const before = rig.dataId();
    const made = rig.postgres.copyFrom.bind(rig.postgres);
    rig.postgres.copyFrom = async (source, progress) => {
      await made(source, progress, new AbortController().signal);
      rig.order(2, { kind: 'freeze' });
      await rig.quiet();
    };
    rig.order(1, follow('copy', { replaces: before }));
    const frozen = await rig.until((s) => s.accepted?.kind === 'freeze' && s.done);
    expect(frozen.dataId).toBe(before);
    expect(rig.did(/^drop copy$/)).toHaveLength(1);
  });
});

describe('a disk that is too small for the old data and a copy', () => {
  it('keeps the old data and says so, unless the settings let the copy take its place', async () => {
    rig = await Rig.standby();
    rig.postgres.diskTooSmall = true;
    const refused = await rig.fails(2, follow('copy'), 'DISK_TOO_SMALL');
    expect(refused.dataId).not.toBeNull();
    expect(rig.did(/copy|removed|rewinding/)).toEqual([]);
  });

  it('keeps the old data where the order says so, whatever the settings allow', async () => {
    rig = await Rig.standby();
    rig.postgres.diskTooSmall = true;
    rig.settle({ rebuildInPlace: true });
    await rig.fails(2, follow('copy', { keepOld: true }), 'DISK_TOO_SMALL');
    await rig.until((s) => s.failure?.tries === 2);
    expect(rig.did(/removed|rewinding/)).toEqual([]);
    await rig.done(2, follow('copy'));
    expect(rig.journal).toContain('old data removed');
  });

  it('marks the old data as only to be replaced before it removes it (S12)', async () => {
    rig = await Rig.standby();
    rig.postgres.diskTooSmall = true;
    rig.settle({ rebuildInPlace: true });
    const joined = await rig.done(2, follow('copy'));
    expect(joined.rewinding).toBe(false);
    const steps = rig.did(/rewinding|removed|^copy|^swap/);
    expect(steps).toEqual(['save follow rewinding', 'old data removed', 'copy b', 'swap']);
  });
});

describe('a container that is told to stop', () => {
  let ended: Promise<void>;

  /** A leader's container is told to stop, and its keeper has announced it. */
  async function announced(): Promise<void> {
    rig = await Rig.leader();
    ended = rig.keeper.terminate();
    await rig.until((s) => s.stopping);
  }

  /** The order to stop arrives, and the keeper ends. */
  async function handsOver(drainMs?: number): Promise<void> {
    rig.order(1, { kind: 'stop', drainMs });
    await ended;
    expect(rig.postgres.running).toBe(false);
  }

  it('announces it, waits for the hand-over, and shuts down when told', async () => {
    await announced();
    expect(rig.postgres.running).toBe(true);
    await handsOver();
    expect(rig.link.status()).toMatchObject({
      stopping: true,
      done: true,
      postgres: { state: 'stopped', cleanShutdown: true, lsn: '0/3000028' },
    });
  });

  it('writes a checkpoint while it still serves, and announces the stop after that', async () => {
    rig = await Rig.leader();
    const written = Promise.withResolvers<void>();
    rig.postgres.checkpointing = written.promise;
    ended = rig.keeper.terminate();
    await rig.clock.sleep(1_000);
    expect(rig.journal).toContain('checkpoint');
    expect(rig.link.status()).toMatchObject({ stopping: false, postgres: { state: 'primary' } });
    written.resolve();
    await rig.until((s) => s.stopping);
    await handsOver();
    expect(rig.journal.indexOf('checkpoint')).toBeLessThan(rig.journal.indexOf('stop'));
  });

  it('does not wait for a checkpoint that does not end, or that an order to stop overtakes', async () => {
    rig = await Rig.leader();
    rig.postgres.checkpointing = new Promise(() => undefined);
    ended = rig.keeper.terminate();
    await handsOver();
  });

  it('stays for an archiver that is still at work', async () => {
    rig = await Rig.leader();
    const archived = Promise.withResolvers<void>();
    rig.postgres.archiving = archived.promise;
    let isOver = false;
    const ended = rig.keeper.terminate().then(() => {
      isOver = true;
    });
    await rig.until((s) => s.stopping);
    rig.order(1, { kind: 'stop' });
    await rig.until((s) => s.postgres.state === 'stopped');
    expect(isOver).toBe(false);
    archived.resolve();
    await ended;
  });

  it('counts a standby that comes while it waits, which may then take over', async () => {
    await announced();
    rig.postgres.standbys = [streaming()];
    rig.order(1, lead(WITH_B));
    expect((await rig.until((s) => s.done && s.lead?.syncInForce?.k === 1)).stopping).toBe(true);
    await handsOver();
  });

  it('lets clients finish meanwhile, as long as the order says', async () => {
    await announced();
    rig.postgres.clients = [2, 1];
    await handsOver(5_000);
    const steps = rig.did(/^(stop|end)/);
    expect(steps).toEqual([...Array<string>(3).fill('end idle clients'), 'stop']);
  });

  it('shuts down by itself when no node takes over, and tells a moment before, so that new connections are held', async () => {
    rig = await Rig.leader();
    const from = rig.clock.nowMs();
    ended = rig.keeper.terminate();
    await rig.until((s) => s.postgres.state === 'stopping');
    expect(rig.postgres.running).toBe(true);
    await ended;
    expect(rig.clock.nowMs() - from).toBeGreaterThanOrEqual(8_000);
    expect(rig.postgres.running).toBe(false);
  });

  it('awaits a monitor that is away for a moment, and hands over to it', async () => {
    rig = await Rig.leader();
    rig.link.connected = false;
    ended = rig.keeper.terminate();
    await rig.clock.sleep(1_000);
    expect(rig.postgres.running).toBe(true);
    rig.link.connected = true;
    await handsOver();
  });

  it.each([
    ['a monitor that stays away, for as long as for one that answers', Rig.leader, false],
    ['a hand-over when it is no leader', Rig.standby, true],
  ])('does not wait for %s', async (_what, made, connected) => {
    rig = await made();
    const fromMs = rig.clock.nowMs();
    rig.link.connected = connected;
    await rig.keeper.terminate();
    expect(rig.clock.nowMs() - fromMs).toBeLessThan(HANDOVER_LIMIT_MS);
    expect(rig.postgres.running).toBe(false);
  });
});

describe('the application’s database and table', () => {
  it('are made by a leader that was bootstrapped, and never again: people may rename or drop them', async () => {
    rig = await Rig.leader();
    expect(rig.postgres.furnishedAsNew).toEqual([true]);
    await rig.restart();
    await rig.done(2, lead());
    await rig.until(() => rig.postgres.furnishedAsNew.length > 1);
    rig.settle({ databasePassword: 'another' });
    await rig.until(() => rig.postgres.furnishedAsNew.length > 2);
    expect(new Set(rig.postgres.furnishedAsNew.slice(1))).toEqual(new Set([false]));
  });

  it('are not made by a standby that takes the lead', async () => {
    rig = await Rig.standby();
    await rig.done(2, lead());
    await rig.until(() => rig.postgres.furnishedAsNew.length > 0);
    expect(rig.postgres.furnishedAsNew).toEqual([false]);
  });
});

describe('what people removed of the failover’s own', () => {
  it('is made again on a leader that is alone, without a new order, and told', async () => {
    rig = await Rig.leader();
    rig.postgres.removed = ['schema failover', 'role failover_monitor'];
    await rig.until(() => rig.link.notes().includes('MENDED'));
    const note = rig.link.sent.find((frame) => frame.type === 'note' && frame.code === 'MENDED');
    expect(note).toMatchObject({ message: expect.stringContaining('schema failover, role failover_monitor') });
    await rig.until((s) => s.done);
  });

  it('is tried again with growing rests, told once, and does not keep the order from being done', async () => {
    rig = await Rig.leader();
    rig.postgres.removed = new Error('canceling statement due to lock timeout');
    const fromMs = rig.clock.nowMs();
    await rig.until(() => rig.clock.nowMs() - fromMs > 60_000);
    expect(rig.link.notes().filter((code) => code === 'FURNISH_FAILED')).toHaveLength(1);
    expect(rig.link.status().done).toBe(true);
    rig.postgres.removed = ['table failover.canary'];
    await rig.until(() => rig.link.notes().includes('MENDED'));
  });

  it('is left to the leader by a standby', async () => {
    rig = await Rig.standby();
    rig.postgres.removed = ['schema failover'];
    const fromMs = rig.clock.nowMs();
    await rig.until(() => rig.clock.nowMs() - fromMs > 5_000);
    expect(rig.postgres.removed).toEqual(['schema failover']);
  });
});
