/** Names inside PostgreSQL on which keeper, monitor and the tools agree. */
import { z } from 'zod';
import { IDENTIFIER_BYTES_MAX } from './limits';

export const NodeName = z.string().min(1).max(IDENTIFIER_BYTES_MAX);

/** Names of the roles that the keeper makes on every leader beside the application's own. */
export const REPLICATION_ROLE = 'failover_replication';
export const MONITOR_ROLE = 'failover_monitor';
/** The keeper's own superuser role, beside `postgres`; it may come in over the local socket only. */
export const KEEPER_ROLE = 'failover_keeper';

/** Name of the slot that a node's walsender uses on its leader. */
export function slotName(node: string): string {
  return node
    .toLowerCase()
    .replaceAll(/[^a-z0-9_]/g, '_')
    .slice(0, IDENTIFIER_BYTES_MAX);
}

/** Name of the slot that a node receives write-ahead log through while it is copied and its old data is still there. */
export function copySlotName(node: string): string {
  return `${slotName(node).slice(0, 58)}_copy`;
}
