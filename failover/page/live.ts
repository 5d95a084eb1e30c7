/** Receives the monitor's server-sent events, and notices when the monitor does not answer. */
import type { z } from 'zod';
import type { ClusterStatus, Events, Failover, Failovers, History, LogEvent, Sample } from '../contract/api';

/** The monitor sends something at least every two seconds. */
const SILENT_MS = 6_000;
const RETRY_MS = 1_000;
const LIMIT_MS = 5_000;

interface Listener {
  cluster: (status: ClusterStatus) => void;
  /** Only new ones, oldest first. */
  events: (events: readonly LogEvent[]) => void;
  failovers: (all: readonly Failover[]) => void;
  failover: (one: Failover) => void;
  history: (samples: readonly Sample[]) => void;
  sample: (one: Sample) => void;
  /** Since when the monitor is away, ms since the epoch; null: it is there. */
  away: (sinceMs: number | null) => void;
}

/** Listens for good: it connects again, and asks for what it missed, until the page is closed. */
export function listen(listener: Listener): void {
  let source: EventSource | null = null;
  let heardMs = Date.now();
  let isAway = true;
  let newest: LogEvent | null = null;
  let connecting = false;

  const takeEvents = (events: readonly LogEvent[]) => {
    const after = newest?.id ?? 0;
    const fresh = events.filter((e) => e.id > after);
    newest = fresh.at(-1) ?? newest;
    listener.events(fresh);
  };
  const open = async () => {
    connecting = true;
    try {
      const { events } = await get<typeof Events>('events?limit=300');
      // A monitor that was restarted counts from 1 again: the number then belongs to another event, or to none yet.
      const { id, at } = newest ?? {};
      if (events.find((e) => e.id === id)?.at !== at) newest = null;
      takeEvents(events);
      listener.failovers((await get<typeof Failovers>('failovers')).failovers);
      listener.history((await get<typeof History>('history')).samples);
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
    const on = <T>(name: string, take: (value: T) => void) => {
      made.addEventListener(name, (event: MessageEvent<string>) => {
        heardMs = Date.now();
        if (isAway) listener.away(null);
        isAway = false;
        take(JSON.parse(event.data) as T);
      });
    };
    on('cluster', listener.cluster);
    on<LogEvent>('log', (event) => takeEvents([event]));
    on('failover', listener.failover);
    on('sample', listener.sample);
    // The browser does not connect again by itself: first the page has to ask for the events that it missed.
    made.onerror = () => {
      made.close();
      if (source === made) source = null;
      if (!isAway) listener.away(heardMs);
      isAway = true;
    };
    return made;
  };
  const watch = () => {
    if (source !== null && Date.now() - heardMs > SILENT_MS) source.dispatchEvent(new Event('error'));
    if (isAway) listener.away(heardMs);
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
