/** The data that the core works on. Only data: no classes, no clock, no I/O. */

import type { Policy } from '../config';
import type { LedgerEntry, NodeSettings, OrderId, Status, SyncConfig, Target } from '../protocol';

export type { LedgerEntry, OrderId, Policy, Status, SyncConfig, Target };
export type DeclaredNode = NodeSettings['nodes'][number];

/** What the cluster is in the middle of. Null in {@link ClusterState} means: the leader serves. */
export type Procedure =
  /** `node` creates the first data directory. */
  | { kind: 'bootstrap'; node: string }
  /** The leader is given up; counted members promise the new term (S1) until a candidate can be chosen. */
  | { kind: 'elect'; cause: string; prefer?: string }
  /** The leader of the newest ledger entry is being promoted; its slot is not open yet. */
  | { kind: 'promote'; cause: string }
  /** The leader shuts down cleanly, then `candidate` is promoted. `planned`: its clients are let finish first. */
  | { kind: 'handover'; candidate: string; planned?: boolean };

/** A planned switchover while the leader still serves. It becomes a planned `handover` when the leader is told to stop. */
export interface Switchover {
  to: string;
  by: 'person' | 'switchback';
  /** `prepare`: the leader writes a checkpoint. `hold`: new connections are held until the candidate is level. */
  stage: 'prepare' | 'hold';
}

/** The order that a node was given last. Its id is (monitor's incarnation, term, seq). */
export interface GivenOrder {
  term: number;
  seq: number;
  target: Target;
}

/**
 * Everything that the monitor remembers. It is stored durably before anything that follows from it is done, and it is
 * small: some kilobytes of JSON. `seq` rises with each stored change.
 */
export interface ClusterState {
  version: 1;
  /** Rises with each leadership; 0 before the first. */
  term: number;
  seq: number;
  /** True until it is certain that this is the newest state that exists (S10). While true, nobody is promoted. */
  adopting: boolean;
  /**
   * While adopting: the seq that this state had before it was suspected. Adoption itself raises seq, and a copy that is
   * newer than the state was must not look older for that.
   */
  suspectSeq?: number;
  leader: string | null;
  /** Node → identity of the data directory that belongs to the cluster. A node with another one has to be copied (S10). */
  members: Record<string, string>;
  /** Node → data directory that must be rebuilt before it may take part again: promoted by hand, or unknown history. */
  rebuild: Record<string, string>;
  /**
   * Every sync configuration that may be in force. The last one is ordered; the others count until it is proven.
   * A promotion must satisfy all of them.
   */
  joint: SyncConfig[];
  ledger: LedgerEntry[];
  procedure: Procedure | null;
  /** Only while the leader serves. */
  switchover?: Switchover;
  /** Switchbacks that were begun since the preferred node last kept the lead for long enough (S25). */
  switchbacks?: number;
  orders: Record<string, GivenOrder>;
}

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
  /** When this node was last seen streaming, monotonic ms; null: not since `changedAtMs`. */
  streamingSeenAtMs: number | null;
  /** When the heartbeat row was last seen to advance on this node, monotonic ms (S21). */
  heartbeatSeenAtMs: number | null;
  /** Outcome of a quick connect to PostgreSQL that began after `changedAtMs`; null when there was none. */
  probe: { alive: boolean; atMs: number } | null;
  /** When the monitor's own session in its PostgreSQL had broken and a new connect was refused, monotonic ms. */
  refusedAtMs: number | null;
  /** Newest copy of the monitor's state that the keeper holds; undefined until it told. */
  recall: { term: number; seq: number; blob: string } | null | undefined;
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
}

/** A node that passed the opening checks: identity, not in recovery, one synchronous commit (S9, S14). */
export interface Certificate {
  node: string;
  term: number;
  /** HAProxy's epoch at that time: after its restart the checks are made again (S15). */
  epoch: string | null;
}

/** What a person asks for. `to` null: whichever node can take over. */
export type Request =
  | { kind: 'switchover'; to: string | null }
  /** Make this node the leader although acknowledged writes may be lost. */
  | { kind: 'promote'; to: string; acceptDataLoss: boolean };

/** The furthest position that a leader was seen at. */
export interface NewestPosition {
  node: string;
  term: number;
  lsn: string;
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
  /** When a switchback was last under way; null: not since the monitor's start. */
  returningAtMs: number | null;
  /** Since when the preferred node leads; null: it does not. */
  preferredLedSinceMs: number | null;
}

/** Everything that the monitor sees at one moment. */
export interface Observation {
  /** Start of the monitor, or of the time from which observations count again after a stall; monotonic ms. */
  sinceMs: number;
  declared: DeclaredNode[];
  nodes: Record<string, NodeView>;
  haproxy: HaproxyView;
  certificate: Certificate | null;
  watch: Watch;
  request: Request | null;
}

/** What the write slot has to be. `held` = closed for new connections, the leader's sessions stay (S19). */
export type WriteRoute =
  | { kind: 'open'; node: string; address: string }
  | { kind: 'held'; node: string; address: string }
  /** Closed; sessions of everybody but `keep` (the next leader) are ended. */
  | { kind: 'closed'; keep: string | null };

/** What the loop has to do. Each is idempotent and stays in the list until it is done. */
export type Action =
  | { kind: 'route-write'; route: WriteRoute }
  /** Read slots by node name, in any order; sessions of a node that leaves are ended (S13). */
  | { kind: 'route-read'; nodes: string[] }
  | { kind: 'order'; node: string; order: GivenOrder }
  /** One quick connect to the node's PostgreSQL, with a limit of its own. */
  | { kind: 'probe'; node: string }
  /** Make the opening checks on this node for this term. */
  | { kind: 'certify'; node: string; term: number };

/** Result of one cycle. `code` is the rule's, the same in log, page and metrics; `reason` is one sentence. */
export interface Decision {
  state: ClusterState;
  actions: Action[];
  code: string;
  reason: string;
}

/** The state before anything is known. */
export function emptyState(): ClusterState {
  return {
    version: 1,
    term: 0,
    seq: 0,
    adopting: true,
    leader: null,
    members: {},
    rebuild: {},
    joint: [],
    ledger: [],
    procedure: null,
    orders: {},
  };
}
