/** What the monitor sees at one moment. Only data; see types.ts. */
import type { SlotView, StateCopy, Status } from '../../contract/messages';
import type { DeclaredNode, Pause } from './cluster';

/** What is seen of one declared node. */
export interface NodeView {
  name: string;
  /** The keeper's connection stands and is proven. */
  connected: boolean;
  /** A connection stood at some time since the monitor's start. */
  everConnected: boolean;
  /** When `connected` last changed, monotonic ms. */
  changedAtMs: number;
  /** Last status of this connection; null when none came yet, or when it was dropped after a stall (S11). */
  status: Status | null;
  /** Time since the oldest probe that is not answered yet was sent, ms; 0 when all are answered (S11). */
  silentMs: number;
  /** When something came from it over this connection, or the connection was made, monotonic ms. */
  heardAtMs: number;
  /** When this node was last seen streaming, monotonic ms; null: not since `changedAtMs`. */
  streamingSeenAtMs: number | null;
  /** When the heartbeat's count was last seen to advance on this node, monotonic ms (S21). */
  heartbeatSeenAtMs: number | null;
  /** Outcome of a quick connect to PostgreSQL that began after `changedAtMs`; null when there was none. */
  probe: { alive: boolean; atMs: number } | null;
  /** When the monitor's own session in its PostgreSQL had broken and a new connect was refused, monotonic ms. */
  refusedAtMs: number | null;
  /** Newest copy of the monitor's state that the keeper holds; undefined until it told. */
  recall: StateCopy | null | undefined;
  /** Slots that it keeps, as it told last over this connection; absent: it has not yet. For people only. */
  slots?: SlotView[];
}

/** What is seen of HAProxy. */
export interface HaproxyView {
  reachable: boolean;
  /** Differs after each restart or reload; null when unknown. */
  epoch: string | null;
  /** Address that the write slot has, as read back; null when closed or unknown. */
  slot: string | null;
  /** True when the slot is known to be closed: read back, on every worker. */
  closed: boolean;
  /** Address whose sessions may stay; every other session on the write side is being ended. */
  keeping: string | null;
  /** Two scans at least `timeout connect` apart found no session that has to go (S2). */
  clean: boolean;
  /** Addresses that HAProxy's own connects do not reach, and since when that is seen, monotonic ms. */
  unreached?: Record<string, number>;
}

/** A node that passed the opening checks: identity, not in recovery, one synchronous commit (S9, S14). */
export interface Certificate {
  node: string;
  term: number;
  /** HAProxy's epoch at that time: after its restart the checks are made again (S15). */
  epoch: string | null;
}

/** What a person asks for. `to` null: whichever node can take over. */
export type Request = {
  /** By which the state remembers it; absent while it is only asked what would come of it. */
  id?: string;
} & (
  | { kind: 'switchover'; to: string | null }
  /** Make this node the leader although acknowledged writes may be lost. */
  | { kind: 'promote'; to: string; acceptDataLoss: boolean }
  /** The leader changes by a person's word alone from now on. */
  | { kind: 'pause'; pause: Pause }
  /** `expired`: the pause has ended by itself. */
  | { kind: 'resume'; by: 'person' | 'expired' }
  /** Copy this standby anew. */
  | { kind: 'rebuild'; node: string }
);

/** The furthest position that a leader was seen at. */
export interface NewestPosition {
  node: string;
  term: number;
  lsn: string;
}

/** What the leader last saw a standby to have flushed, and since when that is less than its own and does not grow. */
export interface Acknowledged {
  leader: string;
  lsn: string;
  sinceMs: number;
}

/** What is remembered of the past, only in memory; see watch.ts. Times are monotonic ms. */
export interface Watch {
  /** Which step of which procedure or switchover is under way, and since when. */
  step: string;
  stepSinceMs: number;
  /** Since when the preferred node could take the lead; null: it cannot. */
  preferredSinceMs: number | null;
  /** Null: not since the monitor's start. */
  newest: NewestPosition | null;
  /** By standby; see {@link isStuck} in sync.ts. */
  acknowledged: Record<string, Acknowledged>;
  /** When a switchback was last under way; null: not since the monitor's start. */
  returningAtMs: number | null;
  /** Since when the preferred node leads; null: it does not. */
  preferredLedSinceMs: number | null;
  /** Since when writes wait for a node or for a person; null: they do not. */
  waitsSinceMs: number | null;
  /** Since when the leader's keeper says that its PostgreSQL does not run as a primary, while it should serve; null: it does run. */
  leaderDownSinceMs: number | null;
}

/** Everything that the monitor sees at one moment. */
export interface Observation {
  /** Start of the monitor, or of the time from which observations count again after a stall or deafness; monotonic ms. */
  sinceMs: number;
  /** For how long no node at all was heard, ms; see hearing.ts. Absent: somebody is. */
  deafMs?: number;
  declared: DeclaredNode[];
  /** The last of `declared`, which is not: it leads, or did a moment ago, and the config has no place for it any more. */
  retiring?: string;
  nodes: Record<string, NodeView>;
  haproxy: HaproxyView;
  certificate: Certificate | null;
  watch: Watch;
  request: Request | null;
}
