/** What a node's volume, memory and PostgreSQL hold. */
import { setTimeout as delay } from 'node:timers/promises';
import { docker, sqlInside } from '../rig/docker';

export interface Held {
  /** What lies in the node's volume beside `data`, `keeper` and `conf`. */
  leftovers: string[];
  histories: number;
  walMb: number;
  slots: string[];
  /** Of the keeper's process. */
  rssMb: number;
  handles: number;
}

// The shell itself has the name in its command line, too.
const LOOK = `cd /var/lib/postgresql; ls; echo --; ls data/pg_wal | grep -c '[.]history$'; du -sm data/pg_wal | cut -f1
for p in /proc/[0-9]*; do
  if [ "$p" != "/proc/$$" ] && tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q '^[^ ]*node.* /app/keeper.mjs'; then
    grep VmRSS $p/status | tr -dc '0-9\\n'; ls $p/fd | wc -l
  fi
done`;

/** Looks from inside the container. `leads`: a standby is not asked for its slots. */
export async function heldBy(node: string): Promise<Held> {
  const text = await docker('exec', node, 'sh', '-c', LOOK);
  const [names = '', numbers = ''] = text.split('--\n');
  const [histories = 0, walMb = 0, rssKb = 0, handles = 0] = numbers.trim().split('\n').map(Number);
  const leftovers = names
    .trim()
    .split('\n')
    .filter((name) => !['data', 'keeper', 'conf'].includes(name));
  const slots = await sqlInside(node, 'SELECT slot_name FROM pg_replication_slots ORDER BY 1');
  return { leftovers, histories, walMb, slots: slots.split('\n'), rssMb: Math.round(rssKb / 1_024), handles };
}

/** Ends PostgreSQL as a crash of the machine would; the keeper stays. */
export async function killPostgres(node: string): Promise<void> {
  await docker('exec', node, 'sh', '-c', 'kill -9 $(head -1 /var/lib/postgresql/data/postmaster.pid)');
}

const REST_MS = 2_000;

/**
 * Looks again and again until `end` is called; one look ends before the next one begins, so that slow looks do not pile
 * up.
 */
export function repeatedly(look: () => Promise<void>): { end(): Promise<void> } {
  const stop = new AbortController();
  const looking = (async () => {
    while (!stop.signal.aborted) {
      await look().catch(() => undefined);
      await delay(REST_MS, undefined, { signal: stop.signal }).catch(() => undefined);
    }
  })();
  return {
    end: async () => {
      stop.abort();
      await looking;
    },
  };
}
