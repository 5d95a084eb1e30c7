/**
 * Heartbeats as fast as PostgreSQL takes them. Runs inside a node's container: the keeper's own heartbeat, with its
 * statement, sessions, looks and proofs, but with a clock that does not rest between two beats.
 *
 *     node beats.mjs <node> <heartbeats side by side> <beats>
 */
import { systemClock } from '../../failover/keeper/clock';
import { BEAT_LOCK_MS, Heartbeat, provePostmaster } from '../../failover/keeper/postgres/heartbeat';
import { OwnSessions, SOCKET } from '../../failover/keeper/postgres/own-sessions';
import { TICK_MS } from '../../failover/keeper/postgres/own-time';
import { medianOf } from './figures';

const [NODE = '', SESSIONS, BEATS] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
/** Beats at the beginning and the end whose times are compared. */
const COMPARED = 10_000;
/** A line is printed each so many beats. */
const TOLD_EVERY = 50_000;

/** Times of the first and the last beats, ms. */
const first: number[] = [];
const last: number[] = [];
let beats = 0;
const fromMs = performance.now();

function note(ms: number): void {
  beats += 1;
  if (first.length < COMPARED) first.push(ms);
  last.push(ms);
  if (last.length > 2 * COMPARED) last.splice(0, COMPARED);
  if (beats % TOLD_EVERY !== 0) return;
  const { heapUsed, rss } = process.memoryUsage();
  const seconds = (performance.now() - fromMs) / 1_000;
  process.stdout.write(`${JSON.stringify({ beats, heapUsed, rss, aSecond: Math.round(beats / seconds) })}\n`);
}

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
  if (beats < BEATS) return;
  clearInterval(watch);
  for (const heart of hearts) heart.stop();
  const end = { beats, firstMs: medianOf(first), lastMs: medianOf(last.slice(-COMPARED)) };
  process.stdout.write(`${JSON.stringify(end)}\n`, () => process.exit(0));
}, 20);
