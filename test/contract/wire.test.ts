import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { describe, it } from 'vitest';
import { systemClock } from '../../failover/keeper/clock';
import { simClock } from '../../simulator/node';
import { FakeClock } from '../keeper/fakes';
import { Simulation } from './simulated';
import { CLOCK_CONTRACT, type Doomed, NETWORK_CONTRACT } from './wire';

describe('a clock', () => {
  it.each(Object.entries(CLOCK_CONTRACT))('(the real one) %s', (_name, holds) => holds(systemClock));

  it.each(Object.entries(CLOCK_CONTRACT))('(the simulated one) %s', async (_name, holds) => {
    const simulation = new Simulation();
    await simulation.run(() => holds(simClock(simulation.process)));
  });

  it.each(Object.entries(CLOCK_CONTRACT).slice(0, 1))('(the tests’ one) %s', (_name, holds) => holds(new FakeClock()));
});

const child: Doomed = (port) => {
  const process_ = spawn(process.execPath, [
    '-e',
    `require('node:net').connect(${port}, '127.0.0.1', function () { this.write('here'); })`,
  ]);
  return { kill: () => process_.kill('SIGKILL') };
};

describe('TCP', () => {
  it.each(Object.entries(NETWORK_CONTRACT))('(real) %s', (_name, holds) => holds(child));

  it.each(Object.entries(NETWORK_CONTRACT))('(simulated) %s', async (_name, holds) => {
    const simulation = new Simulation();
    const doomed: Doomed = (port) => {
      const other = simulation.another('a doomed process');
      simulation.engine.after(1, other, () => {
        const socket = connect({ host: '127.0.0.1', port });
        socket.on('connect', () => socket.write('here'));
      });
      return other;
    };
    await simulation.run(() => holds(doomed));
  });
});
