/** Distinguishes a status that reports an event from one in which only counters and times have grown. */

/**
 * Fields with positions, counters, ages and measured times. They change all the time, so their change alone is no
 * event.
 */
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
  'clientSlots',
  'archivedMs',
  'progress',
  'repository',
]);

/**
 * True when the two statuses differ only in growing fields. A value that appears or disappears (null) is a difference.
 */
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
