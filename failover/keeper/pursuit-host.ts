/** What carrying out an order needs of the keeper around it, and what it gives back. */
import type { LogCode } from '../contract/codes';
import type { Failure, NodeSettings, Status, SyncConfig } from '../contract/messages';
import type { KeeperState } from './keeper-state';
import type { Clock, Postgres, View } from './ports';

export type NoteLevel = 'info' | 'warn' | 'error';
/** What a status shows instead of what the process looks like, while a long step runs. */
export type Activity = Status['postgres']['state'];

export interface PursuitHost {
  /** What is stored. */
  readonly state: KeeperState;
  /** What was seen last of PostgreSQL. */
  readonly view: View;
  /** The container is being stopped: nothing is started any more. */
  readonly stopping: boolean;
  /** Stores a change of what must not be forgotten; resolves when it is on the disk. */
  save(change: Partial<KeeperState>): Promise<void>;
  /** Looks at PostgreSQL and reports what changed. */
  observe(): Promise<View>;
  /** Looks at PostgreSQL unless this pass has, and nothing was changed since: a look costs each node of the machine its share. */
  look(): Promise<void>;
  /** Something of PostgreSQL was changed: what was seen before is out of date. `view`: what is known of it now, told at once. */
  changed(view?: View): void;
  /** Sends the status when something changed. */
  report(): void;
  /** One line for people, shown in the monitor's log. */
  note(level: NoteLevel, code: LogCode, message: string): void;
}

/** What a pursuit adds to a status. */
export interface Shown {
  activity: Activity | null;
  crashesInRow: number;
  leadTerm: number | null;
  forkLsn: string | null;
  syncInForce: SyncConfig | null;
}

/** What every part of a pursuit works with. */
export interface PursuitParts {
  readonly node: string;
  readonly postgres: Postgres;
  readonly clock: Clock;
  readonly host: PursuitHost;
}

/** One pass over an order. */
export interface Pass {
  readonly settings: NodeSettings;
  /** Rises with each change of the settings. */
  readonly version: number;
  /** Aborted when another order has come that this pass is not right for. */
  readonly signal: AbortSignal;
}

export interface Outcome {
  done: boolean;
  failure?: Failure;
  /** Look again after this time, ms. */
  againMs?: number;
}

/** What carrying out one order holds, from its first pass to its last. */
export interface OrderPursuit {
  /** Does what is still missing, from whatever state PostgreSQL is in. Throws {@link KeeperError} or what a step throws. */
  pass(pass: Pass): Promise<Outcome>;
}

/** Rest before the next look while something is about to happen, ms. */
export const SOON_MS = 10;
/** The same while a server starts or connects, ms. */
export const START_POLL_MS = 20;

/** The other nodes of the settings. */
export function peersOf(node: string, settings: NodeSettings): string[] {
  return settings.nodes.map((n) => n.name).filter((name) => name !== node);
}
