/** Watches the stack while it is changed: one SQL session that stays open, and the monitor's status. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterStatus } from '../../failover/contract/api';
import { messageOf } from '../../failover/contract/errors';
import { connect, drop } from '../rig/client';
import type { Stack } from '../rig/stack';
import { view } from '../rig/view';
import { epochMs } from '../rig/wait';

const SAMPLE_MS = 200;
const LOOK = `SELECT pg_backend_pid() AS pid, current_setting('synchronous_standby_names') AS names,
                     array(SELECT slot_name::text FROM pg_replication_slots) AS slots`;

/** Calls `look` every {@link SAMPLE_MS}; returns a function that stops this. */
function repeat(look: () => Promise<void>): () => Promise<void> {
  let running = true;
  const work = async () => {
    for (; running; await sleep(SAMPLE_MS)) await look();
  };
  const done = work();
  return () => {
    running = false;
    return done;
  };
}

export interface Sample {
  atMs: number;
  pid: number;
  /** `synchronous_standby_names` of the session's node. */
  names: string;
  /** Replication slots of that node. */
  slots: string[];
}

/** Opens a session before the change and uses it until it is stopped. `failure` is the error that ended it earlier. */
export async function openSession(stack: Stack) {
  const { client } = await connect(stack, stack.writePort);
  const session = { samples: [] as Sample[], failure: null as string | null };
  const end = repeat(async () => {
    if (session.failure !== null) return;
    try {
      const { rows } = await client.query<Omit<Sample, 'atMs'>>(LOOK);
      session.samples.push(...rows.map((row) => ({ atMs: epochMs(), ...row })));
    } catch (error) {
      session.failure = messageOf(error);
    }
  });
  return Object.assign(session, { stop: () => end().finally(() => drop(client)) });
}

/** Collects the monitor's status, except while the monitor does not answer. */
export function watchViews(stack: Stack) {
  const views: { atMs: number; view: ClusterStatus }[] = [];
  const stop = repeat(async () => {
    const now = await view(stack).catch(() => null);
    if (now) views.push({ atMs: epochMs(), view: now });
  });
  return { views, stop };
}
