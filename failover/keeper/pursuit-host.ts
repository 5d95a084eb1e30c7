/** What the pursuit of an order needs from the keeper, and what it returns. */
import type { LogCode } from '../contract/codes';
import { inBackground, messageOf } from '../contract/errors';
import type { Failure, NodeSettings, Status } from '../contract/messages';
import type { KeeperState } from './keeper-state';
import type { Clock, Postgres, View } from './ports';

export type NoteLevel = 'info' | 'warn' | 'error';
/** State that a status shows while a long step runs, instead of the state of the process. */
export type Activity = Status['postgres']['state'];

export interface PursuitHost {
  /** The stored state. */
  readonly state: KeeperState;
  /** The last view of PostgreSQL. */
  readonly view: View;
  /** The container is being stopped, so nothing is started any more. */
  readonly stopping: boolean;
  /** Stores a change of the durable state; resolves when it is on the disk. */
  save(change: Partial<KeeperState>): Promise<void>;
  /** Looks at PostgreSQL and reports any change. */
  observe(): Promise<View>;
  /**
   * Looks at PostgreSQL, unless this pass has done so already and changed nothing since. All nodes share one machine,
   * so a look costs each of them processor time.
   */
  look(): Promise<void>;
  /**
   * PostgreSQL was changed, so the last view is out of date. `view`: what is known about it now, which is reported at
   * once.
   */
  changed(view?: View): void;
  /** Sends the status if something changed. */
  report(): void;
  /** Hands over the write-ahead log that this stopped leader has left. Throws when the repository does not take it. */
  finishArchive(signal: AbortSignal): Promise<void>;
  /** Sends one line for people, which the monitor's log shows. */
  note(level: NoteLevel, code: LogCode, message: string): void;
}

/** The objects that every part of a pursuit works with. */
export interface PursuitParts {
  readonly node: string;
  readonly postgres: Postgres;
  readonly clock: Clock;
  readonly host: PursuitHost;
}

/** One pass over an order. */
export interface Pass {
  readonly settings: NodeSettings;
  /** Increases with each change of the settings. */
  readonly version: number;
  /** Aborted when a new order arrives for which this pass is wrong. */
  readonly signal: AbortSignal;
}

export interface Outcome {
  done: boolean;
  failure?: Failure;
  /** Time until the next pass, ms. */
  againMs?: number;
}

/** Carries out one order, and holds its state from the first pass to the last. */
export interface OrderPursuit {
  /**
   * Does the next missing step, whatever state PostgreSQL is in. Throws {@link KeeperError} or whatever error a step
   * throws.
   */
  pass(pass: Pass): Promise<Outcome>;
}

/** Rest before the next look while a change is expected soon, ms. */
export const SOON_MS = 10;
/** Rest before the next look while a server starts or connects, ms. */
export const START_POLL_MS = 20;

/**
 * Writes a checkpoint in the background. Returns a function that says whether it has ended, with or without success.
 */
export function beginCheckpoint({ host, postgres }: Pick<PursuitParts, 'host' | 'postgres'>): () => boolean {
  let ended = false;
  inBackground(
    () => postgres.checkpoint(),
    (error) => host.note('warn', 'CHECKPOINT_FAILED', messageOf(error)),
    () => {
      ended = true;
    },
  );
  return () => ended;
}

/** Keeps a slot for each peer. The log names the slots of nodes that are not declared any more, which are dropped. */
export async function ensureSlots({ host, postgres }: PursuitParts, peers: string[], renew: boolean): Promise<void> {
  const dropped = await postgres.ensureSlots(peers, renew);
  if (dropped.length === 0) return;
  host.note('info', 'SLOT_DROPPED', `dropped ${dropped.join(', ')}: no declared node has this name`);
}

/** The other nodes of the settings. */
export function peersOf(node: string, settings: NodeSettings): string[] {
  return settings.nodes.map((n) => n.name).filter((name) => name !== node);
}

/** Drops the logical slots that this standby has from when it led, so that it gets them from its leader. */
export async function dropLedSlots({ host, postgres }: PursuitParts): Promise<void> {
  const dropped = (await postgres.dropLedSlots?.()) ?? [];
  if (dropped.length === 0) return;
  host.note('info', 'SLOT_DROPPED', `dropped ${dropped.join(', ')}: this node led before, and gets the leader's now`);
}
