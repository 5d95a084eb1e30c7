/** Renders `templates/haproxy.cfg`. Pure but for reading the template; the program and the tests share it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import Mustache from 'mustache';
import { PORTS } from '../failover/config';

/**
 * One attempt to connect, and the pause before the next one, ms. Measured as the best compromise between how finely
 * held connections go through and the processor time that holding costs (SAFETY S19).
 */
export const CONNECT_TIMEOUT_MS = 20;
/** What one refused attempt and the pause after it really take, ms: measured 23.6, so that holding ends at the limit. */
const HOLD_ATTEMPT_MS = 24;
/** Twice this (with the read port on the leader too) fits into PostgreSQL's max_connections, 200 (SAFETY S24). */
export const SERVER_CONNECTIONS_MAX = 80;
/**
 * The same two for the HTTP API, ms. A request is held while the only backend is replaced, which takes seconds, so there
 * is nothing to win by trying as often as for a new leader.
 */
const API_CONNECT_TIMEOUT_MS = 100;
const API_HOLD_ATTEMPT_MS = 104;
/** Slots of the write and of the read backend: the largest number of nodes. */
export const NODE_SLOTS = 9;
/** Slots of the API: the largest number of backends. They are always there, so that a change of the number is no change here. */
export const API_SLOTS = 8;

/** Connections of clients at the same time, over all ports. */
const MAX_CONNECTIONS = 4096;

export interface HaproxyConfigInput {
  /** How long a new connection is held while no leader is open, ms. */
  holdTimeoutMs: number;
  /** Connections that one PostgreSQL node gets at most; more wait in HAProxy's queue (SAFETY S24). */
  serverMaxConnections: number;
  /**
   * Name by which the engine's resolver knows every backend on the front network, for example `backend`; null when the
   * stack has none. How many there are is not said: slots for the largest number fill by themselves.
   */
  backendHost: string | null;
}

/** The whole configuration as text. Throws when the template cannot be read. */
export function renderHaproxyConfig(input: HaproxyConfigInput): string {
  const template = readFileSync(join(__dirname, '..', 'templates', 'haproxy.cfg'), 'utf8');
  const view = {
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    holdTimeoutMs: input.holdTimeoutMs,
    holdRetries: holdRetries(input.holdTimeoutMs, HOLD_ATTEMPT_MS),
    maxConnections: MAX_CONNECTIONS,
    apiMaxConnections: MAX_CONNECTIONS / 2,
    serverMaxConnections: input.serverMaxConnections,
    writePort: PORTS.haproxyWrite,
    readPort: PORTS.haproxyRead,
    statsPort: PORTS.haproxyStats,
    apiPort: PORTS.haproxyApi,
    nodeSlots: NODE_SLOTS,
    backend: input.backendHost !== null && {
      host: input.backendHost,
      port: PORTS.backend,
      slots: API_SLOTS,
      connectTimeoutMs: API_CONNECT_TIMEOUT_MS,
      holdRetries: holdRetries(input.holdTimeoutMs, API_HOLD_ATTEMPT_MS),
    },
  };
  return Mustache.render(template, view, {}, { escape: String });
}

const holdRetries = (holdTimeoutMs: number, attemptMs: number): number =>
  Math.max(1, Math.floor(holdTimeoutMs / attemptMs));
