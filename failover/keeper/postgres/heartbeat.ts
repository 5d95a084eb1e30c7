/**
 * The leader's heartbeat: a flushed local commit (S21, S27) every 100 ms on a connection of its own. Its age shows
 * whether PostgreSQL still answers. Its count, as the standbys see it, shows whether the leader is alive behind a
 * network partition.
 *
 * A beat is a `setval` of a sequence in a transaction of its own. A sequence has no row versions, so a beat costs the
 * same however many dead rows an old snapshot keeps. The commit record carries the time from which the standbys compute
 * the beat's age.
 */
import { connect } from 'node:net';
import { inBackground } from '../../contract/errors';
import { systemClock } from '../clock';
import { type Beat, type Clock, KeeperError } from '../ports';
import { HOME, LOCKED_OUT } from './own-sessions';
import { OwnTime, TICK_MS } from './own-time';
import { type Session, sqlState } from './session';

const INTERVAL_MS = 100;
const REST_MIN_MS = 10;
/**
 * At rest, each wake-up costs a good part of what a beat costs, so a beat begins when the monitor's ping has woken the
 * process: up to EARLY_MS before it is due. After a beat that began so, the next ping may be LATE_MS late, ms.
 */
const EARLY_MS = 80;
const LATE_MS = 20;
const AWAKE = 'awake';
const LIMIT_MS = 10_000;
/**
 * Number of beats between two checks of the postmaster's state in the kernel. The check is needed because open sessions
 * keep working while the postmaster is stopped (S27). If it may be stopped, the next beat uses a new session.
 */
const BEATS_A_LOOK = 4;
/** Number of beats after which the postmaster must prove that it accepts connections, whatever the kernel shows. */
const BEATS_A_PROOF = 20;
/** Number of beats after which the next one uses a new session. */
const BEATS_A_SESSION = 100;
/** Number of beats after an error that only check the postmaster, because PostgreSQL logs each error. */
const BEATS_A_REST = 4;
/**
 * Lock timeout of a beat, ms. A transaction that drops the sequence, for example, holds such a lock. PostgreSQL then
 * answers with an error.
 */
export const BEAT_LOCK_MS = 250;

/** Name of the heartbeat's sequence. */
export const BEAT_SEQUENCE = 'failover.beat';
/** Highest count. Somewhat above it, JavaScript can no longer represent every whole number. */
export const BEAT_MAX = 4_000_000_000_000_000;
/**
 * Continues from the sequence's value, also after a failover, unless that value is out of range. $1: the last known
 * count. Its type is written down, because PostgreSQL would take it from the relation: a session that prepares this
 * while a person has put a view in place of the sequence would keep the view's type.
 */
export const BEAT = `SELECT pg_catalog.setval('${BEAT_SEQUENCE}',
  CASE WHEN last_value BETWEEN $1::bigint AND ${BEAT_MAX} THEN last_value ELSE $1 END + 1)::text AS n
  FROM ${BEAT_SEQUENCE}`;

/** Length 8, code 80877103 (PostgreSQL manual, "Message Formats", SSLRequest). */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);

/**
 * Resolves when a child process of the postmaster answers. The postmaster then accepted the connection and forked,
 * which is all that a new session needs from it. No session is begun, so this costs a fraction of a session and works
 * when no connection slot is free. Throws at the limit.
 */
export async function provePostmaster(socketFile: string, limitMs: number): Promise<void> {
  const socket = connect(socketFile);
  const late = () => socket.destroy(new Error(`the postmaster did not answer within ${limitMs} ms`));
  const limit = setTimeout(late, limitMs);
  try {
    socket.write(SSL_REQUEST);
    for await (const answer of socket) {
      // "S" or "N" comes from the child. A postmaster that cannot fork sends an error itself.
      if (answer[0] === 0x53 || answer[0] === 0x4e) return;
      throw new Error('the postmaster cannot make a process for a new session');
    }
    throw new Error('the postmaster closed the connection');
  } finally {
    clearTimeout(limit);
  }
}

/**
 * Whether an error shows that PostgreSQL works. Every error with an SQLSTATE does, also when all connections are taken
 * or an object is missing, because a new leader would have the same error. The exceptions are the errors while
 * PostgreSQL starts or shuts down (57P01 to 57P05).
 */
export function isAnswer(error: unknown): boolean {
  const state = sqlState(error);
  return state !== null && !state.startsWith('57P0');
}

interface HeartbeatParts {
  /** Opens a new session whose commits wait for no standby. */
  open(limitMs: number): Promise<Session>;
  /** See {@link provePostmaster}. */
  prove(limitMs: number): Promise<void>;
  /**
   * Whether the kernel shows the postmaster running or waiting. This check is cheap. False: the postmaster may be
   * stopped, hang or shut down.
   */
  runs(): boolean;
}

/**
 * One run of the heartbeat, from its start to its stop. Each run has its own state, so a run that hangs in its last
 * beat does not delay the next run.
 */
