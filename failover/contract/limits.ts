/** Numbers that more than one side has to keep. */

/** Nodes that a stack has at most: HAProxy has a slot for each, and a message to the keepers has place for them. */
export const NODES_MAX = 9;
/** One of the nodes leads. */
export const REPLICAS_MAX = NODES_MAX - 1;
/** PostgreSQL cuts identifiers at NAMEDATALEN - 1 bytes (manual, "Identifiers and Key Words"). */
export const IDENTIFIER_BYTES_MAX = 63;
/** Rows of `pg_stat_replication` and of `pg_replication_slots` that a status tells at most. */
export const STATUS_ROWS_MAX = 32;
