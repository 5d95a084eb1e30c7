/** Notices a promotion that no order asked for (S3). */
import { seam } from '../contract/seam';
import type { KeeperState } from './keeper-state';
import type { View } from './ports';

/**
 * Stores that PostgreSQL became a primary without an order, before anything else is done: its timeline's number may be taken
 * (S3). Also when the server ended before the keeper saw it: the control file tells that it ran as a primary, and the
 * keeper's own state that it was a standby before. True: it was noticed now.
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
