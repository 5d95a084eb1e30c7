import { beforeAll, describe, it } from 'vitest';
import { slotName } from '../../failover/contract/naming';
import type { ServerConfig, SqlView } from '../../failover/keeper/ports';
import { Process } from '../../simulator/engine';
import { type SimNode, SimPostgres } from '../../simulator/node';
import type { PostgresServer, Reply } from '../../simulator/postgres';
import { DataDir } from '../../simulator/wal';
import { World } from '../../simulator/world';
import { SETTINGS } from '../keeper/fakes';
import { type Commit, type ContractNode, type Pair, POSTGRES_CONTRACT } from './postgres';
import { inSimulation } from './simulated';

/** The model behind the keeper's port, without a keeper. */
class ModelNode implements ContractNode {
  readonly name: string;
  readonly address: string;
  private readonly process: Process;
  private postgres: SimPostgres;

  constructor(private readonly node: SimNode) {
    this.name = slotName(node.name);
    this.address = node.address;
    this.process = new Process(node.world.engine, `keeper of ${node.name}`, node.name);
    this.postgres = new SimPostgres(node, this.process);
    node.world.network.down.delete(node.name);
  }

  private config(upstream: ContractNode | null, syncNames: string): ServerConfig {
    const source = upstream === null ? null : { name: upstream.name, address: upstream.address };
    return { settings: SETTINGS, upstream: source, syncNames: syncNames.replaceAll('replica_1', 'replica-1') };
  }

  start(upstream: ContractNode | null, syncNames = ''): Promise<void> {
    this.node.volume.data ??= new DataDir('7000', [], [{ timeline: 1, start: 0 }]);
    this.postgres = new SimPostgres(this.node, this.process);
    return this.postgres.start(this.config(upstream, syncNames));
  }

  async configure(upstream: ContractNode | null, syncNames: string): Promise<void> {
    await this.postgres.configure(this.config(upstream, syncNames));
  }

  async kill(): Promise<void> {
    this.node.postgres?.process.kill();
    await this.node.world.engine.sleep(5, this.process);
  }

  async copyFrom(source: ContractNode): Promise<void> {
    const { network } = this.node.world;
    const data = network.postgres.get(network.hostOf(source.address))?.data;
    if (data === undefined) throw new Error('there is nothing to be copied');
    this.node.volume.data = data.copy();
  }

  promote(): Promise<number> {
    return this.postgres.promote(() => undefined, new AbortController().signal);
  }

  async look(): Promise<SqlView> {
    const { sql } = await this.postgres.observe();
    if (sql === null) throw new Error('it does not answer');
    return { ...sql, standbys: sql.standbys.map((s) => ({ ...s, name: slotName(s.name) })) };
  }

  private running(): PostgresServer {
    if (this.node.postgres === null) throw new Error('it does not run');
    return this.node.postgres;
  }

  async shownNames(): Promise<string> {
    return this.running().namesInForce;
  }

  insert(row: number): Commit {
    const session = this.running().open('client');
    if (session === null) throw new Error('no place');
    const done = new Promise<{ warned: boolean }>((resolve, reject) => {
      session.execute({ kind: 'row', row }, (reply: Reply) => {
        this.running().closeSession(session);
        if (!reply.ok) reject(Object.assign(new Error(reply.error), { code: reply.code }));
        else if (reply.kind === 'committed') resolve({ warned: reply.warned });
      });
    });
    return { done, cancel: async () => session.cancel() };
  }

  async rows(): Promise<number[]> {
    return [...this.running().table.rows];
  }

  async ensureSlots(nodes: readonly string[], renew: boolean): Promise<void> {
    await this.postgres.ensureSlots([...nodes], renew);
  }

  async slots(): Promise<string[]> {
    return [...(this.node.volume.data?.slots.keys() ?? [])];
  }

  get canary() {
    const { postgres } = this;
    return {
      start: () => postgres.startCanary(),
      waits: () => postgres.canaryWaits(),
      kick: () => postgres.kick(),
      waiters: () => postgres.syncWaiters(),
    };
  }
}

describe('the model of PostgreSQL', () => {
  let world: World;
  let pair: Pair;
  let process: Process;

  beforeAll(() => {
    world = new World({ seed: 3, replicas: 1, calm: true });
    const [a, b] = world.nodes;
    if (a === undefined || b === undefined) throw new Error('no nodes');
    pair = { a: new ModelNode(a), b: new ModelNode(b), isModel: true };
    process = new Process(world.engine, 'the test', 'client');
  });

  it.each(Object.entries(POSTGRES_CONTRACT))('%s', (_name, holds) =>
    inSimulation(world.engine, process, () => holds(pair)),
  );
});
