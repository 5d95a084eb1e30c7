/** Receives the monitor's server-sent events, and notices when the monitor does not answer. */
import type { z } from 'zod';
import type { ClusterStatus, Events, Failover, Failovers, History, LogEvent, Sample } from '../contract/api';

/** The monitor sends something at least every two seconds. */
const SILENT_MS = 6_000;
const RETRY_MS = 1_000;
const LIMIT_MS = 5_000;
const EVENTS_KEPT = 300;
/** Ten minutes. */
const SAMPLES_KEPT = 600;

/** All that the monitor has told; each list has the oldest first. */
export interface Seen {
  /** Null before the first message. */
  cluster: ClusterStatus | null;
  events: readonly LogEvent[];
  failovers: readonly Failover[];
  samples: readonly Sample[];
  /** Since when the monitor is away, ms since the epoch; null: it is there. */
  awaySinceMs: number | null;
}

export const NOTHING_SEEN: Seen = { cluster: null, events: [], failovers: [], samples: [], awaySinceMs: Date.now() };

/**
 * Listens for good: it connects again, and asks for what it missed, until the page is closed. `show` is called on every
 * news, and each second while the monitor is away.
 */
export function listen(show: (seen: Seen) => void): void {
  let seen = NOTHING_SEEN;
  let source: EventSource | null = null;
  let heardMs = Date.now();
  let newest: LogEvent | null = null;
  let connecting = false;

  const take = (news: Partial<Seen>) => {
    seen = { ...seen, ...news };
    show(seen);
  };
  const withEvents = (events: readonly LogEvent[]) => {
    const after = newest?.id ?? 0;
    const fresh = events.filter((e) => e.id > after);
    newest = fresh.at(-1) ?? newest;
    return { events: [...seen.events, ...fresh].slice(-EVENTS_KEPT) };
  };
  const open = async () => {
    connecting = true;
    try {
      const { events } = await get<typeof Events>(`events?limit=${EVENTS_KEPT}`);
      const { failovers } = await get<typeof Failovers>('failovers');
      const { samples } = await get<typeof History>('history');
      // A monitor that was restarted counts from 1 again: the number then belongs to another event, or to none yet.
      const { id, at } = newest ?? {};
      if (events.find((e) => e.id === id)?.at !== at) newest = null;
      take({ ...withEvents(events), failovers, samples: samples.slice(-SAMPLES_KEPT) });
      source?.close();
      // Silence counts from here: the messages before the outage are long ago.
      heardMs = Date.now();
      source = subscribe(`/api/v1/stream?after=${newest?.id ?? 0}`);
    } catch {
      // The watch below tries again.
    } finally {
      connecting = false;
    }
  };
  const subscribe = (url: string): EventSource => {
    const made = new EventSource(url);
    const on = <T>(name: string, newsOf: (value: T) => Partial<Seen>) => {
      made.addEventListener(name, (event: MessageEvent<string>) => {
        heardMs = Date.now();
        take({ awaySinceMs: null, ...newsOf(JSON.parse(event.data) as T) });
      });
    };
    on<ClusterStatus>('cluster', (cluster) => ({ cluster }));
    on<LogEvent>('log', (event) => withEvents([event]));
    on<Failover>('failover', (one) => ({
      failovers: [...seen.failovers.filter((f) => f.term !== one.term || f.node !== one.node), one],
    }));
    on<Sample>('sample', (one) => ({ samples: [...seen.samples, one].slice(-SAMPLES_KEPT) }));
    // The browser does not connect again by itself: first the page has to ask for the events that it missed.
    made.onerror = () => {
      made.close();
      if (source === made) source = null;
      take({ awaySinceMs: heardMs });
    };
    return made;
  };
  const watch = () => {
    if (source !== null && Date.now() - heardMs > SILENT_MS) source.dispatchEvent(new Event('error'));
    if (seen.awaySinceMs !== null) take({ awaySinceMs: heardMs });
    if (source === null && !connecting) open().catch(() => undefined);
  };
  watch();
  setInterval(watch, RETRY_MS);
}

async function get<S extends z.ZodType>(what: string): Promise<z.infer<S>> {
  const response = await fetch(`/api/v1/${what}`, { cache: 'no-store', signal: AbortSignal.timeout(LIMIT_MS) });
  if (!response.ok) throw new Error(`${what}: ${response.status}`);
  return (await response.json()) as z.infer<S>;
}
