/** Promotes the running server and waits until it is a primary. */
import { type FSWatcher, watch } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { KeeperError } from '../ports';
import { LED_TIMELINE } from './look';
import type { OwnSessions } from './own-sessions';
import type { Postmaster } from './postmaster';
import type { Session } from './session';
import { timelineOfHistory } from './timelines';

/** A promotion hangs when replay has not moved for this time, ms. The amount that is left to replay does not matter. */
const PROMOTE_LIMIT_MS = 60_000;
/** Interval at which a promotion that has to replay first reports its progress, ms. */
const PROMOTE_TELL_MS = 5_000;
const PROMOTE_LOOK_MS = 25;
const PROMOTE_SOON_MS = 1;
const STAND_LOOK_MS = 5;
const MB = 1024 * 1024;

interface PromotionParts {
  data: string;
  postmaster: Postmaster;
  sessions: OwnSessions;
  /** Called when the server was told to lead: no other node's settings bind it from then on. */
  told(): void;
  /** Called now and then with the progress. */
  tell(text: string): void;
  /** Once it is aborted, the promotion is not waited for any more. */
  signal: AbortSignal;
}

/**
 * Resolves with the timeline on which the server leads. Throws PROMOTION_HANGS, and soon after the signal is aborted.
 */
export async function promote(parts: PromotionParts): Promise<number> {
  const { data, postmaster, sessions, told } = parts;
  using history = watchForHistory(join(data, 'pg_wal'));
  const session = postmaster.blind ? await promoteBlind(parts) : await sessions.common();
  if (postmaster.blind) postmaster.blind = false;
  else await session.query('SELECT pg_promote(false)');
  told();
  return await untilLed(session, history.seen, parts);
}

/** Waits until the server leads. `soon` is aborted when the promotion is about to finish. */
async function untilLed(session: Session, soon: AbortSignal, { tell, signal }: PromotionParts): Promise<number> {
  type Led = { timeline: number | null; replay: string | null; behind: number | null };
  let replay: string | null = null;
  let movedMs = performance.now();
  let toldMs = movedMs;
  for (;;) {
    const led = await session.askOne<Led>('led', LED_TIMELINE);
    const nowMs = performance.now();
    if (led.timeline !== null) return led.timeline;
    if (signal.aborted) throw new Error('the promotion is not waited for any more: there is another order');
    if (led.replay !== replay) {
      replay = led.replay;
      movedMs = nowMs;
    }
    if (nowMs - movedMs > PROMOTE_LIMIT_MS) {
      throw new KeeperError('PROMOTION_HANGS', `not promoted: replay has stood at ${replay} for a minute`);
    }
    if (nowMs - toldMs > PROMOTE_TELL_MS) {
      toldMs = nowMs;
      const left = led.behind === null ? 'more is left' : `${Math.ceil(led.behind / MB)} MB are left`;
      tell(`the write-ahead log that is here is replayed before the promotion: at ${replay}, ${left}`);
    }
    // A new history file shows that the promotion is about to finish. Frequent questions before that would slow the
    // promotion down.
    if (soon.aborted) await delay(PROMOTE_SOON_MS);
    else await delay(PROMOTE_LOOK_MS, undefined, { signal: soon }).catch(() => undefined);
  }
}

/**
 * Does what `pg_ctl promote` does, for a server that accepts sessions only after its promotion. Resolves with its first
 * session.
 */
async function promoteBlind({ data, postmaster, sessions, signal }: PromotionParts): Promise<Session> {
  const goesOn = (sinceMs: number) =>
    !postmaster.isGone && !signal.aborted && performance.now() - sinceMs < PROMOTE_LIMIT_MS;
  // Earlier, the postmaster would remove the promotion's file or not know the signal. The startup process carries out
  // the promotion, and it writes the control file when recovery begins.
  const begunMs = performance.now();
  while (!postmaster.recovered && goesOn(begunMs)) await delay(STAND_LOOK_MS);
  let workedMs = performance.now();
  while (goesOn(workedMs)) {
    await writeFile(join(data, 'promote'), '');
    postmaster.signal('SIGUSR1');
    await delay(PROMOTE_LOOK_MS);
    const session = await sessions.home().catch(() => null);
    if (session !== null) {
      sessions.use(session);
      return session;
    }
    if ((await postmaster.stillMs()) === 0) workedMs = performance.now();
  }
  throw new KeeperError('PROMOTION_HANGS', 'PostgreSQL was not promoted');
}

/**
 * Aborts `seen` when a history file appears in the folder: a promotion writes that of its timeline some milliseconds
 * before it accepts writes. It never does if the kernel has no inotify watch left.
 */
function watchForHistory(folder: string): Disposable & { seen: AbortSignal } {
  const seen = new AbortController();
  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(folder, (_event, name) => {
      if (name !== null && timelineOfHistory(name) !== null) seen.abort();
    });
    watcher.on('error', () => undefined);
  } catch {
    // No watch is left. The promotion is then seen a little later.
  }
  return { seen: seen.signal, [Symbol.dispose]: () => watcher?.close() };
}