class Life {
  readonly ending = new AbortController();
  session: Session | null = null;
  /**
   * Beats left until the next kernel check, the next proof of the postmaster, the next new session, and the end of the
   * rest after an error.
   */
  untilLook = 0;
  untilProof = 0;
  untilFresh = 0;
  resting = 0;
  /** The rest until the next beat. */
  rest = { untilMs: 0, ended: new AbortController() };

  constructor(readonly time: OwnTime) {}

  /** Ends the session. */
  drop(): void {
    this.session?.destroy();
    this.session = null;
  }
}

export class Heartbeat {
  private count = 0;
  private lastMs = 0;
  private commitMs: number | null = null;
  private life: Life | null = null;

  constructor(
    private readonly parts: HeartbeatParts,
    private readonly clock: Clock = systemClock,
  ) {}

  start(): void {
    if (this.life !== null) return;
    this.life = new Life(new OwnTime(this.clock));
    this.lastMs = this.life.time.nowMs();
    this.commitMs = null;
    this.run(this.life).catch(() => undefined);
  }

  stop(): void {
    this.life?.ending.abort();
    this.life?.rest.ended.abort('stopped');
    this.life = null;
  }

  /** The process is awake: see {@link EARLY_MS}. */
  awake(): void {
    const rest = this.life?.rest;
    if (rest !== undefined && rest.untilMs - this.clock.nowMs() <= EARLY_MS) rest.ended.abort(AWAKE);
  }

  read(): Beat {
    const ageMs = this.life === null ? 0 : Math.round(this.life.time.nowMs() - this.lastMs);
    return { count: this.count, ageMs, commitMs: this.commitMs };
  }

  /**
   * Keeps the life's clock right during a beat, which may last long. Between two beats the clock is read often enough.
   */
  private async tick({ time }: Life, during: AbortSignal): Promise<void> {
    while (!during.aborted) {
      await this.clock.sleep(TICK_MS, during);
      time.nowMs();
    }
  }

  private async run(life: Life): Promise<void> {
    const { signal } = life.ending;
    while (!signal.aborted) {
      const sentMs = life.time.nowMs();
      const during = new AbortController();
      inBackground(() => this.tick(life, during.signal));
      const answered = await this.beat(life);
      // Without a reason, `abort` would make an error, which costs processor time.
      during.abort('answered');
      if (signal.aborted) break;
      if (answered) this.lastMs = sentMs;
      const intervalMs = INTERVAL_MS + (life.rest.ended.signal.reason === AWAKE ? LATE_MS : 0);
      const restMs = Math.max(REST_MIN_MS, intervalMs - (life.time.nowMs() - sentMs));
      life.rest = { untilMs: this.clock.nowMs() + restMs, ended: new AbortController() };
      await this.clock.sleep(restMs, life.rest.ended.signal);
    }
    life.drop();
  }

  /** Whether PostgreSQL answered. */
  private async beat(life: Life): Promise<boolean> {
    try {
      if (this.isProofDue(life)) {
        await this.parts.prove(LIMIT_MS);
        life.untilProof = BEATS_A_PROOF;
      }
      life.untilProof -= 1;
      if (life.resting > 0) life.resting -= 1;
      else await this.commit(life);
      return true;
    } catch (error) {
      const answered = isAnswer(error);
      // The error of a keeper that is locked out comes from an earlier login attempt, not from PostgreSQL now. So the
      // next beats check the postmaster instead.
      const isOut = error instanceof KeeperError && error.code === LOCKED_OUT;
      if (answered || isOut) life.resting = BEATS_A_REST;
      // Also dropped: a session in another database, because it would never see the sequence.
      if (!answered || life.session?.database !== HOME) life.drop();
      return answered;
    }
  }

  private isProofDue(life: Life): boolean {
    if (life.resting > 0) return true;
    life.untilLook -= 1;
    if (life.untilLook <= 0) {
      life.untilLook = BEATS_A_LOOK;
      if (!this.parts.runs()) life.drop();
    }
    // A new session proves more than this check, so the check is skipped before one.
    return life.untilProof <= 0 && life.session !== null && life.untilFresh > 0;
  }

  private async commit(life: Life): Promise<void> {
    if (life.session === null || !life.session.usable || life.untilFresh <= 0) {
      life.drop();
      life.session = await this.parts.open(LIMIT_MS);
      life.untilFresh = BEATS_A_SESSION;
      life.untilProof = BEATS_A_PROOF;
    }
    life.untilFresh -= 1;
    // Measured without the time to open a session, which clients with a connection pool do not pay either.
    const fromMs = this.clock.nowMs();
    const [row] = await life.session.ask<{ n: string }>('beat', BEAT, [String(this.count)]);
    if (row === undefined || life.ending.signal.aborted) return;
    this.count = Number(row.n);
    this.commitMs = Math.round((this.clock.nowMs() - fromMs) * 10) / 10;
  }
}
