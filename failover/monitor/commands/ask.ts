/** Sends HTTP requests to the monitor in this container. */
import { PORTS } from '../../contract/layout';

/** Resolves with the answer, also with one that reports an error. Throws when there is none within `limitMs`. */
export function askMonitor(what: string, limitMs: number, init: RequestInit = {}): Promise<Response> {
  const url = `http://127.0.0.1:${PORTS.monitorHttp}/api/v1/${what}`;
  return fetch(url, { ...init, signal: AbortSignal.timeout(limitMs) });
}
