/** Limits that more than one program has to keep. */

/**
 * Maximum number of nodes of a stack: HAProxy's backends have a slot for each, and the messages to the keepers have
 * room for them.
 */
export const NODES_MAX = 9;
/** One node is the leader, the others are its replicas. */
export const REPLICAS_MAX = NODES_MAX - 1;
/** PostgreSQL cuts identifiers at NAMEDATALEN - 1 bytes (manual, "Identifiers and Key Words"). */
export const IDENTIFIER_BYTES_MAX = 63;
/** Maximum number of rows of `pg_stat_replication` and of `pg_replication_slots` in one status. */
export const STATUS_ROWS_MAX = 32;
/** Longest certificate with its chain, and longest private key, as PEM, characters. */
export const PEM_MAX = 64 * 1024;
/** Maximum number of names and addresses in a certificate. */
export const TLS_NAMES_MAX = 80;
