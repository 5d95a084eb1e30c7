/**
 * What the monitor's loop needs from the world. The real implementations are beside this file; the tests have their
 * own.
 */

import type { Answer, BackupSummary, BackupsAnswer, Failover } from '../contract/api';
import type { JobKind, JobOrder, RepositoryName, RestoreTarget } from '../contract/backups';
import type { Leaf } from '../contract/certificates';
import type { ClientSlotsRecord } from '../contract/client-slots';
import type { LogCode } from '../contract/codes';
import type { Level } from '../contract/log-line';
import type { NodeSettings, OrderId, StateCopy, TlsSettings } from '../contract/messages';
import type { PauseState, PoolFigures } from '../contract/pooler';
import type { Decision, DeclaredNode, Policy, Target } from '../core/state/cluster';
import type { HaproxyView, NodeView, Observation, Request } from '../core/state/observation';

export interface Clock {
  /** Monotonic time, ms. */
  nowMs(): number;
}

/** An order as it is sent, with its complete id. */
export type SentOrder = OrderId & { target: Target };

/** The keepers' connections. */
export interface Keepers {
  /**
   * Pings every connected keeper; due every PING_INTERVAL_MS (messages.ts). True when no keeper owes an answer. `n`
   * rises by one each time, and keepers answer every PINGS_A_STATUSth ping with their status.
   */
  ping(n: number): boolean;
  /** The monitor's views of all declared nodes. */
  views(nowMs: number): Record<string, NodeView>;
  /** Sends an order, unless this connection has already carried exactly this one. */
  order(node: string, order: SentOrder): void;
  /** Sends a copy of the state to every connected keeper that has not got this one yet (S10). */
  remember(copy: StateCopy): void;
  /** Sets which node's pings say that it may archive, and in which term, and which slots of people there are; null: none. */
  archive(by: { node: string; term: number; slots?: ClientSlotsRecord } | null): void;
  /** Sets the job for the backups of a place that the pings to the node that may archive ask for; null: none. */
  backup(order: JobOrder | null, name?: RepositoryName): void;
  /**
   * Sets the restore of which every node's pings say that the data from before it are to be removed; undefined: none.
   */
  removeKept(id: string | undefined): void;
  /** Starts one quick connect to the node's PostgreSQL, unless one is under way. */
  probe(node: string): void;
  /** Removes a node from the stack: its keeper is refused, and the other keepers get the new list of nodes. */
  retire(node: string): void;
  /** Changes what every keeper is told about TLS, now and at each later connect. */
  encrypt(tls: TlsSettings): void;
  /** Forgets all that was seen so far (S11). */
  forget(nowMs: number): void;
  /** Ends all connections. The keepers connect again and get the new incarnation. */
  restart(incarnation: number): void;
  /** Begins to accept connections. Throws when the address or port is not available. */
  listen(): Promise<void>;
  /** Ends all connections and accepts no more. */
  close(): Promise<void>;
  /** The port on which it listens. */
  port(): number;
}

/** HAProxy's write and read slots. */
export interface Router {
  view(): HaproxyView;
  /**
   * Sets the address that the write slot has to lead to; null closes it. Sessions of addresses other than `keep` are
   * ended.
   */
  write(address: string | null, keep: string | null): void;
  /**
   * Sets the addresses that the read slots have to lead to. The read sessions of other addresses are ended, except
   * those on `stay`, which get no new ones.
   */
  read(open: readonly string[], stay: readonly string[]): void;
  /** Resolves when the write slot is read back as closed (true), or after `limitMs` (false). */
  closed(limitMs: number): Promise<boolean>;
  /** Forgets what was wanted of HAProxy, and resolves after one look that changes nothing, or after `limitMs`. */
  look(limitMs: number): Promise<void>;
  /** Looks at HAProxy at once, because it may have changed by itself. */
  poke(): void;
  /** Clients on the leader; undefined while no slot is open. For people only. */
  clientPlaces(): ClientPlaces | undefined;
  /** Runs until {@link stop}; never throws. */
  run(): Promise<void>;
  stop(): void;
}

export interface ClientPlaces {
  /** Sessions on the leader's slots of both ports. */
  readonly used: number;
  /** How many clients a node takes. */
  readonly of: number;
  /** Clients of the write port that wait for a place. */
  readonly waiting: number;
}

/** The opening checks (S9, S14). */
export interface Opening {
  /** Sets the check to repeat until it is passed; null ends it. {@link Events.certified} reports success. */
  want(check: { node: string; term: number } | null): void;
  /** Keeps sessions in the nodes' PostgreSQL open until {@link stop}. */
  start(): void;
  stop(): void;
}

/** The pooler, as far as the monitor commands it. A stack without one has {@link NO_POOLER}. */
export interface Pooler {
  /**
   * Sets whether statements have to wait in the pooler. The pause is a lease: it is renewed until it is ended, and
   * without that it ends by itself.
   */
  pause(wanted: boolean): void;
  /** True when no statement runs through the pooler now: it is paused, or there is none, or it is not connected. */
  isQuiet(): boolean;
  /** True when HAProxy is told to stop and waits with that until {@link letHaproxyGo}, for a moment at most. */
  haproxyLeaves(): boolean;
  letHaproxyGo(): void;
  /** Hands the pooler a certificate for clients, now and whenever it connects. */
  encrypt(leaf: Leaf): void;
  /** What the pooler reports; null when it is not connected. For people only. */
  view(): PoolerView | null;
  /** Begins to accept the pooler's connection. Throws when the address or port is not available. */
  listen(): Promise<void>;
  close(): Promise<void>;
}

