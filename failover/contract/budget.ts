/**
 * The connections of one PostgreSQL node, all derived from `max_connections` (S24). HAProxy's limits, the settings that
 * keep connections free, and the table for people come from here. Pure.
 */

/**
 * `superuser_reserved_connections` of templates/postgresql.conf: for the keeper and for a person inside a container.
 */
export const SUPERUSER_RESERVED = 5;
/**
 * `reserved_connections` of templates/postgresql.conf: for roles of `pg_use_reserved_connections`, so for the monitor.
 */
export const RESERVED = 10;
/** Sessions that keeper and monitor have on a node all the time, at most. Base backups and standbys count elsewhere. */
const OWN_SESSIONS = 9;
/** Connections that not even clients which are being refused may take, so that the keeper always finds one. */
const NEVER_TAKEN = 10;
/** `max_connections` where the stack's config does not set it and the node has 1 GB or more. */
export const MAX_CONNECTIONS_DEFAULT = 200;
/**
 * Most clients that may log in to a slot at the same moment. A login costs 13 to 17 ms of processor time, so a crowd is
 * let in by steps of this size (S24).
 */
const STEP = 80;
/** Least number of held clients on one port. */
const HELD = 4_096;
/** Clients that a port holds beyond those that a node takes. */
const HELD_BEYOND = 1_024;

/** How the connections of a node are divided. */
export interface Budget {
  readonly maxConnections: number;
  /** Sessions of clients on one node, both ports together. */
  readonly clients: number;
  /** Clients that may be on their way to PostgreSQL's refusal at a time, on one node. */
  readonly refusals: number;
  /** Most clients that HAProxy lets into a slot in one step. Also its `maxconn` before the monitor raises it. */
  readonly step: number;
  /** Connections that one port of HAProxy takes, held ones included. */
  readonly port: number;
}

/** @param maxConnections PostgreSQL's setting. */
export function budgetOf(maxConnections: number): Budget {
  const clients = Math.max(2, maxConnections - SUPERUSER_RESERVED - RESERVED - OWN_SESSIONS);
  return {
    maxConnections,
    clients,
    refusals: Math.max(1, maxConnections - NEVER_TAKEN - clients),
    step: Math.min(STEP, Math.floor(clients / 2)),
    port: Math.max(HELD, clients + HELD_BEYOND),
  };
}

/** @param postgresSettings the stack's settings of PostgreSQL. */
export function budgetFor(postgresSettings: Readonly<Record<string, string>>): Budget {
  const { max_connections: given = String(MAX_CONNECTIONS_DEFAULT) } = postgresSettings;
  return budgetOf(/^\d{1,6}$/.test(given) ? Number(given) : MAX_CONNECTIONS_DEFAULT);
}

/** The budget in one line, for the outputs of `up`. */
export function budgetInWords({ maxConnections, clients, port }: Budget): string {
  const kept = maxConnections - clients;
  return `${clients} clients a node (max_connections ${maxConnections} less ${kept} for the failover); each port holds ${port}`;
}
