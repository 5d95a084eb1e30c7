/**
 * Runs the tests of restores that the monitor orders, one at a time. A test ends before its end when the monitor does not
 * want it any more, is away for long, or the container stops; when it takes too long; and when the disk becomes full, which
 * the nodes may share.
 */
import { inBackground, messageOf } from '../../contract/errors';
import { fromJson } from '../../contract/json';
import type { RestoreTestResult } from '../../contract/restore-test';
import {
  type FromChecker,
  MONITOR_LOST_MS,
  type RunningTest,
  TELL_EVERY_MS,
  TEST_LIMIT_MS,
  TestOrder,
  type ToChecker,
} from '../../contract/restore-tests';
import { unseal } from '../../contract/seal';

/** What was ended has to be gone within this time, ms. */
const END_LIMIT_MS = 60_000;
/** A test is ended when less is free, bytes: PostgreSQL of a node stops on a full disk. */
const FREE_MIN_BYTES = 128 * 1024 * 1024;

export interface SupervisorPorts {
  /** Runs one test to its end. Never throws: a failure is a result. */
  test(
    order: TestOrder,
    ca: string | undefined,
    signal: AbortSignal,
    tell: (step: string) => void,
  ): Promise<RestoreTestResult>;
  send(frame: FromChecker): void;
  /** Free bytes where the copy is. */
  free(): Promise<number>;
  /** A test that was ended does not end: the whole container has to. */
  giveUp(why: string): void;
  log(message: string): void;
  nowMs(): number;
  wallMs(): number;
}

interface Running extends RunningTest {
  readonly abort: AbortController;
  readonly begunMs: number;
  /** When it was ended before its end. */
  endedMs: number | null;
  /** What its result says then; null: it has none. */
  why: string | null;
}

export class Supervisor {
  private running: Running | null = null;
  private last: { id: string; result: RestoreTestResult } | null = null;
  private heardMs: number;
  private ticking: NodeJS.Timeout | undefined;
  private gone: () => void = () => undefined;

  constructor(
    /** Of the connection to the monitor. */
    private readonly key: string,
    private readonly ports: SupervisorPorts,
  ) {
    this.heardMs = ports.nowMs();
  }

  start(): void {
    this.ticking = setInterval(() => inBackground(() => this.tick()), TELL_EVERY_MS);
  }

  /** Ends the test that runs. Resolves when nothing of it is left, or after `limitMs`. */
  async stop(limitMs: number): Promise<void> {
    clearInterval(this.ticking);
    if (this.running === null) return;
    const gone = new Promise<void>((resolve) => {
      this.gone = resolve;
    });
    this.end('the container stops', null);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, limitMs);
    });
    await Promise.race([gone, late]);
    clearTimeout(timer);
  }

  /** Tells the monitor where this side stands. */
  tell(): void {
    const { running, last } = this;
    this.ports.send({
      type: 'state',
      running: running && {
        ...{ id: running.id, repository: running.repository },
        ...{ sinceMs: running.sinceMs, step: running.step.slice(0, 300) },
      },
      last,
    });
  }

  receive(frame: ToChecker): void {
    this.heardMs = this.ports.nowMs();
    if (frame.type === 'wanted' && this.running !== null && this.running.id !== frame.id)
      this.end('the monitor does not want it any more', null);
    if (frame.type === 'test') this.begin(frame);
  }

  private begin({ id, order: sealed, ca }: Extract<ToChecker, { type: 'test' }>): void {
    // The monitor repeats its order until it sees that the test runs.
    if (this.running !== null || this.last?.id === id) return;
    const order = fromJson(TestOrder, unseal(this.key, sealed) ?? '');
    if (order === null) {
      this.ports.log('an order was sealed with another key, or does not fit this release; it is ignored');
      return;
    }
    const { repository } = order;
    const running: Running = {
      ...{ id, repository, sinceMs: this.ports.wallMs(), begunMs: this.ports.nowMs() },
      ...{ step: 'the repository is read', abort: new AbortController(), endedMs: null, why: null },
    };
    this.running = running;
    this.ports.log(`a restore from ${repository} is tested`);
    inBackground(
      () => this.run(running, order, ca),
      (error) => this.ports.giveUp(messageOf(error)),
    );
    this.tell();
  }

  private async run(running: Running, order: TestOrder, ca: string | undefined): Promise<void> {
    const tell = (step: string) => {
      running.step = step;
      this.ports.log(step);
    };
    const result = await this.ports.test(order, ca, running.abort.signal, tell);
    this.running = null;
    const { id, endedMs, why } = running;
    if (endedMs === null || why !== null) {
      const told = why === null ? result : { ...result, result: 'failed' as const, message: why };
      this.last = { id, result: told };
      this.ports.log(`the test ${told.result === 'done' ? 'is done' : 'failed'}: ${told.message}`);
    }
    this.tell();
    this.gone();
  }

  private async tick(): Promise<void> {
    this.tell();
    const { running, ports } = this;
    if (running === null) return;
    const nowMs = ports.nowMs();
    if (running.endedMs !== null) {
      if (nowMs - running.endedMs > END_LIMIT_MS) ports.giveUp('a test that was ended does not end');
    } else if (nowMs - running.begunMs > TEST_LIMIT_MS) {
      const why = `the test did not end within ${TEST_LIMIT_MS / 3_600_000} h`;
      this.end(why, why);
    } else if (nowMs - this.heardMs > MONITOR_LOST_MS) {
      this.end('the monitor is away', null);
    } else if ((await ports.free()) < FREE_MIN_BYTES) {
      const why = 'the disk became full while the backup was restored: the test was ended, and its copy is deleted';
      this.end(why, why);
    }
  }

  /** Ends the running test. `result`: what its result says; null: it has none. */
  private end(why: string, result: string | null): void {
    const { running, ports } = this;
    if (running === null || running.endedMs !== null) return;
    running.endedMs = ports.nowMs();
    running.why = result;
    ports.log(`the test is ended: ${why}`);
    running.abort.abort();
  }
}
