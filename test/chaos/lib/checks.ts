/** Checks after every fault: compares the events of the clients with the rows in the tables. Pure. */
import { acknowledgedOf, type WriteEvent } from '../../rig/writer';
import type { ReadEvent } from './events';

export interface Counts {
  /** Number of ids that were acknowledged, writes that failed (or connects), and ids of unknown outcome. */
  acknowledged: number;
  failed: number;
  unknown: number;
  /** Acknowledged ids that are not in the table exactly once. */
  lost: number;
}

export interface Verdict extends Counts {
  /** Sentences; empty when every check passes. */
  violations: string[];
  /** Rows that a client of the read port saw and that are missing now. This is allowed (S29), but reported. */
  vanishedOnRead: number;
}

export interface Facts {
  writes: readonly WriteEvent[];
  reads: readonly ReadEvent[];
  /** Number of rows of each id in the table now. */
  rows: ReadonlyMap<string, number>;
}

/** The ids of each outcome. A repeated id is acknowledged when one of its writes was. */
function outcomes(writes: readonly WriteEvent[]) {
  const acknowledged = new Set(acknowledgedOf(writes));
  const of = (outcome: WriteEvent['outcome'][]) =>
    new Set(
      writes.flatMap((w) => (w.id !== null && outcome.includes(w.outcome) && !acknowledged.has(w.id) ? [w.id] : [])),
    );
  return { acknowledged, unknown: of(['unknown', 'warned']), refused: of(['failed']) };
}

/**
 * The rules: an acknowledged id is in the table exactly once, an id of unknown outcome at most once, and a refused id
 * never. An id that was read on the write port is in the table.
 */
export function judge({ writes, reads, rows }: Facts): Verdict {
  const { acknowledged, unknown, refused } = outcomes(writes);
  const lost = [...acknowledged].filter((id) => rows.get(id) === undefined);
  const doubled = [...rows].filter(([, count]) => count > 1).map(([id]) => id);
  const risen = [...refused].filter((id) => !unknown.has(id) && rows.has(id));
  const strange = [...rows.keys()].filter((id) => !acknowledged.has(id) && !unknown.has(id) && !refused.has(id));
  // After the warning of S7 a row may be visible and still be lost, so reads of such rows prove nothing.
  const excused = new Set(
    writes.flatMap((w) => ((w.outcome === 'warned' || w.warned === true) && w.id !== null ? [w.id] : [])),
  );
  const vanished = (port: 'write' | 'read') => [
    ...new Set(
      reads.filter((r) => r.port === port).flatMap((r) => r.ids.filter((id) => !rows.has(id) && !excused.has(id))),
    ),
  ];
  const vanishedOnWrite = vanished('write');
  const sentence = (ids: readonly string[], what: string) =>
    ids.length === 0 ? [] : [`${ids.length} ${what}: ${ids.slice(0, 5).join(', ')}`];
  return {
    acknowledged: acknowledged.size,
    failed: writes.filter((w) => w.outcome === 'failed').length,
    unknown: unknown.size,
    lost: lost.length + doubled.filter((id) => acknowledged.has(id)).length,
    violations: [
      ...sentence(lost, 'acknowledged rows are lost'),
      ...sentence(doubled, 'rows are there more than once'),
      ...sentence(risen, 'refused rows are there'),
      ...sentence(strange, 'rows are there that no client wrote'),
      ...sentence(vanishedOnWrite, 'rows that were read on the write port are gone'),
    ],
    vanishedOnRead: vanished('read').length,
  };
}
