/** The monitor's side of the connection to the container that tests restores: what is wanted there, what comes back. */
import { oneLine } from '../../contract/log-line';
import { derivedPassword } from '../../contract/proof';
import {
  CHECKER_NAME,
  CHECKER_PROTOCOL,
  type CheckerState,
  FromChecker,
  TELL_EVERY_MS,
  type TestOrder,
  type ToChecker,
} from '../../contract/restore-tests';
import { seal } from '../../contract/seal';
import { Listener } from '../../link/listener';
import type { Clock, Log } from '../ports';

const SPEECH = { role: 'checker', name: CHECKER_NAME, version: CHECKER_PROTOCOL, frames: FromChecker } as const;

/** A test that the container is asked for. */
export interface WantedTest {
  readonly id: string;
  readonly order: TestOrder;
  readonly ca?: string | undefined;
}

export class CheckerServer {
  private readonly listener: Listener<ToChecker, FromChecker>;
  private readonly key: string;
  private telling: NodeJS.Timeout | undefined;
  /** What the container said last over the present connection; null: it is away, or has said nothing yet. */
  state: CheckerState | null = null;
  /** The test that is wanted, with its order when the container may need it; undefined: what runs there goes on. */
  wanted: { readonly id: string; readonly order?: WantedTest } | null | undefined;

  constructor(
    at: { readonly address: string; readonly port: number },
    clusterKey: string,
    clock: Clock,
    private readonly log: Log,
  ) {
    this.key = derivedPassword(clusterKey, 'checker');
    this.listener = new Listener(at, this.key, SPEECH, () => clock.nowMs(), {
      begun: () => {
        this.state = null;
        log.write('INFO', 'monitor', 'CHECKER_SEEN', 'the container that tests restores is connected');
      },
      receive: (frame) => {
        if (frame.type === 'state') this.state = frame;
      },
      ended: () => this.end(),
      refused: (address) =>
        log.write('WARN', 'monitor', 'CHECKER_REFUSED', `a container at ${oneLine(address)} has a wrong key`),
      failed: (message) => log.write('ERROR', 'monitor', 'LISTEN_FAILED', message),
    });
  }

  /** Begins to accept the container's connection. @throws when the port is not available */
  async listen(): Promise<void> {
    await this.listener.listen();
    this.telling = setInterval(() => this.tell(), TELL_EVERY_MS);
  }

  port(): number {
    return this.listener.port();
  }

  async close(): Promise<void> {
    clearInterval(this.telling);
    await this.listener.close();
  }

  /** Every frame is also the sign of life. */
  private tell(): void {
    const { state, wanted } = this;
    if (wanted === undefined) {
      // Nothing is known of the test that may run there: it goes on.
      const id = state?.running?.id ?? null;
      if (state !== null) this.listener.send({ type: 'wanted', id });
      return;
    }
    this.listener.send({ type: 'wanted', id: wanted?.id ?? null });
    if (wanted?.order === undefined) return;
    const { id, order, ca } = wanted.order;
    const sealed = seal(this.key, JSON.stringify(order));
    this.listener.send({ type: 'test', id, order: sealed, ...(ca !== undefined && { ca }) });
  }

  private end(): void {
    this.state = null;
    this.log.write('WARN', 'monitor', 'CHECKER_LOST', 'the connection to the container that tests restores broke');
  }
}
