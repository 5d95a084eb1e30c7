/** What the monitor sees at one moment. Only data, no functions. */
import type { Repository, RestoreTarget } from '../../contract/backups';
import type { SlotView, StateCopy, Status } from '../../contract/messages';
import type { DeclaredNode, Pause } from './cluster';

/** What the monitor sees of one declared node. */
export interface NodeView {
  name: string;
  /** True while the keeper is connected and has proven that it knows the cluster key. */
  connected: boolean;
  /** True when the keeper was connected at any time since the monitor's start. */
  everConnected: boolean;
  /** When `connected` last changed, monotonic ms. */
  changedAtMs: number;
  /** Last status that came over this connection; null before the first one, and after a stall of the monitor (S11). */
  status: Status | null;
  /** Time since the monitor sent the oldest ping that is still unanswered, ms; 0 when all are answered (S11). */
  silentMs: number;
  /** When the last frame came over this connection, or else when the connection was made, monotonic ms. */
  heardAtMs: number;
  /** When this node was last seen streaming, monotonic ms; null when never since `changedAtMs`. */
  streamingSeenAtMs: number | null;
  /** When the heartbeat count on this node was last seen to rise, monotonic ms (S21). */
  heartbeatSeenAtMs: number | null;
  /** Result of a quick connect to PostgreSQL that began after `changedAtMs`; null when there was none. */
  probe: { alive: boolean; atMs: number } | null;
  /** When a new connect was refused after the monitor's own session in this PostgreSQL had broken, monotonic ms. */
  refusedAtMs: number | null;
  /** Newest copy of the monitor's state that the keeper holds; undefined until the keeper has reported it. */
  recall: StateCopy | null | undefined;
  /** Replication slots on this node, as last reported over this connection; absent before that. For people only. */
  slots?: SlotView[];
  /** The slots that people made, as the node reported them last as the leader; absent: it did not. */
  clientSlots?: Status['clientSlots'];
  /** What the backups' repository holds, as last reported over this connection; absent before that. */
  repository?: Repository;
  /** The same for the backups in S3. */
  repositoryS3?: Repository;
}

/** What the monitor sees of HAProxy. */
export interface HaproxyView {
  reachable: boolean;
  /** Identity of HAProxy's worker: differs after each restart or reload; null when unknown. */
  epoch: string | null;
  /** Address that the write slot leads to, as read back from HAProxy; null when closed or unknown. */
  slot: string | null;
  /** True when the write slot was read back as closed on every worker. */
  closed: boolean;
  /** Address whose sessions may stay; HAProxy is ending every other session on the write port. */
  keeping: string | null;
  /** True when two scans at least `timeout connect` apart found no session that has to be ended (S2). */
  clean: boolean;
  /** Address → since when HAProxy's own health checks have not reached it, monotonic ms. */
  unreached?: Record<string, number>;
  /** Addresses whose read slots were last seen open; absent before that. For people only. */
  read?: string[];
}

/** Proof that a node passed the opening checks: its identity, not in recovery, one synchronous commit (S9, S14). */
export interface Certificate {
  node: string;
  term: number;
  /** HAProxy's epoch at the time of the checks: after a restart of HAProxy the checks are made again (S15). */
  epoch: string | null;
}

/** What a person asks for. In a switchover `to` null means: any node that can take over. */
export type Request = {
  /** Id under which the state remembers the request. Absent in a dry run, which only asks what would happen. */
  id?: string;
} & (
  | { kind: 'switchover'; to: string | null }
  /** Make this node the leader although acknowledged writes may be lost. */
  | { kind: 'promote'; to: string; acceptDataLoss: boolean }
  /** From now on the leader changes only when a person asks for it. */
  | { kind: 'pause'; pause: Pause }
  /** `by`: a person resumed, or the pause had a limit and it has passed (`expired`). */
  | { kind: 'resume'; by: 'person' | 'expired' }
  /** Replace this standby's data by a new copy of the leader's. */
  | { kind: 'rebuild'; node: string }
  /**
   * Replace the leader's data by data of the backups. `sizeBytes`: their size. `keepsOld`: a standby keeps its old data
   * until its copy is complete.
   */
  | { kind: 'restore'; target: RestoreTarget; timeline: number; sizeBytes: number; keepsOld: boolean }
  /** Bring the data from before the last restore back, or remove them. */
  | { kind: 'undo' }
  | { kind: 'confirm' }
);

/** What the monitor remembers of the past in memory only; see watch.ts. Times are monotonic ms. */
export interface Watch {
  /** The step of the activity that is under way, and since when. */
  step: string;
  stepSinceMs: number;
  /** Since when the preferred node could take the lead; null while it cannot. */
  preferredSinceMs: number | null;
  /**
   * The furthest write-ahead log position that the monitor has seen a leader at; null when it has seen none since its
   * start.
   */
  newest: { node: string; term: number; lsn: string } | null;
  /**
   * By name of the standby: the position that it has flushed, as the leader last saw it, and since when it is behind
   * the leader's own position without growing. See `isStuck` in sync-set.ts.
   */
  acknowledged: Record<string, { leader: string; lsn: string; sinceMs: number }>;
  /** When a switchback was last under way; null when there was none since the monitor's start. */
  returningAtMs: number | null;
  /** Since when the preferred node leads; null while it does not. */
  preferredLedSinceMs: number | null;
  /** Since when writes wait for a node or for a person; null while they do not. */
  waitsSinceMs: number | null;
  /** Since when the leader should serve but its keeper reports that PostgreSQL is no primary; null while it is one. */
  leaderDownSinceMs: number | null;
  /** By name: since when the node is not fit for new readers; see readers.ts. */
  unfitSinceMs: Record<string, number>;
}

/** Everything that the monitor sees at one moment. */
export interface Observation {
  /** Since when observations count, monotonic ms: the monitor's start, or the end of its last stall or deafness. */
  sinceMs: number;
  /** How long the monitor has heard no node at all, ms; see hearing.ts. Absent while it hears one. */
  deafMs?: number;
  declared: DeclaredNode[];
  /** Name of the last entry of `declared` when that node was removed from the config but leads, or led a moment ago. */
  retiring?: string;
  nodes: Record<string, NodeView>;
  haproxy: HaproxyView;
  certificate: Certificate | null;
  watch: Watch;
  request: Request | null;
}
