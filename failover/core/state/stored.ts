/** Reads the stored state from the disk or from a keeper's copy, and validates it before it is used. */
import { z } from 'zod';
import { fromJson } from '../../contract/json';
import { type Activity, ClusterState } from './cluster';

/** Versions 1 (0.1.0) and 2 of the state, which described the activity in four separate fields. */
const Former = z.looseObject({
  version: z.union([z.literal(1), z.literal(2)]),
  leader: z.string().nullable(),
  procedure: z.looseObject({ kind: z.string() }).nullable(),
  switchover: z.looseObject({}).optional(),
  restart: z.looseObject({ node: z.string(), stage: z.string() }).optional(),
  renewing: z.string().optional(),
});

/**
 * Turns a former version into the present one. Version 1 also lacks fields that are optional now: a sync configuration
 * without a term counts as one that may have acknowledged writes, and a ledger entry without `attempts` as one attempt.
 */
function fromFormer(stored: unknown): unknown {
  const parsed = Former.safeParse(stored);
  if (!parsed.success) return stored;
  const { procedure, switchover, restart, renewing, ...rest } = parsed.data;
  const { leader } = rest;
  const restarts = restart && { ...restart, kind: 'restart' };
  const ofLeader = restart !== undefined && restart.node === leader;
  const standby = renewing !== undefined ? { kind: 'rebuild', node: renewing } : ofLeader ? undefined : restarts;
  const plan = switchover !== undefined ? { ...switchover, kind: 'switchover' } : ofLeader ? restarts : undefined;
  const kind: Activity['kind'] = leader === null ? 'empty' : plan === undefined ? 'serving' : 'preparing';
  return { ...rest, version: 3, generation: 1, activity: procedure ?? { kind, plan, standby } };
}

const AnyVersion = z.preprocess(fromFormer, ClusterState);

/** Prints the state as text that `parseState` reads back. */
export function printState(state: ClusterState): string {
  return JSON.stringify(state);
}

/** Reads versions 1 to 3 and drops fields that this release does not know. Null when the text is no such state. */
export function parseState(text: string): ClusterState | null {
  return fromJson(AnyVersion, text);
}
