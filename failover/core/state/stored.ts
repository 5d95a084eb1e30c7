/** The stored state as it comes back from disk or from a keeper's copy: validated before it is believed. */

import { z } from 'zod';
import { Cause } from '../../contract/codes';
import { LedgerEntry, SyncConfig, Target } from '../../contract/messages';
import type { ClusterState } from './cluster';

const Procedure = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('bootstrap'), node: z.string() }),
  z.object({ kind: z.literal('elect'), cause: Cause, prefer: z.string().optional() }),
  z.object({ kind: z.literal('promote'), cause: Cause }),
  z.object({
    kind: z.literal('handover'),
    candidate: z.string(),
    planned: z.boolean().optional(),
    cutOff: z.boolean().optional(),
  }),
  z.object({ kind: z.literal('restart') }),
]);

const StoredState: z.ZodType<ClusterState> = z.object({
  version: z.literal(2),
  term: z.number().int().min(0),
  seq: z.number().int().min(0),
  adopting: z.boolean(),
  suspectSeq: z.number().int().min(0).optional(),
  leader: z.string().nullable(),
  members: z.record(z.string(), z.string()),
  rebuild: z.record(z.string(), z.string()),
  rebuildAsked: z.record(z.string(), z.string()).optional(),
  joint: z.array(SyncConfig),
  ledger: z.array(LedgerEntry),
  addresses: z.record(z.string(), z.string()).optional(),
  procedure: Procedure.nullable(),
  switchover: z
    .object({
      to: z.string(),
      by: z.enum(['person', 'switchback', 'removal', 'settings']),
      stage: z.enum(['prepare', 'hold']),
    })
    .optional(),
  restart: z.object({ node: z.string(), stage: z.enum(['leave', 'restart', 'prepare', 'hold']) }).optional(),
  pause: z.object({ reason: z.string(), sinceWallMs: z.number(), untilWallMs: z.number().nullable() }).optional(),
  renewing: z.string().optional(),
  switchbacks: z.number().int().min(1).optional(),
  orders: z.record(
    z.string(),
    z.object({ term: z.number().int().min(0), seq: z.number().int().min(1), target: Target }),
  ),
});

/**
 * Version 1 (0.1.0) lacks only fields that are optional now: a sync configuration without a term counts as one that may have
 * acknowledged writes, and a ledger entry without `attempts` as one attempt.
 */
const AnyVersion = z.preprocess((stored) => {
  const isFirst = typeof stored === 'object' && stored !== null && 'version' in stored && stored.version === 1;
  return isFirst ? { ...stored, version: 2 } : stored;
}, StoredState);

/** The state as text; `parseState` reads it back. */
export function printState(state: ClusterState): string {
  return JSON.stringify(state);
}

/** Reads versions 1 and 2; fields that this release does not know are left out. Null when the text is no such state. */
export function parseState(text: string): ClusterState | null {
  try {
    const parsed = AnyVersion.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}
