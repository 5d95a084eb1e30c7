/** When a standby is asked why it does not stream. */
import { describe, expect, it } from 'vitest';
import type { SqlView } from '../../failover/keeper/ports';
import type { Finding } from '../../failover/keeper/postgres/stream-check';
import { StreamWatch } from '../../failover/keeper/postgres/stream-watch';

const [A, B] = ['a', 'b'].map((name, i) => ({ name, address: `10.0.0.2${i}` })) as [Source, Source];
type Source = { name: string; address: string };
const LOOK_MS = 100;

function standby(streamsFrom: Source | null, replayLsn = '0/100'): SqlView {
  return {
    inRecovery: true,
    timeline: 1,
    receiveLsn: null,
    replayLsn,
    flushLsn: null,
    walReceiver: streamsFrom && { status: 'streaming', host: streamsFrom.address },
    startupWaits: true,
    heartbeatSeen: null,
    standbys: [],
  };
}

class Rig {
  nowMs = 0;
  readonly askedAtMs: number[] = [];
  /** What the next question finds. */
  finds: () => Promise<Finding> = async () => ({ impossible: null, stuck: null });
  readonly watch = new StreamWatch(
    () => {
      this.askedAtMs.push(this.nowMs);
      return this.finds();
    },
    () => this.nowMs,
  );

  /** Looks for some time. */
  async look(ms: number, sql: (nowMs: number) => SqlView | null, leader: Source | null = A): Promise<void> {
    for (const end = this.nowMs + ms; this.nowMs < end; this.nowMs += LOOK_MS) {
      this.watch.seen(sql(this.nowMs), leader);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

const broken = () => standby(null);
const impossible = (text: string) => async () => ({ impossible: text, stuck: null });

describe('StreamWatch', () => {
  it('asks after a second without a stream, and then less and less often', async () => {
    const rig = new Rig();
    await rig.look(130_000, broken);
    expect(rig.askedAtMs).toEqual([1, 2, 4, 8, 16, 32, 62, 92, 122].map((s) => s * 1_000));
  });

  it('never asks while it streams, or follows nobody, or leads', async () => {
    const rig = new Rig();
    await rig.look(5_000, () => standby(A));
    await rig.look(5_000, broken, null);
    await rig.look(5_000, () => ({ ...standby(null), inRecovery: false }));
    expect(rig.askedAtMs).toEqual([]);
  });

  it('does not take a stream from another node for one', async () => {
    const rig = new Rig();
    await rig.look(1_100, () => standby(B));
    expect(rig.askedAtMs).toEqual([1_000]);
  });

  it('asks of a server that does not answer, too', async () => {
    const rig = new Rig();
    await rig.look(1_100, () => null);
    expect(rig.askedAtMs).toEqual([1_000]);
  });

  it('asks one question at a time', async () => {
    const rig = new Rig();
    rig.finds = () => new Promise(() => undefined);
    await rig.look(20_000, broken);
    expect(rig.askedAtMs).toEqual([1_000]);
  });

  it('forgets as soon as it streams and applies, and begins anew', async () => {
    const rig = new Rig();
    rig.finds = impossible('why');
    await rig.look(5_000, broken);
    expect(rig.watch.impossible).toBe('why');
    await rig.look(100, () => standby(A, '0/200'));
    expect(rig.watch.impossible).toBeNull();
    rig.askedAtMs.length = 0;
    await rig.look(1_200, broken);
    expect(rig.askedAtMs).toEqual([6_100]);
  });

  it('forgets when it streams without a break though nothing is written', async () => {
    const rig = new Rig();
    rig.finds = impossible('why');
    await rig.look(2_000, broken);
    await rig.look(500, () => standby(A));
    expect(rig.watch.impossible).toBe('why');
    await rig.look(600, () => standby(A));
    expect(rig.watch.impossible).toBeNull();
  });

  it('sees through a receiver that comes and goes while nothing is applied', async () => {
    const rig = new Rig();
    rig.finds = impossible('why');
    await rig.look(3_000, (nowMs) => standby(nowMs % 300 === 0 ? null : A));
    expect(rig.watch.impossible).toBe('why');
  });

  it('forgets with a new leader, and what was asked of the old one is of no interest', async () => {
    const rig = new Rig();
    let answer: (finding: Finding) => void = () => undefined;
    rig.finds = () =>
      new Promise((resolve) => {
        answer = resolve;
      });
    await rig.look(1_100, broken);
    await rig.look(100, broken, B);
    answer({ impossible: 'of a', stuck: null });
    await rig.look(500, broken, B);
    expect(rig.watch.impossible).toBeNull();
    rig.watch.forget();
    rig.finds = impossible('of b');
    await rig.look(1_100, broken, B);
    expect(rig.watch.impossible).toBe('of b');
    rig.watch.forget();
    expect(rig.watch.impossible).toBeNull();
  });

  it('takes a leader that does not answer for no reason, and keeps the one it has', async () => {
    const rig = new Rig();
    rig.finds = async () => Promise.reject(new Error('connect ECONNREFUSED'));
    await rig.look(5_000, broken);
    expect(rig.watch.impossible).toBeNull();
    rig.watch.forget();
    rig.finds = impossible('why');
    await rig.look(1_100, broken);
    rig.finds = async () => Promise.reject(new Error('connect ECONNREFUSED'));
    await rig.look(5_000, broken);
    expect(rig.watch.impossible).toBe('why');
    rig.finds = async () => ({ impossible: null, stuck: null });
    await rig.look(30_000, broken);
    expect(rig.watch.impossible).toBeNull();
  });

  it('calls a record that is not taken impossible only at the third look at one position', async () => {
    const rig = new Rig();
    const at = (position: bigint) => async () => ({ impossible: null, stuck: { position, timeline: 4 } });
    rig.finds = at(0x100n);
    await rig.look(2_500, broken);
    rig.finds = at(0x200n);
    await rig.look(6_000, broken);
    expect(rig.askedAtMs).toHaveLength(4);
    expect(rig.watch.impossible).toBeNull();
    await rig.look(8_000, broken);
    expect(rig.watch.impossible).toMatch(/on timeline 4 from 0\/200 on.*the next record of a at 0\/200 is here/);
  });
});
