import { copyFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'vitest';
import { StateFolder } from '../../failover/keeper/memory';
import type { StateFile } from '../../failover/keeper/ports';
import { FileStore } from '../../failover/monitor/coordination/store';
import { Process } from '../../simulator/engine';
import { SimStore } from '../../simulator/monitor-container';
import { SimFiles } from '../../simulator/node';
import { World } from '../../simulator/world';
import { FakeFiles } from '../keeper/fakes';
import { testFolder } from '../rig/folder';
import { KEEPER_CONTRACT, type KeeperVolume, STORE_CONTRACT, type StoreVolume, TURNS } from './disk';
import { inSimulation } from './simulated';

/** Cuts off the last write: the file keeps its first bytes, and after them the bytes from before. */
function tear(path: string, before: Buffer, turn: number): void {
  const after = readFileSync(path);
  const first = after.findIndex((byte, i) => byte !== before[i]);
  const last = after.findLastIndex((byte, i) => byte !== before[i]);
  const got = turn === 0 ? last + 1 : first + Math.floor(((last - first) * turn) / TURNS);
  const torn = Buffer.from(before);
  after.copy(torn, 0, 0, got);
  writeFileSync(path, torn);
}

function realStore(): StoreVolume {
  const folder = testFolder();
  const path = join(folder, 'store');
  const life: StoreVolume['life'] = async (work) => {
    const store = await FileStore.open(folder);
    try {
      return await work(store);
    } finally {
      await store.close();
    }
  };
  return {
    life,
    cutOff: async (text, turn) => {
      let before = Buffer.alloc(0);
      await life(async (store) => {
        before = readFileSync(path);
        await store.save(text);
      });
      tear(path, before, turn);
    },
    copy: async () => {
      copyFileSync(path, `${path}.copy`);
      renameSync(`${path}.copy`, path);
    },
  };
}

function simulatedStore(): StoreVolume {
  const world = new World({ seed: 5, replicas: 1, calm: true });
  const { engine } = world;
  const open = async (process: Process) => {
    const store = new SimStore(world, process, world.disk);
    await store.open();
    return store;
  };
  return {
    life: (work) => {
      const process = new Process(engine, 'monitor', 'monitor');
      return inSimulation(engine, process, async () => work(await open(process)));
    },
    cutOff: async (text) => {
      const process = new Process(engine, 'monitor', 'monitor');
      await inSimulation(engine, process, async () => {
        const store = await open(process);
        store.save(text).catch(() => undefined);
      });
      process.kill();
      await engine.run(engine.nowMs + 1_000);
    },
    copy: async () => {
      world.disk = { ...world.disk, moved: true };
    },
  };
}

describe('the store', () => {
  it.each(Object.entries(STORE_CONTRACT))('(on a real disk) %s', (_name, holds) => holds(realStore()));
  it.each(Object.entries(STORE_CONTRACT))('(simulated) %s', (_name, holds) => holds(simulatedStore()));
});

function realFiles(): KeeperVolume {
  const folder = testFolder();
  const path = join(folder, 'state');
  return {
    open: async () => new StateFolder(folder),
    cutOff: async (state, turn) => {
      const files = new StateFolder(folder);
      await files.load();
      const before = readFileSync(path);
      await files.save(state);
      tear(path, before, turn);
    },
  };
}

function simulatedFiles(): KeeperVolume {
  const world = new World({ seed: 5, replicas: 1, calm: true });
  const { engine, nodes } = world;
  const [node] = nodes;
  if (node === undefined) throw new Error('no node');
  /** Lets the test, which is no simulated process, call simulated files: each call runs inside the simulation. */
  const outside = (process: Process): StateFile => {
    const files = new SimFiles(node, process);
    const run = <T>(work: () => Promise<T>) => inSimulation(engine, process, work);
    return {
      load: () => run(() => files.load()),
      save: (state) => run(() => files.save(state)),
      loadMemory: () => run(() => files.loadMemory()),
      saveMemory: (memory) => run(() => files.saveMemory(memory)),
    };
  };
  return {
    open: async () => outside(new Process(engine, 'keeper', node.name)),
    cutOff: async (state) => {
      const process = new Process(engine, 'keeper', node.name);
      await inSimulation(engine, process, async () => {
        new SimFiles(node, process).save(state).catch(() => undefined);
      });
      process.kill();
      await engine.run(engine.nowMs + 1_000);
    },
  };
}

describe('the keeper’s files', () => {
  it.each(Object.entries(KEEPER_CONTRACT))('(on a real disk) %s', (_name, holds) => holds(realFiles()));
  it.each(Object.entries(KEEPER_CONTRACT))('(simulated) %s', (_name, holds) => holds(simulatedFiles()));

  it.each(Object.entries(KEEPER_CONTRACT).slice(0, 2))('(the unit tests’ fake) %s', async (_name, holds) => {
    const files = new FakeFiles([]);
    await holds({ open: async () => files, cutOff: () => Promise.reject(new Error('it is never cut off')) });
  });
});
