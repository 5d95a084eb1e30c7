/** What a new leader does before its first backup. */
import { WAL_TIMELINE } from './look';
import type { OwnSessions } from './own-sessions';

/** Limit of the checkpoint, ms. */
const CHECKPOINT_LIMIT_MS = 300_000;

/**
 * Until the first checkpoint after a promotion, PostgreSQL's control file has the timeline from before. pgBackRest then
 * refuses a backup ("WAL timeline does not match pg_control timeline"), and that checkpoint may take minutes, because
 * PostgreSQL spreads it. So it is finished here first. Does nothing later in a leadership. Throws at the limit, or when
 * aborted.
 */
export async function settleTimeline(sessions: Pick<OwnSessions, 'home'>, abort: AbortSignal): Promise<void> {
  using session = await sessions.home(CHECKPOINT_LIMIT_MS, 0);
  abort.throwIfAborted();
  const end = () => session.destroy();
  abort.addEventListener('abort', end);
  try {
    const text = `SELECT timeline_id <> ${WAL_TIMELINE} AS old FROM pg_control_checkpoint()`;
    const [row] = await session.query<{ old: boolean }>(text);
    if (row?.old === true) await session.query('CHECKPOINT');
  } finally {
    abort.removeEventListener('abort', end);
  }
}
