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
/** Slots of the read backend: the largest number of nodes. */
export const READ_SLOTS = 9;

export interface HaproxyConfigInput {
  /** How long a new connection is held while no leader is open, ms. */
  holdTimeoutMs: number;
  /** Connections that one PostgreSQL node gets at most; more wait in HAProxy's queue (SAFETY S24). */
  serverMaxConnections: number;
  /** The HTTP API behind port 8000; null when the stack has no backend. */
  backend: {
    /** Name that the engine's resolver knows on the front network, for example `backend`. */
    host: string;
    /** How many containers may answer to that name. */
    slots: number;
  } | null;
}

/** The whole configuration as text. Throws when the template cannot be read. */
export function renderHaproxyConfig(input: HaproxyConfigInput): string {
  const template = readFileSync(join(__dirname, '..', 'templates', 'haproxy.cfg'), 'utf8');
  const view = {
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    holdTimeoutMs: input.holdTimeoutMs,
    holdRetries: Math.max(1, Math.floor(input.holdTimeoutMs / HOLD_ATTEMPT_MS)),
    maxConnections: 4096,
    serverMaxConnections: input.serverMaxConnections,
    writePort: PORTS.haproxyWrite,
    readPort: PORTS.haproxyRead,
    statsPort: PORTS.haproxyStats,
    apiPort: PORTS.haproxyApi,
    readSlots: READ_SLOTS,
    backend: input.backend && { ...input.backend, port: PORTS.backend },
  };
  return Mustache.render(template, view, {}, { escape: String });
}
