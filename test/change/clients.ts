/** Who uses the stack while it is changed: one SQL session that stays open, and a look at the cluster. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterStatus } from '../../failover/contract/api';
import { messageOf } from '../../failover/contract/errors';
import { type Connection, connect, drop } from '../rig/client';
import type { Stack } from '../rig/stack';
import { view } from '../rig/view';
import { epochMs } from '../rig/wait';

const SAMPLE_MS = 200;
const LOOK = `SELECT pg_backend_pid() AS pid, current_setting('synchronous_standby_names') AS names,
                     array(SELECT slot_name::text FROM pg_replication_slots) AS slots`;

/** Does something again and again, until it is stopped. */
abstract class Repeated {
  private running = true;
  private done: Promise<void> = Promise.resolve();

  protected begin(look: () => Promise<unknown>): void {
    const work = async () => {
      for (; this.running; await sleep(SAMPLE_MS)) await look();
    };
    this.done = work();
  }

  async stop(): Promise<void> {
    this.running = false;
    await this.done;
  }
}

export interface Sample {
  atMs: number;
  pid: number;
  /** `synchronous_standby_names` and slots of the node that the session is on. */
  names: string;
  slots: string[];
}

/** One session that is opened before the change and used until its end. */
export class Session extends Repeated {
  readonly samples: Sample[] = [];
  failure: string | null = null;
  private readonly client: Connection['client'];

  private constructor({ client }: Connection) {
    super();
    this.client = client;
    this.begin(() => this.look());
  }

  static async open(stack: Stack): Promise<Session> {
    return new Session(await connect(stack, stack.writePort));
  }

  private async look(): Promise<void> {
    if (this.failure !== null) return;
    try {
      const { rows } = await this.client.query<Omit<Sample, 'atMs'>>(LOOK);
      this.samples.push(...rows.map((row) => ({ atMs: epochMs(), ...row })));
    } catch (error) {
      this.failure = messageOf(error);
    }
  }

  override async stop(): Promise<void> {
    await super.stop();
    drop(this.client);
  }
}

/** The monitor's view, again and again; nothing while the monitor is away. */
export class Watch extends Repeated {
  readonly views: { atMs: number; view: ClusterStatus }[] = [];

  constructor(stack: Stack) {
    super();
    this.begin(async () => {
      const now = await view(stack).catch(() => null);
      if (now) this.views.push({ atMs: epochMs(), view: now });
    });
  }
}
