import { parseSession, type Session } from '../../failover/monitor/router/haproxy-socket';

/** All sessions on the PostgreSQL ports in an answer to `show sess`, also those that have ended. */
export function sessionsIn(answer: string): Session[] {
  return answer
    .split('\n')
    .map(parseSession)
    .filter((s): s is Session => s !== null && (s.backend === 'write' || s.backend === 'read'));
}
