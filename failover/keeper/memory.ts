/**
 * Stores the keeper's durable data on the node's volume: its own state, and the copy that it keeps for the monitor
 * (S10).
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { StateCopy } from '../contract/messages';
import { writeWhole } from '../disk/durable';
import { SlotFile } from '../disk/two-slot-file';
import { EMPTY_STATE, KeeperState } from './keeper-state';
import type { StateFile } from './ports';

/** File of the copy that is kept for the monitor. */
const COPY = 'monitor-copy.json';

/** The keeper's durable data in a folder of the node's volume. */
export class StateFolder implements StateFile {
  private readonly state: SlotFile;

  constructor(private readonly folder: string) {
    this.state = new SlotFile(join(folder, 'state'));
  }

  /** Throws when the file exists but cannot be parsed, because the keeper must not forget a promise that it made. */
  async load(): Promise<KeeperState> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const text = await this.state.load();
    return text === null ? EMPTY_STATE : KeeperState.parse(JSON.parse(text));
  }

  async save(state: KeeperState): Promise<void> {
    await this.state.save(JSON.stringify(state));
  }

  async loadMemory(): Promise<StateCopy | null> {
    const text = await readFile(join(this.folder, COPY), 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    });
    return text === null ? null : StateCopy.parse(JSON.parse(text));
  }

  async saveMemory(memory: StateCopy): Promise<void> {
    await writeWhole(this.folder, COPY, `${JSON.stringify(memory)}\n`);
  }
}
