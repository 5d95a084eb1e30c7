/** Detects a promotion that no order asked for (S3). */
import { seam } from '../contract/seam';
import type { KeeperState } from './keeper-state';
import type { View } from './ports';

/**
 * Stores that PostgreSQL became a primary without an order. This is stored before anything else is done, because the
 * number of its timeline may already belong to another history (S3). It also detects a server that ended before the
 * keeper saw it as a primary: the control file says that it ran as a primary, and the keeper's own state says that it
 * was a standby before. Returns true if the promotion was detected by this call.
 */
export const noticeByHand = seam(
  async (view: View, state: KeeperState, save: (change: Partial<KeeperState>) => Promise<void>): Promise<boolean> => {
    const { sql, control, running } = view;
    const { promotedByHand, promotingTerm, rewinding, standby, accepted } = state;
    if (promotedByHand || rewinding) return false;
    const isStandby = sql?.inRecovery === true && promotingTerm === null && accepted?.target.kind !== 'lead';
    if (isStandby && !standby) await save({ standby: true });
    const ended = !running && standby && promotingTerm === null && control?.primary === true;
    if (sql?.inRecovery !== false && !ended) return false;
    await save({ promotedByHand: true });
    return true;
  },
);
