/** The tables that the clients write, and their content on each node. */
import { waitFor } from '../../rig/wait';
import { local } from './docker';
import { STACK } from './stack';

const TABLES = ['chaos_writes', 'chaos_retried', 'chaos_registers', 'users'] as const;
const CATCH_UP_LIMIT_MS = 60_000;
const POLL_MS = 50;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS chaos_writes (run text NOT NULL, id text NOT NULL, n bigserial);
CREATE INDEX IF NOT EXISTS chaos_writes_n ON chaos_writes (run, n);
CREATE TABLE IF NOT EXISTS chaos_retried (run text, id text, tries integer NOT NULL DEFAULT 1, PRIMARY KEY (run, id));
CREATE TABLE IF NOT EXISTS chaos_registers (run text, key integer, value integer NOT NULL, PRIMARY KEY (run, key));
ALTER TABLE chaos_writes OWNER TO ${STACK.user};
ALTER TABLE chaos_retried OWNER TO ${STACK.user};
ALTER TABLE chaos_registers OWNER TO ${STACK.user};`;

export async function makeTables(leader: string): Promise<void> {
  await local(leader, SCHEMA, STACK.database);
}

/** Number of rows of each id of a run. */
export async function rowsOf(leader: string, run: string): Promise<Map<string, number>> {
  const part = (table: string) => `SELECT id, count(*) FROM ${table} WHERE run = '${run}' GROUP BY id`;
  const lines = await local(leader, `${part('chaos_writes')} UNION ALL ${part('chaos_retried')}`, STACK.database);
  return new Map(lines.map((line) => [line.split(' ')[0] ?? '', Number(line.split(' ')[1])]));
}

/** Count and checksum of the rows of all other runs: shows when a fault changes rows of an earlier run. */
export async function checksumWithout(leader: string, run: string): Promise<string> {
  const parts = TABLES.filter((t) => t !== 'users').map((t) => checksum(t, `WHERE run <> '${run}'`));
  return (await local(leader, parts.join(' UNION ALL '), STACK.database)).join(', ');
}

function checksum(table: string, where = ''): string {
  return `SELECT '${table}', count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM ${table} t ${where}`;
}

/** Waits until the node has replayed all WAL that the leader has flushed by now. */
async function caughtUp(leader: string, node: string): Promise<void> {
  const [lsn = ''] = await local(leader, 'SELECT pg_current_wal_flush_lsn()');
  const replayed = async () => (await local(node, `SELECT pg_last_wal_replay_lsn() >= '${lsn}'`))[0] === 't';
  await waitFor(`${node} to catch up`, CATCH_UP_LIMIT_MS, replayed, POLL_MS);
}

/**
 * Differences between the nodes' tables once the standbys have caught up; empty when equal. No client may write then.
 */
export async function differences(leader: string, nodes: readonly string[]): Promise<string[]> {
  const sql = TABLES.map((table) => checksum(table)).join(' UNION ALL ');
  const wanted = (await local(leader, sql, STACK.database)).join(', ');
  const found: string[] = [];
  for (const node of nodes.filter((n) => n !== leader)) {
    await caughtUp(leader, node);
    const has = (await local(node, sql, STACK.database)).join(', ');
    if (has !== wanted) found.push(`${node} differs from ${leader}: ${has} instead of ${wanted}`);
  }
  return found;
}
