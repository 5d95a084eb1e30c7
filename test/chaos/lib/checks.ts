/** What must hold after every fault, from what the clients told and what the tables hold. Pure. */
import { acknowledgedOf, type WriteEvent } from '../../rig/writer';
import type { ReadEvent } from './events';

export interface Counts {
  /** Writes that were acknowledged, refused or never sent, and of unknown outcome. */
  acknowledged: number;
  failed: number;
  unknown: number;
  /** Acknowledged and not there exactly once. */
  lost: number;
}

export interface Verdict extends Counts {
  /** Each is a sentence; empty when all holds. */
  violations: string[];
  /** Rows that a client of the read port saw and that are gone: no promise (S29), but told. */
  vanishedOnRead: number;
}

export interface Facts {
  writes: readonly WriteEvent[];
  reads: readonly ReadEvent[];
  /** How often each id is in the table now. */
  rows: ReadonlyMap<string, number>;
}

/** Ids of an outcome; a repeated id counts as acknowledged when one of its writes was. */
function outcomes(writes: readonly WriteEvent[]) {
  const acknowledged = new Set(acknowledgedOf(writes));
  const of = (outcome: WriteEvent['outcome'][]) =>
    new Set(
      writes.flatMap((w) => (w.id !== null && outcome.includes(w.outcome) && !acknowledged.has(w.id) ? [w.id] : [])),
    );
  return { acknowledged, unknown: of(['unknown', 'warned']), refused: of(['failed']) };
}

/** Acknowledged: exactly once. Unknown: at most once. Refused, or never sent: not there. Read on the write port: there. */
export function judge({ writes, reads, rows }: Facts): Verdict {
  const { acknowledged, unknown, refused } = outcomes(writes);
  const lost = [...acknowledged].filter((id) => rows.get(id) === undefined);
  const doubled = [...rows].filter(([, count]) => count > 1).map(([id]) => id);
  const risen = [...refused].filter((id) => !unknown.has(id) && rows.has(id));
  const strange = [...rows.keys()].filter((id) => !acknowledged.has(id) && !unknown.has(id) && !refused.has(id));
  // Visible before it is replicated is what the warning says (S7): such rows promise nothing.
  const excused = new Set(
    writes.flatMap((w) => ((w.outcome === 'warned' || w.warned === true) && w.id !== null ? [w.id] : [])),
  );
  const vanished = (port: 'write' | 'read') => [
    ...new Set(
      reads.filter((r) => r.port === port).flatMap((r) => r.ids.filter((id) => !rows.has(id) && !excused.has(id))),
    ),
  ];
  const gone = vanished('write');
  const told = (ids: readonly string[], words: string) =>
    ids.length === 0 ? [] : [`${ids.length} ${words}: ${ids.slice(0, 5).join(', ')}`];
  return {
    acknowledged: acknowledged.size,
    failed: writes.filter((w) => w.outcome === 'failed').length,
    unknown: unknown.size,
    lost: lost.length + doubled.filter((id) => acknowledged.has(id)).length,
    violations: [
      ...told(lost, 'acknowledged rows are lost'),
      ...told(doubled, 'rows are there more than once'),
      ...told(risen, 'refused rows are there'),
      ...told(strange, 'rows are there that nobody wrote'),
      ...told(gone, 'rows that were read on the write port are gone'),
    ],
    vanishedOnRead: vanished('read').length,
  };
}