/** What the monitor knows of the pooler. */
export interface PoolerView {
  pause: PauseState;
  pools: readonly PoolFigures[];
}

/** For a stack without a pooler. */
export const NO_POOLER: Pooler = {
  pause: () => undefined,
  isQuiet: () => true,
  haproxyLeaves: () => false,
  letHaproxyGo: () => undefined,
  encrypt: () => undefined,
  view: () => null,
  listen: async () => undefined,
  close: async () => undefined,
};

/** What the monitor needs from the world, and the events that it reports. */
export interface MonitorPorts {
  /** The declared nodes in order of preference. */
  nodes: readonly DeclaredNode[];
  policy: Policy;
  clusterKey: string;
  /** The settings that every keeper is sent, without the nodes. */
  settings: Omit<NodeSettings, 'nodes'>;
  /** Address at which the keepers connect. */
  listen: { address: string; port: number };
  /** Address at which the pooler's supervisor connects. Absent in a stack without a pooler. */
  pooler?: { address: string; port: number };
  /** The folder with HAProxy's sockets, `admin.sock` and `master.sock`. */
  sockets: string;
  store: Store;
  clock: Clock;
  log: Log;
  /** Wall clock, ms. Used only to end a pause. @default Date.now */
  wallMs?: () => number;
  /** A new id for a person's request. @default a random UUID */
  newId?: () => string;
  /** Called after each cycle. */
  onDecision: (decision: Decision, observation: Observation) => void;
  /** Called with each finished change of leader, and again when its former leader follows. */
  onFailover?: (failover: Failover) => void;
  /** The quick connect that confirms a broken connection. @default probePostgres */
  probe?: (address: string, limitMs: () => number) => Promise<ProbeResult>;
  /** Models that replace shipped adapters, for tests. */
  models?: (loop: Events) => Partial<Adapters>;
}

/**
 * Result of a quick connect to a PostgreSQL.
 * - `alive`: a postmaster answered.
 * - `refused`: no process listens there.
 * - `broken`: the connection was accepted and dropped without an answer, which no running postmaster does.
 * - `silent`: nothing came within the limit.
 */
export type ProbeResult = 'alive' | 'refused' | 'broken' | 'silent';

/** The parts that reach the nodes and HAProxy. */
export interface Adapters {
  keepers: Keepers;
  router: Router;
  opening: Opening;
  pooler: Pooler;
}

/** The loop as the adapters see it: they report events to it, and ask it for what they cannot see themselves. */
export interface Events {
  /** An event was seen: the next cycle runs at once. */
  wake(): void;
  /**
   * Only positions and counters have grown. While a change is under way, it may wait for them, so a cycle runs at once.
   * Otherwise the next regular cycle is early enough.
   */
  advanced(): void;
  /** A keeper has accepted an order of this or a higher incarnation, which another or an older monitor gave. */
  outranked(incarnation: number): void;
  /** A node has passed the opening checks. */
  certified(node: string, term: number): void;
  /** The node ended the monitor's open session: its PostgreSQL may be dead. */
  broken(node: string): void;
  /** Whether a node's PostgreSQL runs. Null means unknown. */
  isRunning(node: string): boolean | null;
  /** Number of stalls of the process so far. An adapter asks for it after each wait (S11). */
  stalls(): number;
}

/** The durable store. Only one process at a time can have it open. */
export interface Store {
  /** Number of this start of the monitor. Keepers refuse orders of a lower one (S11). */
  readonly incarnation: number;
  /** Text of the stored state; null when there is none. */
  readonly loaded: string | null;
  /**
   * True when the state was written into a different file, so that this file is a copy of it, perhaps an old one (S10).
   */
  readonly moved?: boolean;
  /** Resolves when the text is on the disk. If it throws, nothing that follows from the text may be done. */
  save(text: string): Promise<void>;
  /** Durably takes an incarnation above `other`, and returns it. */
  raiseAbove(other: number): Promise<number>;
}

/** The log, one line an event. It never blocks and never throws. `rule`: for a decision, the row that made it. */
export interface Log {
  write(level: Level, subject: string, code: LogCode, message: string, rule?: string): void;
}

/** The newest decision and the observation that it was made from. */
export interface Seen {
  decision: Decision;
  observation: Observation;
}

/** What a person can request of the monitor; see requests.ts. */
export interface Commands {
  /** Carries out a person's request. */
  ask(request: Request): Promise<Answer>;
  /** Says what the request would do. Does nothing. */
  dryRun(request: Request): Answer;
}

/** What a person can ask of the backups; see backups.ts. */
export interface BackupCommand {
  /** Begins a job for the backups, or with `dryRun` says what it would do. */
  backup(kind: JobKind, dryRun: boolean, repository?: RepositoryName): Answer;
  /** What a restore in place to this target needs, or why the backups cannot give it. */
  restore(target: RestoreTarget): Extract<Request, { kind: 'restore' }> | { refusal: string };
  /** The answer to a person whose request is refused. */
  refuse(message: string): Answer;
  /** What people are shown; null: there are no backups in this stack. */
  summary(): BackupSummary | null;
  /** The same with all backups. */
  list(): BackupsAnswer | null;
}
