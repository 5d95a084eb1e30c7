/** The data that the core works on. Only data: no classes, no clock, no I/O. */

import type { Cause, RuleCode } from '../../contract/codes';
import type { Policy } from '../../contract/inputs';
import type { LedgerEntry, NodeSettings, OrderId, Status, SyncConfig, Target } from '../../contract/messages';

export type { LedgerEntry, OrderId, Policy, Status, SyncConfig, Target };
export type DeclaredNode = NodeSettings['nodes'][number];
export type {
  Acknowledged,
  Certificate,
  HaproxyView,
  NewestPosition,
  NodeView,
  Observation,
  Request,
  Watch,
} from './observation';

/** What the cluster is in the middle of. Null in {@link ClusterState} means: the leader serves. */
export type Procedure =
  /** `node` creates the first data directory. */
  | { kind: 'bootstrap'; node: string }
  /** The leader is given up; counted members promise the new term (S1) until a candidate can be chosen. */
  | { kind: 'elect'; cause: Cause; prefer?: string }
  /** The leader of the newest ledger entry is being promoted; its slot is not open yet. */
  | { kind: 'promote'; cause: Cause }
  /**
   * The leader shuts down cleanly, then `candidate` is promoted. `planned`: its clients are let finish first, unless HAProxy
   * is `cutOff` from it: then they cannot.
   */
  | { kind: 'handover'; candidate: string; planned?: boolean; cutOff?: boolean }
  /** The leader shuts down cleanly and leads again, in the next term, with settings that need a restart (S23). */
  | { kind: 'restart' };

/** A planned switchover while the leader still serves. It becomes a planned `handover` when the leader is told to stop. */
export interface Switchover {
  to: string;
  by: 'person' | 'switchback' | 'removal' | 'settings';
  /** `prepare`: the leader writes a checkpoint. `hold`: new connections are held until the candidate is level. */
  stage: 'prepare' | 'hold';
}

/**
 * A node is about to be restarted for its settings. A standby is first counted no more (`leave`), then restarts. A leader
 * writes a checkpoint (`prepare`), new connections are held (`hold`), and then it becomes the procedure `restart`.
 */
export interface Restart {
  node: string;
  stage: 'leave' | 'restart' | 'prepare' | 'hold';
}

/**
 * The leader changes by a person's word alone. Times are of the wall clock, ms; the core has none, so the loop ends an
 * expired pause by a request.
 */
export interface Pause {
  reason: string;
  sinceWallMs: number;
  /** Null: until somebody resumes. */
  untilWallMs: number | null;
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
  version: 2;
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
  /** The part of `rebuild` whose data is sound and is replaced only because a person asked for it. Absent: none. */
  rebuildAsked?: Record<string, string>;
  /**
   * Every sync configuration that may be in force. The last one is ordered; the others count until it is proven.
   * A promotion must satisfy all of them.
   */
  joint: SyncConfig[];
  ledger: LedgerEntry[];
  /** Node → address, as last declared: a leader that is not declared any more is still to be reached. */
  addresses?: Record<string, string>;
  procedure: Procedure | null;
  /** Only while the leader serves. */
  switchover?: Switchover;
  /** Only while the leader serves. */
  restart?: Restart;
  pause?: Pause;
  /** A standby that is to be copied anew: first nobody waits for it any more. Only while the leader serves. */
  renewing?: string;
  /** Switchbacks that were begun since the preferred node last kept the lead for long enough (S25). */
  switchbacks?: number;
  orders: Record<string, GivenOrder>;
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

/** `WARN`: a person should see it. */
export type Level = 'INFO' | 'WARN';

/** Result of one cycle. */
export interface Decision {
  state: ClusterState;
  actions: Action[];
  /** Id of the row of the table that decided. */
  rule: string;
  /** The row's code or that of its cause, the same in log, page and metrics. */
  code: RuleCode;
  level: Level;
  /** One sentence for people. */
  reason: string;
}

/** The state before anything is known. */
export function emptyState(): ClusterState {
  return {
    version: 2,
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
