/** What a node says from the inside: its disk, and its PostgreSQL over the local socket. */
import { z } from 'zod';
import { PATHS } from '../../../failover/config';
import { run } from '../../lib/exec';
import type { DatabaseFact, NodeFact } from './facts';

/** A node that hangs must not make doctor hang. */
const NODE_MS = 6_000;

const QUERY = `SELECT json_build_object(
  'standby', pg_is_in_recovery(),
  'connections', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
  'room', current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - current_setting('reserved_connections')::int,
  'slots', (SELECT coalesce(json_agg(json_build_object('name', slot_name, 'active', active,
      'lost', coalesce(wal_status = 'lost', false) OR invalidation_reason IS NOT NULL)), '[]') FROM pg_replication_slots))`;

const Database: z.ZodType<DatabaseFact> = z.object({
  standby: z.boolean(),
  connections: z.number(),
  room: z.number(),
  slots: z.array(z.object({ name: z.string(), active: z.boolean(), lost: z.boolean() })),
});

/** Two looks, side by side: a PostgreSQL that hangs does not hide a full disk. */
export async function lookAtNode(name: string): Promise<NodeFact> {
  const inside = (...args: string[]) => run('docker', ['exec', name, ...args], { deadlineMs: NODE_MS });
  const [disk, answer] = await Promise.all([
    inside('df', '-P', '-B1', PATHS.nodeVolume),
    inside('psql', '--no-psqlrc', '-At', '-U', 'postgres', '-d', 'postgres', '-c', QUERY),
  ]);
  return {
    name,
    disk: disk.code === 0 ? diskOf(disk.stdout) : null,
    database: answer.code === 0 ? databaseOf(answer.stdout) : null,
    message:
      answer.code === 124
        ? 'no answer in time'
        : (answer.tail.find((line) => /error|FATAL/.test(line)) ?? answer.tail.at(-1) ?? ''),
  };
}

function databaseOf(text: string): DatabaseFact | null {
  try {
    return Database.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** POSIX `df -P`: the second line's fourth and fifth columns. */
export function diskOf(text: string): NodeFact['disk'] {
  const columns = text.trim().split('\n').at(-1)?.trim().split(/\s+/) ?? [];
  const [free, percent] = [Number(columns[3]), Number(columns[4]?.replace('%', ''))];
  return Number.isFinite(free) && Number.isFinite(percent) ? { freeBytes: free, usedPercent: percent } : null;
}
