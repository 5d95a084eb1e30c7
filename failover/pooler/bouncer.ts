/**
 * One process of PgBouncer: started again at once when it ends, killed when it stops answering, paused and resumed as
 * wanted. PgBouncer can forget no pause by itself, so what it reports is compared with what is wanted again and again.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { inBackground, messageOf } from '../contract/errors';
import { oneLine } from '../contract/log-line';
import type { PauseState, Pool, PoolFigures } from '../contract/pooler';
import { Console } from './console';
import { filesOf } from './ini';
import { shownBy } from './shown';

const PROGRAM = '/usr/sbin/pgbouncer';
/** A process that ends sooner after its start than this is started again later and later, ms. */
const SOUND_MS = 1_000;
const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 5_000;
/** After so many looks in a row without an answer the process is killed: it may spin (CVE-2026-6668). */
const SILENT_LOOKS_MAX = 2;
/**
 * A login under way that PAUSE ends makes PgBouncer refuse statements after RESUME, so PAUSE waits for it, ms at most.
 */
const LOGIN_LIMIT_MS = 50;
const LOGIN_POLL_MS = 5;
/** PAUSE answers when the last transaction has ended. The lease ends it much sooner, ms. */
const PAUSE_ANSWER_MS = 600_000;
const RETRY_MS = 100;
/** How often a changed certificate is read at most; the time between doubles from RETRY_MS. */
const RELOADS_MAX = 6;
/** How long running transactions may go on when the container stops, ms. */
const STOP_LIMIT_MS = 2_000;

/** The database that stands for the console. */
const CONSOLE = 'pgbouncer';

/** Sum of a column. */
function sum(rows: readonly Readonly<Record<string, string>>[], column: string): number {
  return rows.reduce((total, row) => total + (Number(row[column]) || 0), 0);
}

export class Bouncer {
  private child: ChildProcess | null = null;
  private readonly console: Console;
  /** PAUSE keeps its connection busy, so it has one of its own. */
  private readonly pauser: Console;
  private wanted = false;
  private state: PauseState = 'no';
  /** Number of the newest change of what is wanted; work of an older one stops. */
  private turn = 0;
  private silentLooks = 0;
  private restarts = 0;
  private ended = false;

  constructor(
    private readonly pool: Pool,
    private readonly log: (message: string) => void,
    /** Called when {@link paused} has changed. */
    private readonly changed: () => void,
  ) {
    this.console = new Console(pool.port);
    this.pauser = new Console(pool.port);
  }

  get paused(): PauseState {
    return this.state;
  }

  /** Runs the process until {@link stop}, again and again. Never throws. */
  async run(): Promise<void> {
    let restMs = RESTART_MIN_MS;
    while (!this.ended) {
      const begunMs = performance.now();
      await this.once();
      this.forget();
      if (this.ended) return;
      this.restarts += 1;
      const isSound = performance.now() - begunMs >= SOUND_MS;
      if (isSound) restMs = RESTART_MIN_MS;
      else {
        await delay(restMs);
        restMs = Math.min(RESTART_MAX_MS, 2 * restMs);
      }
    }
  }

  /** Sets whether statements have to wait. It returns at once; {@link paused} has the state that is reached. */
  want(pause: boolean): void {
    if (pause === this.wanted) return;
    this.wanted = pause;
    this.pursue();
  }

  /** The figures now, and repairs what is not as wanted. Null when the process does not answer. */
  async look(): Promise<PoolFigures | null> {
    try {
      await this.compare();
      const figures = await this.figures();
      // Connected beforehand, so that a PAUSE does not have to log in first.
      if (!this.wanted) await this.pauser.ask('SHOW VERSION');
      this.silentLooks = 0;
      return figures;
    } catch (error) {
      this.silentLooks += 1;
      if (this.child !== null && this.silentLooks > SILENT_LOOKS_MAX) {
        this.log(`pool ${this.pool.port} does not answer and is killed: ${messageOf(error)}`);
        this.silentLooks = 0;
        this.child.kill('SIGKILL');
      }
      return null;
    }
  }

  /**
   * Makes the process read its files again. True when it shows this certificate to new connections: PgBouncer answers
   * RELOAD in the same way when it could not load the files and keeps what it had. Running connections stay. Never
   * throws.
   */
  async reload(certificate: string): Promise<boolean> {
    const wanted = new X509Certificate(certificate).fingerprint256;
    for (let n = 0; n < RELOADS_MAX && !this.ended; n++) {
      // A process that is about to start reads its files by itself.
      if (n > 0) await delay(RETRY_MS * 2 ** (n - 1));
      const shown = await this.console
        .ask('RELOAD')
        .then(() => shownBy(this.pool.port))
        .catch(() => '');
      if (shown === wanted) return true;
    }
    return false;
  }

