/** Durable small files on the node's volume: written beside, synced, renamed, folder synced. */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { OrderId, Target } from '../protocol';
import { EMPTY_STATE, type KeeperState, type Memory, type StateFile } from './ports';

/** Makes a folder's entries (renames in it) durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Replaces a file so that a reader, also after a crash, finds the old or the new text, whole. */
export async function writeWhole(folder: string, name: string, text: string, mode = 0o600, sync = true): Promise<void> {
  const [temporary, path] = [join(folder, `${name}.tmp`), join(folder, name)];
  const handle = await open(temporary, 'w', mode);
  try {
    await handle.writeFile(text);
    if (sync) await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
  if (sync) await syncFolder(folder);
}

const State = z.object({
  accepted: OrderId.extend({ target: Target }).nullable(),
  directoryId: z.string().nullable(),
  fresh: z.boolean(),
  promotingTerm: z.number().int().nullable(),
  promoted: z.object({ term: z.number().int(), timeline: z.number().int(), forkLsn: z.string().nullable() }).nullable(),
  rewinding: z.boolean(),
  swapPending: z.boolean(),
  joined: z.object({ leader: z.string(), term: z.number().int() }).nullable(),
});
const MemoryFile = z.object({ term: z.number().int(), seq: z.number().int(), blob: z.string() });

/** The keeper's memory in a folder of the node's volume. */
export class StateFolder implements StateFile {
  private readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  /** Throws when the file is there but cannot be understood: what was promised must not be forgotten. */
  async load(): Promise<KeeperState> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const text = await this.read('state.json');
    return text === null ? EMPTY_STATE : State.parse(JSON.parse(text));
  }

  async save(state: KeeperState): Promise<void> {
    await writeWhole(this.folder, 'state.json', `${JSON.stringify(state)}\n`);
  }

  async loadMemory(): Promise<Memory | null> {
    const text = await this.read('monitor-copy.json');
    return text === null ? null : MemoryFile.parse(JSON.parse(text));
  }

  async saveMemory(memory: Memory): Promise<void> {
    await writeWhole(this.folder, 'monitor-copy.json', `${JSON.stringify(memory)}\n`);
  }

  private async read(name: string): Promise<string | null> {
    try {
      return await readFile(join(this.folder, name), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  }
}
