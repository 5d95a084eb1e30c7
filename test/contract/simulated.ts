/** Runs a case of a contract inside a simulation, with simulated timers, sockets and random bytes. */
import { installBuiltins } from '../../simulator/builtins';
import { Engine, Process } from '../../simulator/engine';
import { Network } from '../../simulator/network';

const LIMIT_MS = 120_000;

export class Simulation {
  readonly engine = new Engine(11);
  readonly network = new Network(this.engine);
  readonly process: Process;

  constructor() {
    installBuiltins();
    this.network.hosts.set('127.0.0.1', 'here');
    this.process = new Process(this.engine, 'the test', 'here');
  }

  another(name: string): Process {
    return new Process(this.engine, name, 'here');
  }

  /** @throws Error of the work, or at the limit of simulated time */
  run<T>(work: () => Promise<T>, owner = this.process): Promise<T> {
    return inSimulation(this.engine, owner, work);
  }
}

export async function inSimulation<T>(engine: Engine, owner: Process, work: () => Promise<T>): Promise<T> {
  const results: ({ value: T } | { error: unknown })[] = [];
  engine.after(0, owner, () => {
    work().then(
      (value) => results.push({ value }),
      (error: unknown) => results.push({ error }),
    );
  });
  await engine.run(engine.nowMs + LIMIT_MS, () => results.length > 0);
  const [result] = results;
  if (result === undefined) throw new Error('the work did not end within two simulated minutes');
  if ('error' in result) throw result.error;
  return result.value;
}
