/** What the read port promises and what it does not (S29), shown by histories of clients of both ports. */
import { describe, expect, it } from 'vitest';
import type { World } from '../../simulator/world';
import { built, Tale } from '../scenarios/story';

const SEEDS = [1, 2, 3, 4, 5, 6];
/** Delay of packets to or from a replica, ms. */
const FAR_MS = 150;

/** A cluster with two replicas behind slow links. Answers of replica-1 come late, and WAL reaches replica-2 late. */
async function farAway(seed: number, clients: number): Promise<World> {
  const world = await built({ seed, replicas: 2, thinkMs: 20 }, [clients, clients]);
  for (const [from, to, ms] of [
    ['replica-1', 'primary', FAR_MS],
    ['primary', 'replica-2', 2 * FAR_MS],
  ] as const) {
    world.network.far.set(`${from}>${to}`, ms);
  }
  return world;
}

describe('the read port (S29)', () => {
  it('shows the database as it was at one moment, but may show a row before or after the write port does', async () => {
    let [early, late, shown] = [0, 0, 0];
    for (const seed of SEEDS) {
      const world = await farAway(seed, 3);
      await world.engine.run(world.engine.nowMs + 8_000);
      world.clientsEnd = true;
      world.network.far.clear();
      expect(await world.engine.run(world.engine.nowMs + 20_000, () => world.identical())).toBe(true);
      world.checkIdentical();
      expect(world.violations).toEqual([]);
      const { reads, acknowledged } = world.history;
      for (const read of reads.filter((r) => r.standby)) {
        const rows = new Set(read.rows.slice(0, read.count));
        for (const { row, endMs } of acknowledged.values()) {
          if (endMs === null) continue;
          if (rows.has(row) && (read.endMs ?? 0) < endMs) early += 1;
          else if (!rows.has(row) && read.startMs > endMs) late += 1;
          else if (rows.has(row)) shown += 1;
        }
      }
    }
    expect(early).toBeGreaterThan(0);
    expect(late).toBeGreaterThan(0);
    expect(shown).toBeGreaterThan(late);
  });

  it('shows a write on every replica to a client that waits until its position is replayed', async () => {
    let waited = 0;
    for (const seed of SEEDS) {
      const world = await farAway(seed, 0);
      const tale = new Tale(world);
      const seen = new Set<string>();
      for (let i = 0; i < 8; i++) {
        const row = world.nextRow();
        const writer = await tale.connect('write');
        expect(await tale.ask(writer, { kind: 'row', row })).toMatchObject({ ok: true });
        writer?.leave();
        const wal = tale.node('primary').volume.data?.wal ?? [];
        const position = wal.findIndex(({ change }) => change.kind === 'row' && change.row === row) + 1;
        const reader = await tale.connect('read');
        const data = world.nodeAt(reader?.server ?? '')?.volume.data;
        const applied = () => (data?.applied ?? 0) >= position;
        if (!applied()) waited += 1;
        expect(await world.engine.run(world.engine.nowMs + 5_000, applied)).toBe(true);
        const reply = await tale.ask(reader, { kind: 'read' });
        if (reply?.ok !== true || reply.kind !== 'read') throw new Error('the read port does not answer');
        expect(reply.rows.slice(0, reply.count)).toContain(row);
        seen.add(reader?.server ?? '');
        reader?.leave();
      }
      expect(seen.size).toBe(2);
    }
    // At least one read would not have shown the row without the wait.
    expect(waited).toBeGreaterThan(0);
  });
});
