/**
 * Replication slots that people made on the leader. The opened leader's keeper reports them, the monitor remembers which
 * there are, and tells every keeper, so that a new leader has them too.
 */
import { z } from 'zod';
import { Lsn } from './lsn-schema';
import { NodeName } from './naming';

/** Most slots of people that are reported and remembered. */
export const CLIENT_SLOTS_MAX = 64;

/** PostgreSQL allows no other names (slot.c, `ReplicationSlotValidateName`). */
export const SlotName = z.string().regex(/^[a-z0-9_]{1,63}$/);
const SlotType = z.enum(['physical', 'logical']);

/** A slot on the leader, as pg_replication_slots shows it. Temporary ones are left out. */
export const ClientSlot = z.object({
  name: SlotName,
  type: SlotType,
  /** Only logical slots have these two. */
  plugin: z.string().max(64).nullable(),
  database: z.string().max(64).nullable(),
  /** PostgreSQL itself copies such a logical slot to the standbys. */
  failover: z.boolean(),
  active: z.boolean(),
  /** It keeps all write-ahead log from here on; null: it keeps none. */
  lsn: Lsn.nullable(),
  /** Why PostgreSQL gave it up; null: it did not. */
  invalidation: z.string().max(64).nullable(),
});
export type ClientSlot = z.infer<typeof ClientSlot>;

/** The new leader does not keep all that the former one kept for a slot. */
export const SlotGap = z.object({
  name: SlotName,
  type: SlotType,
  /** What may be missing begins here; null: not known. */
  from: Lsn.nullable(),
  /** And ends here; null: there is no such slot any more. */
  to: Lsn.nullable(),
});
export type SlotGap = z.infer<typeof SlotGap>;

/** Report of the opened leader of this term, once it has what {@link SlotOrder} lists. */
export const ClientSlotsView = z.object({
  term: z.number().int(),
  slots: z.array(ClientSlot).max(CLIENT_SLOTS_MAX),
  /** There are more slots than are listed. */
  more: z.boolean().optional(),
  gaps: z.array(SlotGap).max(CLIENT_SLOTS_MAX),
});
export type ClientSlotsView = z.infer<typeof ClientSlotsView>;

const KeptSlot = z.object({
  name: SlotName,
  type: SlotType,
  /** As the leader, or for a new leader the former one, reported it. Absent: not known. */
  lsn: Lsn.nullable().optional(),
});

/** What a keeper is told of these slots. A standby keeps copies of the physical ones. */
export const SlotOrder = z.object({
  /** Term of the opened leader. */
  term: z.number().int(),
  /** The node that reported the positions. Absent: not known. */
  by: NodeName.optional(),
  keep: z.array(KeptSlot).max(CLIENT_SLOTS_MAX),
  /** Names of slots that were dropped on a leader: copies of them have to go. */
  gone: z.array(SlotName).max(CLIENT_SLOTS_MAX),
});
export type SlotOrder = z.infer<typeof SlotOrder>;

/** What the monitor remembers durably. */
export const ClientSlotsRecord = z.object({
  /** Term of the leader whose report this is. */
  term: z.number().int(),
  known: z.array(ClientSlot.pick({ name: true, type: true, failover: true })).max(CLIENT_SLOTS_MAX),
  gone: z.array(SlotName).max(CLIENT_SLOTS_MAX),
  gaps: z.array(SlotGap.extend({ term: z.number().int() })).max(CLIENT_SLOTS_MAX),
  more: z.boolean().optional(),
});
export type ClientSlotsRecord = z.infer<typeof ClientSlotsRecord>;
