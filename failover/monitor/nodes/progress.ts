/** Tells a status that something has happened from one that only says that time goes on. */

/** Positions, counters, ages and measured times: they grow all the time, and nothing hangs on seeing them at once. */
const GROWS: ReadonlySet<string> = new Set([
  'n',
  'upMs',
  'lsn',
  'replayLsn',
  'flushLsn',
  'flushLagMs',
  'heartbeat',
  'heartbeatAgeMs',
  'heartbeatSeen',
  'heartbeatSeenAgeMs',
  'commitMs',
  'slots',
]);

/** True when the two differ in nothing but what grows. A value that comes or goes (null) is a difference. */
export function onlyAdvances(before: unknown, now: unknown): boolean {
  if (before === now) return true;
  if (!isObject(before) || !isObject(now) || Array.isArray(before) !== Array.isArray(now)) return false;
  return Object.keys({ ...before, ...now }).every((key) =>
    GROWS.has(key) ? (before[key] === null) === (now[key] === null) : onlyAdvances(before[key], now[key]),
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
