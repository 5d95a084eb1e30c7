/** Events that the actors print, one JSON object in each line. Times are ms since the epoch. */
import { z } from 'zod';
import { Density, Reign } from '../../rig/reigns';
import { WriteEvent } from '../../rig/writer';

/** Rows that a reader saw for the first time. */
export const ReadEvent = z.object({
  what: z.literal('read'),
  port: z.enum(['write', 'read']),
  endMs: z.number(),
  ids: z.array(z.string()),
});
export type ReadEvent = z.infer<typeof ReadEvent>;

/** One operation on a register. `value` was written or read; null: the read found no row. */
export const RegisterEvent = z.object({
  what: z.literal('register'),
  client: z.number(),
  key: z.number(),
  kind: z.enum(['read', 'write', 'cas']),
  /** The value that a compare-and-set expected. */
  expected: z.number().nullable(),
  value: z.number().nullable(),
  /** `refused`: the compare-and-set found another value. */
  outcome: z.enum(['ok', 'refused', 'failed', 'unknown']),
  startMs: z.number(),
  endMs: z.number(),
});
export type RegisterEvent = z.infer<typeof RegisterEvent>;

/** A node became writable or read-only, or can no longer be asked (null). */
export const WritableEvent = z.object({
  what: z.literal('writable'),
  node: z.string(),
  writable: z.boolean().nullable(),
  atMs: z.number(),
});
/** The write slot has another address. Null: it is closed. `?`: HAProxy does not answer. */
export const SlotEvent = z.object({ what: z.literal('slot'), address: z.string().nullable(), atMs: z.number() });

export const ReignEvent = Reign.extend({ what: z.literal('reign') });
export const CoverageEvent = Density.extend({ what: z.literal('coverage') });

export const ActorEvent = z.discriminatedUnion('what', [
  WriteEvent,
  ReadEvent,
  RegisterEvent,
  WritableEvent,
  SlotEvent,
  ReignEvent,
  CoverageEvent,
]);
export type ActorEvent = z.infer<typeof ActorEvent>;