  /** Lets running transactions end, within a limit, and ends the process. */
  async stop(): Promise<void> {
    this.ended = true;
    const { child } = this;
    if (child === null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    // "Safe shutdown": new statements are refused, running ones end (manual, "Signals").
    child.kill('SIGINT');
    await Promise.race([gone, delay(STOP_LIMIT_MS)]);
    child.kill('SIGKILL');
  }

  /** Runs the process once, until it ends. */
  private once(): Promise<void> {
    return new Promise((resolve) => {
      const child = spawn(PROGRAM, [filesOf(this.pool).ini], { stdio: ['ignore', 'ignore', 'pipe'] });
      this.child = child;
      createInterface({ input: child.stderr }).on('line', (line) =>
        this.log(`pool ${this.pool.port}: ${oneLine(line)}`),
      );
      child.once('error', (error) => {
        this.log(`pool ${this.pool.port}: PgBouncer could not be started: ${error.message}`);
        resolve();
      });
      child.once('exit', (code, signal) => {
        if (!this.ended)
          this.log(`pool ${this.pool.port}: PgBouncer ended (${signal ?? `code ${code}`}) and is started again`);
        resolve();
      });
      if (this.wanted) this.pursue();
    });
  }

  /** A process that has ended is not paused any more. */
  private forget(): void {
    this.child = null;
    this.silentLooks = 0;
    this.turn += 1;
    this.console.close();
    this.pauser.close();
    this.set('no');
  }

  /** Brings the process to what is wanted, and tries again until it is. */
  private pursue(): void {
    this.turn += 1;
    const { turn } = this;
    const isNewest = () => turn === this.turn && !this.ended;
    inBackground(
      () => (this.wanted ? this.pause(isNewest) : this.resume(isNewest)),
      () =>
        inBackground(async () => {
          await delay(RETRY_MS);
          if (isNewest()) this.pursue();
        }),
    );
  }

  private async pause(isNewest: () => boolean): Promise<void> {
    this.set('pausing');
    const endMs = performance.now() + LOGIN_LIMIT_MS;
    while (isNewest() && performance.now() < endMs && (await this.count('sv_login')) > 0) await delay(LOGIN_POLL_MS);
    if (!isNewest()) return;
    await this.pauser.ask('PAUSE', PAUSE_ANSWER_MS).catch((error: unknown) => {
      if (!messageOf(error).includes('already')) throw error;
    });
    // PgBouncer answers "already paused" also while transactions still run.
    while (isNewest() && (await this.count('sv_active', 'sv_tested')) > 0) await delay(LOGIN_POLL_MS);
    if (isNewest()) this.set('paused');
  }

  private async resume(isNewest: () => boolean): Promise<void> {
    // A PAUSE that still waits for transactions is given up with its connection.
    this.pauser.close();
    await this.console.ask('RESUME').catch((error: unknown) => {
      if (!messageOf(error).includes('not paused')) throw error;
    });
    if (isNewest()) this.set('no');
  }

  /** Number of connections to PostgreSQL in these states. */
  private async count(...states: readonly string[]): Promise<number> {
    const rows = (await this.console.ask('SHOW POOLS')).filter((row) => row.database !== CONSOLE);
    return states.reduce((total, state) => total + sum(rows, state), 0);
  }

  private async figures(): Promise<PoolFigures> {
    const pools = (await this.console.ask('SHOW POOLS')).filter((row) => row.database !== CONSOLE);
    const stats = await this.console.ask('SHOW STATS');
    const waits = pools.map((row) => Number(row.maxwait) * 1_000 + Number(row.maxwait_us) / 1_000);
    return {
      role: this.pool.role,
      clients: sum(pools, 'cl_active'),
      waiting: sum(pools, 'cl_waiting'),
      maxWaitMs: Math.round(Math.max(0, ...waits)),
      active: sum(pools, 'sv_active'),
      idle: sum(pools, 'sv_idle') + sum(pools, 'sv_used') + sum(pools, 'sv_tested'),
      transactions: sum(stats, 'total_xact_count'),
      restarts: this.restarts,
    };
  }

  /** A PAUSE may have arrived after the RESUME that was sent after it. */
  private async compare(): Promise<void> {
    const { turn, state } = this;
    const rows = await this.console.ask('SHOW STATE');
    const isPaused = rows.find((row) => row.key === 'paused')?.value === 'yes';
    const isSame = turn === this.turn && state === this.state && state !== 'pausing';
    if (isSame && isPaused !== this.wanted) this.pursue();
  }

  private set(state: PauseState): void {
    if (this.state === state) return;
    this.state = state;
    this.changed();
  }
}
