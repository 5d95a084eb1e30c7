/** What a keeper must not forget. It is written whole, atomically, before it is acted on. Pure. */
import { z } from 'zod';
import { MonitorAddress } from '../contract/inputs';
import { OrderId, Target } from '../contract/messages';

const Accepted = OrderId.extend({ target: Target });
export type AcceptedOrder = z.infer<typeof Accepted>;

/** Fields that came later have a default: the state of an earlier release is read, too. */
export const KeeperState = z.object({
  /** Highest order accepted (S5, S11). */
  accepted: Accepted.nullable(),
  /** Random identity of the data directory; null when there was never one. */
  directoryId: z.string().nullable(),
  /** `fresh` from initdb until the first leadership has made roles and databases. */
  fresh: z.boolean(),
  /** Term of a promotion that was begun and not yet seen finished (S3). */
  promotingTerm: z.number().int().nullable(),
  /** The last finished promotion of this data: the control file may still show the old timeline (S12). */
  promoted: z.object({ term: z.number().int(), timeline: z.number().int(), forkLsn: z.string().nullable() }).nullable(),
  /** PostgreSQL became a primary on this data without an order, and was not led by one since: its timeline is its own (S3). */
  promotedByHand: z.boolean().default(false),
  /** PostgreSQL was seen as a standby on this data, and was not ordered to lead since. */
  standby: z.boolean().default(false),
  /** A rewind was begun and not finished: this data may only be replaced (S12). */
  rewinding: z.boolean(),
  /** `data.new` is complete and verified and takes the place of `data`. */
  swapPending: z.boolean(),
  /** Leader and term whose history this data was brought to by rewind or copy, so that a repeated order does not repeat it. */
  joined: z.object({ leader: z.string(), term: z.number().int() }).nullable(),
  /** The monitors, as one of them told last; absent: none has. */
  monitors: z.array(MonitorAddress).optional(),
});
export type KeeperState = z.infer<typeof KeeperState>;

export const EMPTY_STATE: KeeperState = {
  accepted: null,
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
