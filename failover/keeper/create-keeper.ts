/** Builds a keeper. This is the only place that knows all of its parts. */
import type { KeeperConfig } from '../contract/inputs';
import type { MonitorAddress } from '../contract/messages';
import { DurableState } from './durable-state';
import { Keeper } from './keeper';
import { type LinkOptions, MonitorLink } from './monitor-link';
import type { Clock, DialledLink, Postgres, StateFile } from './ports';

/** What a keeper needs from outside. */
interface KeeperPorts {
  config: KeeperConfig;
  postgres: Postgres;
  clock: Clock;
  files: StateFile;
  /** Writes one line to the container's log; absent: nothing is logged. */
  log?(message: string): void;
  /** @default over TCP */
  connect?(options: LinkOptions): DialledLink;
}

/** Creates a keeper that has not started yet. */
export function createKeeper({ config, postgres, clock, files, log, connect }: KeeperPorts) {
  const { node, clusterKey } = config;
  const store = new DurableState(files);
  const dial = connect ?? ((options: LinkOptions) => new MonitorLink(options));
  const link = dial({ node, clusterKey, contacts: () => contactsOf(store.state.monitors, config.monitors) });
  const keeper = new Keeper({ node, postgres, clock, store, link, log });
  return {
    keeper,
    /** Closes the connection to the monitor, within the limit, ms. */
    close: (limitMs: number) => link.close(limitMs),
    /**
     * Loads the stored state, connects and runs until {@link Keeper.terminate}. `failed` is called with the reason if
     * the connection is given up.
     */
    async run(failed: (error: unknown) => void): Promise<void> {
      await keeper.load();
      const events = { connected: () => keeper.connected(), receive: keeper.receive.bind(keeper) };
      link.run({ ...events, log: log ?? (() => undefined) }).catch(failed);
      await keeper.run();
    },
  };
}

/** Returns the monitors of the stored list and then the configured first contacts, without duplicates. */
export function contactsOf(
  stored: readonly MonitorAddress[] | undefined,
  first: readonly MonitorAddress[],
): MonitorAddress[] {
  const all = [...(stored ?? []), ...first];
  return [...new Map(all.map((contact) => [`${contact.host}:${contact.port}`, contact])).values()];
}
