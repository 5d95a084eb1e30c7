/**
 * Carries out an order to restore in place. First the keeper hands all write-ahead log to the repository, and makes the
 * restored data beside the present data, which it does not touch; it only reports a failure. Then it swaps the two
 * folders. It stores the swap before it begins, so that after a crash the next start of the keeper finishes it.
 */
import { messageOf } from '../contract/errors';
import { NEW_DATA } from './keeper-state';
import { KeeperError, type MadeFrom, RESTORED, type Restorer } from './ports';
import type { Outcome, Pass, PursuitParts } from './pursuit-host';
import { TargetPursuit } from './rejoining';

/** Interval at which an order that has failed is looked at, ms. */
const FAILED_MS = 1_000;
const KEPT = 'data.before-restore';

export class RestorePursuit extends TargetPursuit<'restore'> {
  private failure: Outcome['failure'];

  override async pass({ signal }: Pass): Promise<Outcome> {
    const { lives, host, postgres } = this.tools;
    if (this.failure !== undefined) return { done: false, failure: this.failure, againMs: FAILED_MS };
    try {
      const { restorer } = postgres;
      if (restorer === undefined) throw new Error('this node has no backups');
      if (this.isSwapped()) return { done: true };
      if (host.view.running) await lives.stop();
      if (this.target.step === 'make') await this.make(restorer, signal);
      else await this.swap(restorer);
    } catch (error) {
      if (signal.aborted || host.stopping) throw error;
      this.failure = { code: 'RESTORE_IMPOSSIBLE', message: messageOf(error) };
      host.note('error', 'RESTORE_IMPOSSIBLE', this.failure.message);
      return { done: false, failure: this.failure, againMs: FAILED_MS };
    } finally {
      lives.activity = null;
    }
    return { done: !signal.aborted };
  }

  private isSwapped(): boolean {
    const { state } = this.tools.host;
    return state.restored?.id === this.target.id && state.swapping === undefined;
  }

  private async make(restorer: Restorer, signal: AbortSignal): Promise<void> {
    const { host, lives } = this.tools;
    const { id, above } = this.target;
    if (host.state.making?.id === id && host.state.making.done) return;
    lives.show('copying');
    await host.save({ making: { id, done: false } });
    await host.finishArchive(signal);
    const progress = (text: string) => host.note('info', 'RESTORE_PROGRESS', text);
    await restorer.make(this.source(), above, progress, signal);
    if (!signal.aborted) await host.save({ making: { id, done: true } });
  }

  private source(): MadeFrom {
    const { from } = this.target;
    if (from.kind === 'backup') return from;
    const { restored } = this.tools.host.state;
    if (restored?.id === from.id && restored.kept !== null) return { kind: 'kept', folder: restored.kept.folder };
    throw new KeeperError('RESTORE_IMPOSSIBLE', 'the data from before the restore are not here any more');
  }

  private async swap(restorer: Restorer): Promise<void> {
    const { host } = this.tools;
    const { id, from } = this.target;
    if (host.state.making?.id !== id || !host.state.making.done) {
      throw new KeeperError('RESTORE_IMPOSSIBLE', 'the data that were made for the restore are not here any more');
    }
    const source = this.source();
    const atMs = Date.now();
    const keep = from.kind === 'backup' ? `${KEPT}-${stamp(atMs)}` : null;
    const kept = keep === null ? null : { folder: keep, bytes: await restorer.sizeBytes() };
    const swapping = { from: source.kind === 'kept' ? source.folder : RESTORED, keep };
    const directoryId = crypto.randomUUID();
    await host.save({ ...NEW_DATA, directoryId, making: undefined, restored: { id, atMs, kept }, swapping });
    await finishRestore(this.tools);
  }
}

/** Finishes a swap that was begun. */
export async function finishRestore({ host, postgres }: Pick<PursuitParts, 'host' | 'postgres'>): Promise<void> {
  const { swapping } = host.state;
  if (swapping === undefined) return;
  await postgres.restorer?.swap(swapping.from, swapping.keep);
  await host.save({ swapping: undefined });
  await host.observe();
}

/** Removes what a restore that was called off has left. */
export async function forgetRestore({ host, postgres }: Pick<PursuitParts, 'host' | 'postgres'>): Promise<void> {
  if (host.state.making === undefined) return;
  await postgres.restorer?.remove(RESTORED);
  await host.save({ making: undefined });
}

/** `20260131T120005Z` */
function stamp(atMs: number): string {
  return `${new Date(atMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}Z`;
}
