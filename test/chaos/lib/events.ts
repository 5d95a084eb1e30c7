/** What the actors tell, one JSON object a line, and reading it. Moments are ms since the epoch. */
import { z } from 'zod';

const Outcome = z.enum(['acknowledged', 'warned', 'failed', 'unknown']);

/** One write. `id` is null when the connection could not be made, so that nothing was sent. */
export const WriteEvent = z.object({
  what: z.literal('write'),
  client: z.string(),
  id: z.string().nullable(),
  /** `warned`: returned with the warning of S7, so it is not known to be replicated. */
  outcome: Outcome,
  startMs: z.number(),
  endMs: z.number(),
  words: z.string().optional(),
  /** The warning of S7 came before an error. */
  warned: z.boolean().optional(),
});
export type WriteEvent = z.infer<typeof WriteEvent>;

/** Rows that a reader saw for the first time. */
export const ReadEvent = z.object({
  what: z.literal('read'),
  port: z.enum(['write', 'read']),
  endMs: z.number(),
  ids: z.array(z.string()),
});
export type ReadEvent = z.infer<typeof ReadEvent>;

/** One operation on a register. `value` is what was written, or what was read (null: no row). */
export const RegisterEvent = z.object({
  what: z.literal('register'),
  client: z.number(),
  key: z.number(),
  kind: z.enum(['read', 'write', 'cas']),
  /** What a compare-and-set expected. */
  expected: z.number().nullable(),
  value: z.number().nullable(),
  /** `refused`: the compare-and-set found another value. */
  outcome: z.enum(['ok', 'refused', 'failed', 'unknown']),
  startMs: z.number(),
  endMs: z.number(),
});
export type RegisterEvent = z.infer<typeof RegisterEvent>;

/** A node was seen to become writable or not, or could not be asked any more (`null`). */
export const WritableEvent = z.object({
  what: z.literal('writable'),
  node: z.string(),
  writable: z.boolean().nullable(),
  atMs: z.number(),
});
/** The write slot was seen with another address (null: closed; `?`: HAProxy does not answer). */
export const SlotEvent = z.object({ what: z.literal('slot'), address: z.string().nullable(), atMs: z.number() });

/** Time in which something was seen at both ends and at every look between. */
export const ReignEvent = z.object({
  what: z.literal('reign'),
  /** `writable`: the node took writes. `routed`: HAProxy's slot or an established session led to it. */
  kind: z.enum(['writable', 'routed']),
  node: z.string(),
  fromMs: z.number(),
  toMs: z.number(),
});
export type ReignEvent = z.infer<typeof ReignEvent>;

/** How densely the poller looked at one source. */
export const CoverageEvent = z.object({
  what: z.literal('coverage'),
  source: z.string(),
  looks: z.number(),
  medianMs: z.number(),
  p99Ms: z.number(),
});
export type CoverageEvent = z.infer<typeof CoverageEvent>;

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

/** Milliseconds since the epoch; never goes back within a process. */
export function epochMs(): number {
  return performance.timeOrigin + performance.now();
}
