/** Renders `templates/haproxy.cfg`. Pure except that it reads the template. The program and the tests share it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import Mustache from 'mustache';
import type { Budget } from '../failover/contract/budget';
import { API_CERTIFICATE, PATHS, PORTS } from '../failover/contract/layout';
import { NODES_MAX } from '../failover/contract/limits';

/**
 * One attempt to connect, and the pause before the next one, ms. Measured as the best compromise between how finely
 * held connections go through and the processor time that holding costs (S19).
 */
export const CONNECT_TIMEOUT_MS = 20;
/**
 * Measured duration of a refused attempt and the pause after it, ms: 23.6, rounded up so that holding ends at the
 * limit.
 */
const HOLD_ATTEMPT_MS = 24;
/**
 * How long HAProxy waits for a client's first bytes, to tell a cancel request from a session, ms. Clients of PostgreSQL
 * speak first, so this is the time for packets that were lost on the way.
 */
const FIRST_BYTES_MS = 3_000;
/**
 * The connect timeout and pause for the HTTP API, ms. Requests are held while the only backend is replaced, which takes
 * seconds. So there is no advantage in trying as often as for a new leader.
 */
const API_CONNECT_TIMEOUT_MS = 100;
const API_HOLD_ATTEMPT_MS = 104;
/**
 * Slots of the API: the largest number of backends. All slots always exist, so that a change of the number of backends
 * does not change this config.
 */
export const API_SLOTS = 8;

/** Number of further connections that are accepted only to be refused. */
const REFUSED_MAX = 100;
/** Largest number of simultaneous connections to the HTTP API. */
export const API_CONNECTIONS_MAX = 1024;
const STATS_CONNECTIONS_MAX = 50;
/** Connections of cancel requests to nodes: 32 requests to {@link NODES_MAX} nodes (images/haproxy/cancel.lua). */
const CANCEL_CONNECTIONS = 32 * NODES_MAX;
/**
 * Connections to the keepers: one for each node and thread (images/haproxy/alive.lua). They take one file descriptor
 * each, so this is enough for eight threads. With more, and with all places taken, some are missing.
 */
const ALIVE_CONNECTIONS = 4 * NODES_MAX;

/**
 * Largest number of connections over all ports. Every connection takes two file descriptors, and HAProxy starts only if
 * it may open that many (20,000 are enough for 4,096 connections a port).
 */
const maxConnections = (port: number): number =>
  2 * (port + REFUSED_MAX) +
  API_CONNECTIONS_MAX +
  REFUSED_MAX +
  STATS_CONNECTIONS_MAX +
  CANCEL_CONNECTIONS +
  ALIVE_CONNECTIONS +
  50;
/** Longest time that the API's backends may take for an answer, ms. */
const API_ANSWER_MS = 60_000;

export interface HaproxyConfigInput {
  /** How long a new connection is held while no leader is open, ms. */
  holdTimeoutMs: number;
  /** How many clients a node and a port take (S24). */
  budget: Budget;
  /** IPv4 networks whose clients the published ports let in; empty: every client. */
  clientNetworks?: readonly string[];
  /**
   * Name under which the engine's resolver knows every backend on the front network, for example `backend`; null when
   * the stack has none. The number of backends is not given: HAProxy fills the slots by itself.
   */
  backendHost: string | null;
  /**
   * The backends' port speaks HTTPS, with the certificate that the monitor writes.
   * @default false
   */
  https?: boolean;
  /**
   * Addresses of the nodes, if there is a port for clients of replication.
   * @default none
   */
  gates?: readonly string[];
}

/** Connections of clients of replication; each node's gate takes fewer (failover/keeper/postgres/gate). */
const GATE_CONNECTIONS_MAX = 32;

/** The whole configuration as text. Throws when the template cannot be read. */
export function renderHaproxyConfig(input: HaproxyConfigInput): string {
  const template = readFileSync(join(__dirname, '..', 'templates', 'haproxy.cfg'), 'utf8');
  const view = {
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    holdTimeoutMs: input.holdTimeoutMs,
    holdRetries: holdRetries(input.holdTimeoutMs, HOLD_ATTEMPT_MS),
    cancelScript: PATHS.cancelScript,
    aliveScript: PATHS.aliveScript,
    alivePort: PORTS.keeperAlive,
    firstBytesMs: FIRST_BYTES_MS,
    clientNetworks: (input.clientNetworks ?? []).join(' '),
    maxConnections: maxConnections(input.budget.port),
    portConnections: input.budget.port,
    portMaxConnections: input.budget.port + REFUSED_MAX,
    apiConnections: API_CONNECTIONS_MAX,
    apiMaxConnections: API_CONNECTIONS_MAX + REFUSED_MAX,
    statsConnections: STATS_CONNECTIONS_MAX,
    serverMaxConnections: input.budget.step,
    writePort: PORTS.haproxyWrite,
    readPort: PORTS.haproxyRead,
    writePortPublished: PORTS.haproxyWritePublished,
    readPortPublished: PORTS.haproxyReadPublished,
    writePortIpv6: PORTS.haproxyWriteIpv6,
    readPortIpv6: PORTS.haproxyReadIpv6,
    writePortPooled: PORTS.haproxyPooled,
    statsPort: PORTS.haproxyStats,
    apiPort: PORTS.haproxyApi,
    nodeSlots: NODES_MAX,
    replication: (input.gates ?? []).length > 0 && replication(input.gates ?? []),
    backend: input.backendHost !== null && {
      host: input.backendHost,
      certificate: input.https === true && `${PATHS.haproxySockets}/${API_CERTIFICATE}`,
      port: PORTS.backend,
      slots: API_SLOTS,
      connectTimeoutMs: API_CONNECT_TIMEOUT_MS,
      serverTimeoutMs: Math.max(API_ANSWER_MS, input.holdTimeoutMs + API_ANSWER_MS / 2),
      holdRetries: holdRetries(input.holdTimeoutMs, API_HOLD_ATTEMPT_MS),
    },
  };
  return Mustache.render(template, view, {}, { escape: String });
}

/** Only the opened leader's gate listens, so HAProxy's own connects find it. */
const replication = (gates: readonly string[]) => ({
  port: PORTS.haproxyReplication,
  maxConnections: GATE_CONNECTIONS_MAX,
  gates: gates.map((address, i) => ({ number: i + 1, address, port: PORTS.gate })),
});

const holdRetries = (holdTimeoutMs: number, attemptMs: number): number =>
  Math.max(1, Math.floor(holdTimeoutMs / attemptMs));
