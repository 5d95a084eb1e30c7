/** One life of the postmaster process, from its start to its end. */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../../contract/errors';
import type { Warning } from './data-folder';
import type { Place } from './place';
import {
  commandLine,
  handles,
  isArchiver,
  isLogger,
  isReady,
  isUnnamed,
  isWalsender,
  seemsToRun,
  serverProcesses,
  signalProcess,
} from './processes';
import type { ServerLog } from './server-log';
import { StartupProcess } from './startup-process';

/**
 * How long a shutdown may take until it is forced, and a forced one, ms. With the steps before it, it ends within the
 * time that Docker gives the container (test/keeper/stop-limits.test.ts).
 */
export const STOP_LIMIT_MS = 25_000;
export const KILL_LIMIT_MS = 2_000;
/** A walsender whose position does not move for this time delays a shutdown and is ended (S18), ms. */
const WALSENDER_PATIENCE_MS = 1_000;
const WALSENDER_LOOK_MS = 300;
/** Interval of the looks for an archiver that delays a shutdown, ms. */
const ARCHIVER_LOOK_MS = 50;

/** How the postmaster ended. */
export interface Exit {
  /** The exit code; null: a signal ended it, or it could not be started. */
  code: number | null;
  /** For people. */
  how: string;
  /** True when the keeper had sent the signal to end. */
  told: boolean;
}

interface PostmasterParts {
  place: Place;
  /** Arguments of `postgres`. */
  serverArguments: readonly string[];
  /** It accepts no sessions until it is promoted. */
  blind: boolean;
  /**
   * Time of the control file's last change, ns; null: it cannot be read. The startup process writes the file when
   * recovery begins.
   */
  controlStamp(): bigint | null;
  /** Receives pieces of its standard output, and of its standard error before its log begins. */
  log: ServerLog;
  /** Called once, when it ends. */
  onExit(exit: Exit): void;
  /** Receives what a shutdown did not wait for. */
  warning: Warning;
}

export class Postmaster {
  blind: boolean;
  private state: 'runs' | 'told' | 'gone' = 'runs';
  private readonly child: ChildProcess;
  private readonly ended = Promise.withResolvers<void>();
  private readonly startup: StartupProcess;
  private readonly controlAtStart: bigint | null;

  /** Starts the postmaster. The configuration files and the data must be ready. */
  constructor(private readonly parts: PostmasterParts) {
    this.blind = parts.blind;
    this.startup = new StartupProcess(parts.place.node);
    this.controlAtStart = parts.controlStamp();
    const child = spawn('postgres', parts.serverArguments, { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.setEncoding('utf8').on('data', (text: string) => parts.log.hearStray(text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => parts.log.hearEarly(text));
    this.child = child;
    child.once('error', (error) => this.end(null, messageOf(error)));
    child.once('exit', (code, signal) => this.end(code, code === null ? `signal ${signal}` : `exit code ${code}`));
  }

  private end(code: number | null, how: string): void {
    if (this.isGone) return;
    const told = this.state === 'told';
    this.state = 'gone';
    this.ended.resolve();
    this.parts.onExit({ code, how, told });
  }

  get isGone(): boolean {
    return this.state === 'gone';
  }

  /** The control file was written since the start, so recovery has begun. */
  get recovered(): boolean {
    return this.parts.controlStamp() !== this.controlAtStart;
  }

  /** Whether the kernel shows the process running or waiting, and the lock file says that it accepts sessions. */
  seemsWell(): boolean {
    const { pid } = this.child;
    return !this.isGone && pid !== undefined && seemsToRun(pid) && isReady(this.parts.place.data);
  }

  /** Time for which its startup process has had nothing to apply, ms; 0: the process works, or there is none. */
  async stillMs(): Promise<number> {
    return this.isGone ? 0 : this.startup.stillMs();
  }

  /**
   * Sends the postmaster a signal. SIGHUP: it reads its configuration again. SIGUSR1: it looks for the file that asks
   * for a promotion. In its first moments the postmaster has no handler, and either signal would end it, so this sends
   * none then. The postmaster reads its configuration later (PostgreSQL's PostmasterMain), so no reload is lost; a
   * promotion sends SIGUSR1 again.
   */
  signal(signal: 'SIGHUP' | 'SIGUSR1'): void {
    const { pid } = this.child;
    if (!this.isGone && pid !== undefined && handles(pid, signal)) this.child.kill(signal);
  }

  /**
   * Shuts PostgreSQL down in fast mode. Resolves when the process has ended, or when only its archiver is left and
   * finishes the files that it has.
   */
  async stop(): Promise<void> {
    const { child } = this;
    if (!this.isGone) this.state = 'told';
    child.kill('SIGINT');
    // A process that a SIGSTOP stopped reacts only to SIGKILL, and the shutdown would wait for it until its limit. This
    // comes after the signal, so that a resumed postmaster shuts down before it does anything else (S27).
    const processes = await serverProcesses();
    for (const { pid } of processes) signalProcess(pid, 'SIGCONT');
    const patience = new AbortController();
    const archives = processes.some(({ title }) => isArchiver(title, this.parts.place.node));
    const { warning } = this.parts;
    const { signal } = patience;
    const hurry = Promise.all([endStuckWalsenders(signal, warning), archives && this.leaveArchiver(signal)]);
    const limit = delay(STOP_LIMIT_MS, 'late', { signal: patience.signal }).catch(() => 'aborted');
    if ((await Promise.race([this.ended.promise, limit])) === 'late') {
      warning.text = `PostgreSQL did not shut down within ${STOP_LIMIT_MS / 1_000} s: it was ended by force`;
      child.kill('SIGQUIT');
      await Promise.race([this.ended.promise, delay(KILL_LIMIT_MS).then(() => child.kill('SIGKILL'))]);
      await this.ended.promise;
    }
    patience.abort();
    await hurry;
  }

  /**
   * Ends the wait for a shutdown once only the archiver is left. By then the shutdown checkpoint is on the disk, every
   * standby has it, and no session can come (PostgreSQL's postmaster.c, PM_SHUTDOWN_2). The archiver goes on for as
   * long as its `archive_command` takes; {@link noServerLeft} ends it when the next server starts.
   */
  private async leaveArchiver(signal: AbortSignal): Promise<void> {
    const { node } = this.parts.place;
    for (let looks = 0; looks < 2 && !signal.aborted; ) {
      await delay(ARCHIVER_LOOK_MS, undefined, { signal }).catch(() => undefined);
      const left = (await serverProcesses()).filter(({ title }) => !isUnnamed(title) && !isLogger(title, node));
      looks = left.length > 0 && left.every(({ title }) => isArchiver(title, node)) ? looks + 1 : 0;
    }
    if (!signal.aborted) this.end(0, 'all is shut down but the archiver');
  }
}

/** Ends walsenders that hang, after a second. A shutdown otherwise waits until every standby has all WAL (S18). */
async function endStuckWalsenders(signal: AbortSignal, warning: Warning): Promise<void> {
  await delay(WALSENDER_PATIENCE_MS, undefined, { signal }).catch(() => undefined);
  while (!signal.aborted) {
    const before = (await serverProcesses()).filter(({ title }) => isWalsender(title));
    await delay(WALSENDER_LOOK_MS, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    for (const { pid, title } of before) {
      if ((await commandLine(pid)) !== title) continue;
      signalProcess(pid, 'SIGTERM');
      warning.text = 'a receiver took no write-ahead log for a second of the shutdown: its connection was ended';
    }
  }
}
