import { describe, it } from 'vitest';
import { ask } from '../../failover/monitor/router/haproxy-socket';
import { HaproxyModel, type ProxySession } from '../../simulator/haproxy-model';
import { PostgresServer } from '../../simulator/postgres';
import { settingsOf } from '../../simulator/settings';
import { DataDir } from '../../simulator/wal';
import { SETTINGS } from '../keeper/fakes';
import { type ContractClient, HAPROXY_CONTRACT, type HaproxyUnderTest } from './haproxy';
import { Simulation } from './simulated';

const NODES = { a: '10.0.0.20', b: '10.0.0.21' };

function simulated(simulation: Simulation): HaproxyUnderTest {
  const { engine, network, process } = simulation;
  const haproxy = new HaproxyModel(engine, network);
  const nodes = Object.values(NODES).map((address) => {
    network.hosts.set(address, address);
    const server = new PostgresServer({
      network,
      servers: network.postgres,
      node: address,
      data: new DataDir('1', [], [{ timeline: 1, start: 0 }]),
      disk: { slowness: 1 },
      config: settingsOf(address, { settings: SETTINGS, upstream: null, syncNames: '' }),
    });
    network.postgres.set(address, server);
    return server;
  });
  const dial = (port: 'write' | 'read'): ContractClient => {
    let session: ProxySession | null = null;
    let [answered, ended] = [false, false];
    haproxy.connect(port, process, (opened) => {
      session = opened;
      if (opened === null) {
        ended = true;
        return;
      }
      answered = opened.backend !== null;
      opened.onConnected = () => {
        answered = true;
      };
      opened.onClosed = () => {
        ended = true;
      };
    });
    return {
      node: () => (answered ? (session?.server ?? null) : null),
      ended: () => ended,
      leave: () => session?.leave(),
    };
  };
  return {
    ...NODES,
    admin: (commands) => ask('/run/haproxy/admin.sock', commands, 1_000),
    master: (commands) => ask('/run/haproxy/master.sock', commands, 1_000),
    dial,
    reload: async () => haproxy.reload(),
    restart: async () => {
      haproxy.kill();
      await engine.sleep(1_500, process);
      haproxy.start();
    },
    hang: async (still) => {
      if (still) nodes[1]?.process.pause();
      else nodes[1]?.process.resume();
    },
  };
}

describe('the model of HAProxy', () => {
  it.each(Object.entries(HAPROXY_CONTRACT))('%s', async (_name, holds) => {
    const simulation = new Simulation();
    const haproxy = simulated(simulation);
    // Let the simulated nodes start.
    await simulation.engine.run(3_000);
    await simulation.run(() => holds(haproxy));
  });
});
