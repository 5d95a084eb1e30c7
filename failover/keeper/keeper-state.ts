/**
 * The state that a keeper must not forget. The file is replaced as a whole, atomically, before the keeper acts on the
 * state. Pure.
 */
import { z } from 'zod';
import { MonitorAddress, OrderId, Target } from '../contract/messages';

const Accepted = OrderId.extend({ target: Target });
export type AcceptedOrder = z.infer<typeof Accepted>;

/** Fields that were added later have a default, so the state of an earlier release can be read. */
export const KeeperState = z.object({
  /** Highest order accepted (S5, S11). */
  accepted: Accepted.nullable(),
  /** Random identity of the data directory; null when there never was one. */
  directoryId: z.string().nullable(),
  /** True from initdb until the first leadership has created the roles and databases. */
  fresh: z.boolean(),
  /** Term of a promotion that has begun and has not been seen to finish (S3). */
  promotingTerm: z.number().int().nullable(),
  /**
   * The last finished promotion of this data. It is stored because the control file may still show the old timeline
   * (S12).
   */
  promoted: z.object({ term: z.number().int(), timeline: z.number().int(), forkLsn: z.string().nullable() }).nullable(),
  /**
   * PostgreSQL became a primary on this data without an order, and no order has made it the leader since. Its timeline
   * is not one of the cluster's (S3).
   */
  promotedByHand: z.boolean().default(false),
  /** PostgreSQL was seen as a standby on this data and has not been ordered to lead since. */
  standby: z.boolean().default(false),
  /** A rewind has begun and has not finished, so this data may only be replaced (S12). */
  rewinding: z.boolean(),
  /** `data.new` is complete and verified and is to replace `data`. */
  swapPending: z.boolean(),
  /**
   * The leader and term whose history a rewind or copy has brought this data to. A repeated order does not repeat the
   * work.
   */
  joined: z.object({ leader: z.string(), term: z.number().int() }).nullable(),
  /** A restore in place whose data are being made beside the present ones, or are complete; absent: none. */
  making: z.object({ id: z.string(), done: z.boolean() }).optional(),
  /** `from` is about to take the place of `data`, which is kept as `keep`, or removed; absent: nothing is. */
  swapping: z.object({ from: z.string(), keep: z.string().nullable() }).optional(),
  /** The last restore whose data took the place of this node's, and the data from before it; `kept` null: none. */
  restored: z
    .object({ id: z.string(), atMs: z.number(), kept: z.object({ folder: z.string(), bytes: z.number() }).nullable() })
    .optional(),
  /** The list of monitors that a monitor sent last; absent: none has sent one. */
  monitors: z.array(MonitorAddress).optional(),
});
export type KeeperState = z.infer<typeof KeeperState>;

/** What the state says about data that was just made, and about a node without data. */
export const NEW_DATA: Omit<KeeperState, 'accepted' | 'monitors'> = {
  directoryId: null,
  fresh: false,
  promotingTerm: null,
  promoted: null,
  promotedByHand: false,
  standby: false,
  rewinding: false,
  swapPending: false,
  joined: null,
};

export const EMPTY_STATE: KeeperState = { accepted: null, ...NEW_DATA };
