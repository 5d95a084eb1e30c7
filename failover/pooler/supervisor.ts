/**
 * The supervisor of the pooler's processes. It keeps the monitor's lease of a pause, and resumes by itself when the
 * lease is not renewed, so a monitor that dies in a pause does not stop the clients.
 */
import { FIGURES_EVERY_MS, type FromPooler, type PauseState, type ToPooler } from '../contract/pooler';
import type { Bouncer } from './bouncer';

/** What the supervisor needs of one process. */
export type Paused = Pick<Bouncer, 'paused' | 'want' | 'look'>;

export class Supervisor {
  private lease: NodeJS.Timeout | undefined;
  private told: PauseState | null = null;
  private looking: NodeJS.Timeout | undefined;

  constructor(
    private readonly bouncers: readonly Paused[],
    /** Sends a frame to the monitor. Does nothing while it is not connected. */
    private readonly send: (frame: FromPooler) => void,
    private readonly log: (message: string) => void,
    /** Why the newest certificate is not in force; null: it is. */
    private readonly certificateProblem: () => string | null = () => null,
  ) {}

  /** Begins to look at the processes once a second. */
  start(): void {
    const look = async () => {
      const figures = await Promise.all(this.bouncers.map((bouncer) => bouncer.look()));
      const certificateProblem = this.certificateProblem();
      this.send({ type: 'figures', pools: figures.filter((each) => each !== null), certificateProblem });
      this.looking = setTimeout(() => void look(), FIGURES_EVERY_MS);
    };
    this.looking = setTimeout(() => void look(), FIGURES_EVERY_MS);
  }

  stop(): void {
    clearTimeout(this.looking);
    clearTimeout(this.lease);
  }

  /** Called when the connection to the monitor is proven. Sends the present state. */
  connected(): void {
    this.told = null;
    this.changed();
  }

  /** Takes a frame of the monitor. */
  receive(frame: ToPooler): void {
    if (frame.type === 'pause') this.pause(frame.forMs);
    if (frame.type === 'resume') this.resume();
  }

  /** Called when the state of a process has changed. */
  changed(): void {
    const states = this.bouncers.map(({ paused }) => paused);
    const all = (state: PauseState) => states.every((each) => each === state);
    const pause = all('paused') ? 'paused' : all('no') ? 'no' : 'pausing';
    if (pause === this.told) return;
    this.told = pause;
    this.send({ type: 'state', pause });
  }

  private pause(forMs: number): void {
    clearTimeout(this.lease);
    this.lease = setTimeout(() => {
      this.log(`the monitor has not renewed the pause for ${forMs} ms; statements go on`);
      this.resume();
    }, forMs);
    for (const bouncer of this.bouncers) bouncer.want(true);
  }

  private resume(): void {
    clearTimeout(this.lease);
    for (const bouncer of this.bouncers) bouncer.want(false);
  }
}
