/** What the keeper must not forget, as it stands on the disk: its own state, and the copy that it keeps for the monitor (S10). */

import { inBackground } from '../contract/errors';
import type { StateCopy } from '../contract/messages';
import { EMPTY_STATE, type KeeperState } from './keeper-state';
import type { StateFile } from './ports';

export class DurableState {
  state: KeeperState = EMPTY_STATE;
  copy: StateCopy | null = null;
  private saving: Promise<void> = Promise.resolve();
  private keeping = false;
  private readonly files: StateFile;

  constructor(files: StateFile) {
    this.files = files;
  }

  /** Throws when a file is there but cannot be understood: what was promised must not be forgotten. */
  async load(): Promise<void> {
    this.state = await this.files.load();
    this.copy = await this.files.loadMemory();
  }

  /** Stores a change, one after the other; resolves when it is on the disk. */
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
   * Stores a copy unless a newer one is kept, beside the orders, which do not wait for it; what comes meanwhile replaces what
   * waits. `failed` hears why it could not be stored.
   */
  keep(copy: StateCopy, failed: (error: unknown) => void): void {
    if (this.copy !== null && copy.seq < this.copy.seq) return;
    this.copy = copy;
    if (this.keeping) return;
    this.keeping = true;
    inBackground(
      async () => {
        for (let kept: StateCopy | null = null; this.copy !== null && kept !== this.copy; ) {
          kept = this.copy;
          await this.files.saveMemory(kept);
        }
      },
      failed,
      () => {
        this.keeping = false;
      },
    );
  }
}
