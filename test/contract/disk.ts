/**
 * Files that survive a process: the monitor's store and the keeper's files. Each case runs on real files and on models.
 */
import { expect } from 'vitest';
import { EMPTY_STATE, type KeeperState } from '../../failover/keeper/keeper-state';
import type { StateFile } from '../../failover/keeper/ports';
import type { Store } from '../../failover/monitor/ports';

/** How often a write is cut off, each time at another byte. */
export const TURNS = 10;

/** A volume whose store a test opens several times. */
export interface StoreVolume {
  /** One run of the monitor: opens the store, works with it, closes it. */
  life<T>(work: (store: Store) => Promise<T>): Promise<T>;
  /** The monitor dies during this save. By chance a part of it, all or nothing is on the disk. */
  cutOff(text: string, turn: number): Promise<void>;
  /** Replaces the volume by a copy of itself. */
  copy(): Promise<void>;
}

export const STORE_CONTRACT: Readonly<Record<string, (volume: StoreVolume) => Promise<void>>> = {
  'is empty at first and has the first incarnation': (volume) =>
    volume.life(async (store) => {
      expect(store).toMatchObject({ loaded: null, moved: false, incarnation: 1 });
    }),
  'gives the next run the newest state and a higher incarnation (S11)': async (volume) => {
    await volume.life(async (store) => {
      await store.save('one');
      await store.save('two');
    });
    await volume.life(async (store) => expect(store).toMatchObject({ loaded: 'two', incarnation: 2 }));
    await volume.life(async (store) => {
      expect(await store.raiseAbove(40)).toBe(41);
      expect(store.incarnation).toBe(41);
    });
    await volume.life(async (store) => expect(store).toMatchObject({ loaded: 'two', incarnation: 42 }));
  },
  'holds the old or the new state after a save that was cut off, never anything else (S10)': async (volume) => {
    await volume.life((store) => store.save('before'));
    const seen = new Set<string | null>();
    for (let turn = 0; turn < TURNS; turn++) {
      await volume.cutOff('after', turn);
      await volume.life(async (store) => {
        seen.add(store.loaded);
        await store.save('before');
      });
    }
    expect([...seen].sort()).toEqual(['after', 'before']);
  },
  'knows that it is a copy until a state is saved in it (S10)': async (volume) => {
    await volume.life((store) => store.save('one'));
    await volume.copy();
    await volume.life(async (store) => expect(store.moved).toBe(true));
    await volume.life(async (store) => {
      expect(store.moved).toBe(true);
      await store.save('two');
    });
    await volume.life(async (store) => expect(store).toMatchObject({ moved: false, loaded: 'two' }));
  },
  'refuses a state that does not fit and keeps the former one': async (volume) => {
    await volume.life(async (store) => {
      await store.save('small');
      await expect(store.save('x'.repeat(256 * 1024))).rejects.toThrow(/too many for the store/);
    });
    await volume.life(async (store) => expect(store.loaded).toBe('small'));
  },
};

/** A node's volume with the keeper's files, which are opened again and again. */
export interface KeeperVolume {
  open(): Promise<StateFile>;
  /** The keeper dies during this save. */
  cutOff(state: KeeperState, turn: number): Promise<void>;
}

function accepted(term: number): KeeperState {
  return { ...EMPTY_STATE, accepted: { incarnation: 1, term, seq: term, target: { kind: 'freeze' } } };
}

export const KEEPER_CONTRACT: Readonly<Record<string, (volume: KeeperVolume) => Promise<void>>> = {
  'is empty at first': async (volume) => {
    const files = await volume.open();
    expect(await files.load()).toEqual(EMPTY_STATE);
    expect(await files.loadMemory()).toBeNull();
  },
  'keeps the newest of each: its own state and the copy of the monitor’s state': async (volume) => {
    const files = await volume.open();
    await files.load();
    for (const term of [1, 2, 3]) await files.save(accepted(term));
    await files.saveMemory({ term: 1, seq: 1, blob: 'old' });
    await files.saveMemory({ term: 2, seq: 7, blob: 'new' });
    const again = await volume.open();
    expect(await again.load()).toEqual(accepted(3));
    expect(await again.loadMemory()).toEqual({ term: 2, seq: 7, blob: 'new' });
  },
  'is the old or the new state after a save that was cut off, never anything else (S5)': async (volume) => {
    const first = await volume.open();
    await first.load();
    await first.save(accepted(1));
    const seen = new Set<number | undefined>();
    for (let turn = 0; turn < TURNS; turn++) {
      await volume.cutOff(accepted(2), turn);
      const files = await volume.open();
      seen.add((await files.load()).accepted?.term);
      await files.save(accepted(1));
    }
    expect([...seen].sort()).toEqual([1, 2]);
  },
};
