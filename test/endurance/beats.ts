/**
 * Heartbeats as fast as PostgreSQL takes them, and the median of their times. Runs inside a node's container: the
 * keeper's own heartbeat, with its statement, sessions, looks and proofs, but with a clock that does not rest between
 * two beats.
 *
 *     node beats.mjs <node> <heartbeats side by side> <beats>
 */
import { systemClock } from '../../failover/keeper/clock';
import { BEAT_LOCK_MS, Heartbeat, provePostmaster } from '../../failover/keeper/postgres/heartbeat';
import { OwnSessions, SOCKET } from '../../failover/keeper/postgres/own-sessions';
import { TICK_MS } from '../../failover/keeper/postgres/own-time';
import { medianOf } from './figures';

const [NODE = '', SESSIONS, BEATS] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
/** Times of the beats, ms. */
const times: number[] = [];
const note = (ms: number) => times.push(ms);

const sessions = new OwnSessions(NODE);
const hearts = Array.from({ length: SESSIONS }, () => {
  let sinceMs = performance.now();
  const sleep = async (ms: number, signal?: AbortSignal): Promise<void> => {
    // The ticks during a beat take their time; only the rest between two beats is left out.
    if (ms === TICK_MS) return systemClock.sleep(ms, signal);
    note(performance.now() - sinceMs);
    await new Promise(setImmediate);
    sinceMs = performance.now();
  };
  return new Heartbeat(
    {
      open: (limitMs) => sessions.home(limitMs, BEAT_LOCK_MS),
      prove: (limitMs) => provePostmaster(SOCKET, limitMs),
      runs: () => true,
    },
    { nowMs: () => performance.now(), sleep },
  );
});
for (const heart of hearts) heart.start();
const watch = setInterval(() => {
  if (times.length < BEATS) return;
  clearInterval(watch);
  for (const heart of hearts) heart.stop();
  const { heapUsed, rss } = process.memoryUsage();
  const told = JSON.stringify({ beats: times.length, medianMs: medianOf(times), heapUsed, rss });
  process.stdout.write(`${told}\n`, () => process.exit(0));
}, 20);
