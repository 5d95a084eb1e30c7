/** Builds the monitor for the process, the simulator and the tests alike. */
import { budgetFor } from '../contract/budget';
import { Loop } from './loop';
import { KeeperServer } from './nodes/keepers';
import { OpeningChecks } from './nodes/opening';
import type { MonitorPorts } from './ports';
import { Haproxy } from './router/haproxy';

/** Builds a monitor that begins with the stored state. Call `parts.keepers.listen()` before `run()`. */
export function createMonitor(ports: MonitorPorts): Loop {
  return new Loop(ports, (loop, nodes) => ({
    keepers: new KeeperServer(ports, nodes, loop),
    router: new Haproxy(ports, nodes, loop, budgetFor(ports.settings.postgresSettings)),
    opening: new OpeningChecks(ports, nodes, loop),
    ...ports.models?.(loop),
  }));
}
