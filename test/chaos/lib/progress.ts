/** Result of one run of one fault. */
import { z } from 'zod';

export const Result = z.object({
  name: z.string(),
  run: z.string(),
  date: z.string(),
  /** Write outage of the client that keeps its connection, and of the one that connects for each write, ms. */
  heldMs: z.number(),
  freshMs: z.number(),
  /** From the end of the fault's cause until the cluster was healthy again, ms. */
  recoveredMs: z.number(),
  failovers: z.number(),
  acknowledged: z.number(),
  failed: z.number(),
  unknown: z.number(),
  lost: z.number(),
  /** Number of operations on registers. */
  operations: z.number(),
  twoPrimariesMs: z.number(),
  /** Load average of the machine at the end, over a minute. A busy machine makes every figure worse. */
  load: z.number(),
  vanishedOnRead: z.number(),
  violations: z.array(z.string()),
  notes: z.array(z.string()),
});
export type Result = z.infer<typeof Result>;
