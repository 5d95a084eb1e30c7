/** Names inside PostgreSQL that the keepers, the monitor and the tools use alike. */
import { z } from 'zod';
import { IDENTIFIER_BYTES_MAX } from './limits';

export const NodeName = z.string().min(1).max(IDENTIFIER_BYTES_MAX);

/** Roles that the keeper creates on every leader, beside the application's own role. */
export const REPLICATION_ROLE = 'failover_replication';
export const MONITOR_ROLE = 'failover_monitor';
/** The keeper's own superuser role, beside `postgres`. It may log in over the local socket only. */
export const KEEPER_ROLE = 'failover_keeper';

/** Name of the replication slot on the leader that the standby `node` streams through. */
export function slotName(node: string): string {
  const name = node.toLowerCase().replaceAll(/[^a-z0-9_]/g, '_');
  return name.slice(0, IDENTIFIER_BYTES_MAX);
}

/**
 * Name of the replication slot through which `node` receives write-ahead log while it is copied and still has its old
 * data.
 */
export function copySlotName(node: string): string {
  return `${slotName(node).slice(0, 58)}_copy`;
}

/** Name of the replication slot with which each node keeps what the backups' repository does not have yet. */
export const ARCHIVE_SLOT = 'failover_archive';

/**
 * Environment variable of `wait-serving`: the nodes that a person stopped and that stay stopped, separated by commas.
 */
export const LEFT_STOPPED = 'PGFAILOVER_LEFT_STOPPED';

/**
 * Name of a node's replication slot: the prefix of the stack's node names (group 1), then the node's place in the
 * stack.
 */
const NODE_SLOT = /^(.*)(?:primary|replica_\d+)(?:_copy)?$/;

/**
 * True for a replication slot that the failover makes for a node of the same stack as `node`, also if that node is not
 * declared any more. Every other replication slot was made by a person.
 */
export function isNodeSlot(slot: string, node: string): boolean {
  const stack = NODE_SLOT.exec(slotName(node))?.[1];
  return stack !== undefined && NODE_SLOT.exec(slot)?.[1] === stack;
}
