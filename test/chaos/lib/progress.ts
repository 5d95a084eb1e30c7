/** What one run of one fault came to. */
import { z } from 'zod';

export const Result = z.object({
  name: z.string(),
  run: z.string(),
  date: z.string(),
  /** Outage of the client that holds its connection, and of the one that connects freshly each time. */
  heldMs: z.number(),
  freshMs: z.number(),
  /** From the end of the fault's cause until everything was healthy again. */
  recoveredMs: z.number(),
  failovers: z.number(),
  acknowledged: z.number(),
  failed: z.number(),
  unknown: z.number(),
  lost: z.number(),
  /** Operations in the history of the registers. */
  operations: z.number(),
  twoPrimariesMs: z.number(),
  /** Load average of the machine at the end: figures of a busy machine are not the product's. */
  load: z.number(),
  vanishedOnRead: z.number(),
  violations: z.array(z.string()),
  notes: z.array(z.string()),
});
export type Result = z.infer<typeof Result>;
