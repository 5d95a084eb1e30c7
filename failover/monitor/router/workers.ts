/**
 * HAProxy's workers: the running one, and after a reload those that finish old sessions, which are reached through the
 * master.
 */
import { join } from 'node:path';
import type { Events, MonitorPorts } from '../ports';
import {
  ANSWER_LIMIT_MS,
  ask,
  askLines,
  isPort,
  type Load,
  parseEpoch,
  parseLoads,
  parseOldWorkers,
  parseServers,
  parseSession,
  type ServerState,
  type Session,
} from './haproxy-socket';

/** Kinds of rows to request from `show stat`, as a sum: 2 backends, 4 servers (management guide, "show stat"). */
const BACKENDS_AND_SERVERS = 6;
/** How often the master is asked for old workers while there are some, ms. */
const OLD_WORKERS_MS = 1_000;
/**
 * How often the master is asked while it has no old worker, ms. It is asked at once when the running worker's epoch
 * changes, because the former worker is then an old one.
 */
const NO_OLD_WORKERS_MS = 5_000;

/** One worker's answers in one look. Worker 0 is the running one. */
export interface Look {
  worker: number;
  /** Unique among the workers that live at the same time. */
  name: string;
  servers: readonly ServerState[];
  loads: readonly Load[];
}

export class Workers {
  /** What each worker showed last, the running one first. Without servers while HAProxy is silent. */
  looks: readonly Look[] = [];
  private old: { pids: readonly string[]; askedAtMs: number } = { pids: [], askedAtMs: Number.NEGATIVE_INFINITY };
  private stallsSeen = 0;

  /** `onStall` is called when the process stood still between a question and its answer. */
  constructor(
    private readonly ports: Pick<MonitorPorts, 'sockets' | 'clock'>,
    private readonly loop: Pick<Events, 'stalls'>,
    private readonly onStall: () => void,
  ) {}

  /** Servers of the running worker. */
  get servers(): readonly ServerState[] {
    return this.looks[0]?.servers ?? [];
  }

  /** Asks the master for old workers: at intervals, while HAProxy was silent, and after {@link askForOldOnes}. */
  async findOldOnes(reachable: boolean): Promise<void> {
    const nowMs = this.ports.clock.nowMs();
    const everyMs = this.old.pids.length === 0 ? NO_OLD_WORKERS_MS : OLD_WORKERS_MS;
    if (nowMs - this.old.askedAtMs < everyMs && reachable) return;
    this.old = { pids: parseOldWorkers(await this.ask('master.sock', 'show proc')), askedAtMs: nowMs };
  }

  /** Called when a worker started or ended: the master is asked for old workers before the next look. */
  askForOldOnes(): void {
    this.old = { ...this.old, askedAtMs: Number.NEGATIVE_INFINITY };
  }

  /**
   * Asks every worker for its state; the running one first takes `changes`. Returns the epoch of the running worker.
   * Throws when a worker does not answer.
   */
  async look(changes: readonly string[]): Promise<string> {
    const names = this.names();
    const answers = await Promise.all(
      names.map((_, worker) => {
        const questions = ['show info', 'show servers state', ...this.loadQuestions(worker)];
        return this.tell(worker, worker === 0 ? [...changes, ...questions] : questions);
      }),
    );
    const epoch = parseEpoch(answers[0] ?? '');
    if (epoch === null) throw new Error('HAProxy answered with something else than its state');
    this.looks = answers.map((answer, worker) => {
      return { worker, name: names[worker] ?? '', servers: parseServers(answer), loads: parseLoads(answer) };
    });
    return epoch;
  }

  /** Forgets what the workers showed, because HAProxy is silent. */
  forget(): void {
    this.looks = this.looks.map((look) => ({ ...look, servers: [], loads: [] }));
  }

  /** Lists all sessions of a worker on the PostgreSQL ports, and then the number of sessions of each slot. */
  async list(worker: number): Promise<{ sessions: Session[]; loads: Load[] }> {
    const sessions: Session[] = [];
    const rows: string[] = [];
    this.throwAfterStall();
    const [socket, line] = this.lineFor(worker, ['show sess', ...this.loadQuestions(worker)]);
    await askLines(
      join(this.ports.sockets, socket),
      line,
      (one) => {
        const session = parseSession(one);
        if (session === null) rows.push(one);
        else if (isPort(session.backend)) sessions.push(session);
      },
      () => this.loop.stalls() === this.stallsSeen,
    );
    this.throwAfterStall();
    return { sessions, loads: parseLoads(rows.join('\n')) };
  }

  /** Sends commands in one line. Resolves with the whole answer. */
  tell(worker: number, commands: readonly string[]): Promise<string> {
    return this.ask(...this.lineFor(worker, commands));
  }

  /** Sends one line. If the process stood still meanwhile, it neither sends the line nor uses the answer (S11). */
  async ask(socket: string, line: string): Promise<string> {
    this.throwAfterStall();
    const path = join(this.ports.sockets, socket);
    const answer = await ask(path, line, ANSWER_LIMIT_MS, () => this.loop.stalls() === this.stallsSeen);
    this.throwAfterStall();
    return answer;
  }

  /**
   * Throws when the process stood still. The routes that it wanted before may be wrong by now, so the loop has to
   * set them again (S11).
   */
  throwAfterStall(): void {
    const stalls = this.loop.stalls();
    if (stalls === this.stallsSeen) return;
    this.stallsSeen = stalls;
    this.onStall();
    throw new Error('the monitor stood still');
  }

  /**
   * The commands that ask for the number of sessions of each slot. They name the backends of the two ports by number,
   * because a frontend has the same name as its backend. The numbers differ between configurations, so they are taken
   * from the last look; before the first look the command asks for all (-1).
   */
  private loadQuestions(worker: number): string[] {
    const servers = this.looks.find((look) => look.name === this.names()[worker])?.servers ?? [];
    const ids = new Set(servers.filter((row) => isPort(row.backend)).map((row) => row.backendId));
    return (ids.size === 0 ? ['-1'] : [...ids]).map((id) => `show stat ${id} ${BACKENDS_AND_SERVERS} -1`);
  }

  private names(): string[] {
    return ['now', ...this.old.pids];
  }

  private lineFor(worker: number, commands: readonly string[]): [socket: string, line: string] {
    if (worker === 0) return ['admin.sock', commands.join(';')];
    const pid = this.old.pids[worker - 1] ?? '0';
    return ['master.sock', commands.map((c) => `@!${pid} ${c}`).join(';')];
  }
}
