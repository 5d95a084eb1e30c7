/** What the monitor's loop needs from the world. The real ones are beside it; the tests have their own. */

import type { Answer, Failover } from '../contract/api';
import type { LogCode } from '../contract/codes';
import type { Level } from '../contract/log-line';
import type { StateCopy } from '../contract/messages';
import type { Decision, Target } from '../core/state/cluster';
import type { HaproxyView, NodeView, Observation, Request } from '../core/state/observation';

export interface Clock {
  /** Monotonic time, ms. */
  nowMs(): number;
}

/** An order as it goes over the wire: its id is complete. */
export interface SentOrder {
  incarnation: number;
  term: number;
  seq: number;
  target: Target;
}

/** The keepers' connections. */
export interface Keepers {
  /**
   * Asks every connected keeper for a sign of life, due every PING_INTERVAL_MS (messages.ts); true when none owes one.
   * `n` counts up by one: keepers answer every PINGS_A_STATUSth of them with their status.
   */
  ping(n: number): boolean;
  /** Views of all declared nodes. */
  views(nowMs: number): Record<string, NodeView>;
  /** Sends an order unless this connection has had exactly this one. */
  order(node: string, order: SentOrder): void;
  /** Hands a copy of the state to every connected keeper that has not had this one (S10). */
  remember(copy: StateCopy): void;
  /** Starts one quick connect to the node's PostgreSQL unless one is under way. */
  probe(node: string): void;
  /** A node is no part of this stack any more: its keeper is refused, and the others are told. */
  retire(node: string): void;
  /** Everything that was seen so far counts no more (S11). */
  forget(nowMs: number): void;
  /** Ends all connections; the keepers dial again and meet the new incarnation. */
  restart(incarnation: number): void;
  /** Begins to take connections. Throws when the address or port cannot be had. */
  listen(): Promise<void>;
  /** Ends all connections and takes no more. */
  close(): Promise<void>;
  /** The port that it listens on. */
  port(): number;
}

/** HAProxy's slots. */
export interface Router {
  view(): HaproxyView;
  /** Sets what the write slot has to be. `address` null: closed. Sessions of other addresses than `keep` are ended. */
  write(address: string | null, keep: string | null): void;
  /** Addresses that the read slots have to show. */
  read(addresses: readonly string[]): void;
  /** Resolves when the slot is closed and read back, or after `limitMs`; true when it is. */
  closed(limitMs: number): Promise<boolean>;
  /** Forgets what was wanted and resolves once it was looked at without being changed, or after `limitMs`. */
  look(limitMs: number): Promise<void>;
  /** Addresses whose read slots were seen open, for people. */
  readView(): readonly string[];
  /** HAProxy may have changed by itself: it is looked at now. */
  poke(): void;
  /** Works until {@link stop}; never throws. */
  run(): Promise<void>;
  stop(): void;
}

/** The opening checks (S9, S14). */
export interface Opening {
  /** Goes on checking until told otherwise; the result comes through `onCertified`. */
  want(check: { node: string; term: number } | null): void;
  /** Keeps connections to the nodes until {@link stop}. */
  start(): void;
  stop(): void;
}

/** The durable store. One process at a time. */
export interface Store {
  /** Number of this start; keepers refuse orders of an older one (S11). */
  readonly incarnation: number;
  /** The stored state's text, or null when there is none. */
  readonly loaded: string | null;
  /** True when the state was written into another file than this one: a copy, perhaps an old one (S10). */
  readonly moved?: boolean;
  /** Resolves when the text is on the disk. Throws when it is not: then nothing of it may be done. */
  save(text: string): Promise<void>;
  /** Durably takes an incarnation above `other`. */
  raiseAbove(other: number): Promise<number>;
}

/** One line an event; never blocks and never throws. `rule`: of a decision, the row that made it. */
export interface Log {
  write(level: Level, subject: string, code: LogCode, message: string, rule?: string): void;
}

/** The newest decision, and what it was made of. */
export interface Seen {
  decision: Decision;
  observation: Observation;
}

/** The monitor as those see it who read its state or command it. */
export interface Inside {
  /** Null until the first cycle. */
  seen(): Seen | null;
  /** Addresses that the read port leads to. */
  readAddresses(): readonly string[];
  /** Finished changes of leader with their steps, oldest first, the newest hundred. */
  failovers(): readonly Failover[];
  /** Carries out what a person asks for; see requests.ts. */
  ask(request: Request): Promise<Answer>;
  /** What would come of it. Does nothing. */
  dryRun(request: Request): Answer;
}
