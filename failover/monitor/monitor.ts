/** Builds the monitor for the process, the simulator and the tests alike. */
import { PORTS } from '../contract/layout';
import type { NodeSettings } from '../contract/messages';
import { Loop, type LoopPorts } from './loop';
import { KeeperServer, type KeeperServerOptions } from './nodes/keepers';
import { OpeningChecks } from './nodes/opening';
import type { Adapters, Events } from './ports';
import { Haproxy } from './router/haproxy';

/** What the monitor needs from the world, and the events that it reports. */
interface MonitorPorts extends LoopPorts {
  clusterKey: string;
  /** The settings that every keeper is sent, without the nodes. */
  settings: Omit<NodeSettings, 'nodes'>;
  /** Address at which the keepers connect. */
  listen: { address: string; port: number };
  /** The folder with HAProxy's sockets. */
  sockets: string;
  /** The quick connect to a PostgreSQL. @default probePostgres */
  probe?: KeeperServerOptions['probe'];
  /** Models that replace shipped adapters, for tests. */
  models?: (loop: Events) => Partial<Adapters>;
}

/** Builds a monitor on the stored state. Its keepers have to listen before it runs. */
export function createMonitor(ports: MonitorPorts): Loop {
  const { clock, log, store, clusterKey, sockets, listen, probe } = ports;
  return new Loop(ports, (loop, nodes) => ({
    keepers: new KeeperServer({
      ...{ ...listen, clusterKey, clock, log, probe, loop },
      settings: { ...ports.settings, nodes: [...nodes] },
      incarnation: store.incarnation,
      hangTimeoutMs: ports.policy.hangTimeoutMs,
    }),
    router: new Haproxy({ sockets, port: PORTS.postgres, addresses: nodes.map((n) => n.address), clock, log, loop }),
    opening: new OpeningChecks({ nodes, clusterKey, log, loop }),
    ...ports.models?.(loop),
  }));
}
