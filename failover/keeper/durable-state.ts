/**
 * The keeper's durable data: its own state, and the copy of the monitor's state that it keeps for the monitor (S10).
 */

import type { StateCopy } from '../contract/messages';
import { EMPTY_STATE, type KeeperState } from './keeper-state';
import type { StateFile } from './ports';

export class DurableState {
  state: KeeperState = EMPTY_STATE;
  copy: StateCopy | null = null;
  private saving: Promise<void> = Promise.resolve();
  private keeping: Promise<void> = Promise.resolve();

  constructor(private readonly files: StateFile) {}

  /** Throws when a file exists but cannot be parsed, because the keeper must not forget a promise that it made. */
  async load(): Promise<void> {
    this.state = await this.files.load();
    this.copy = await this.files.loadMemory();
  }

  /** Stores a change. Changes are written one after the other. Resolves when this change is on the disk. */
  save(change: Partial<KeeperState>): Promise<void> {
    const saved = this.saving
      .catch(() => undefined)
      .then(async () => {
        const next = { ...this.state, ...change };
        await this.files.save(next);
        this.state = next;
      });
    this.saving = saved;
    return saved;
  }

  /**
   * Stores the copy unless a newer one is kept. The write runs in the background, so orders do not wait for it. A copy
   * that arrives during a write replaces the copy that waits. `failed` is called with the error if a write fails.
   */
  keep(copy: StateCopy, failed: (error: unknown) => void): void {
    if (this.copy !== null && copy.seq < this.copy.seq) return;
    this.copy = copy;
    const write = async () => {
      if (this.copy === copy) await this.files.saveMemory(copy);
    };
    this.keeping = this.keeping.then(write).catch(failed);
  }
}
