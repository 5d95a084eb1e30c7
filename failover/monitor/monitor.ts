/** Builds the monitor for the process, the simulator and the tests alike. */
import { budgetFor } from '../contract/budget';
import { Loop } from './loop';
import { KeeperServer } from './nodes/keepers';
import { OpeningChecks } from './nodes/opening';
import { PoolerServer } from './pooler/server';
import { type MonitorPorts, NO_POOLER } from './ports';
import { Haproxy } from './router/haproxy';

/** Builds a monitor that begins with the stored state. Call `parts.keepers.listen()` before `run()`. */
export function createMonitor(ports: MonitorPorts): Loop {
  return new Loop(ports, (loop, nodes) => ({
    keepers: new KeeperServer(ports, nodes, loop),
    router: new Haproxy(ports, nodes, loop, budgetFor(ports.settings.postgresSettings)),
    opening: new OpeningChecks(ports, nodes, loop),
    pooler: ports.pooler === undefined ? NO_POOLER : new PoolerServer(ports, ports.pooler, loop),
    ...ports.models?.(loop),
  }));
}
