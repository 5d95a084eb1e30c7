/** The leader of another cluster, which has got the address of one of this cluster's nodes (S14). */
import { STACK_SETTINGS } from './machine';
import { PostgresServer } from './postgres';
import { settingsOf } from './settings';
import { DataDir } from './wal';
import type { World } from './world';

const HOST = 'stranger';

export class Stranger {
  /** The host to which the address belongs. */
  private readonly host: string;
  private readonly server: PostgresServer;

  static isThere(world: World): boolean {
    return world.network.postgres.has(HOST);
  }

  constructor(
    private readonly world: World,
    private readonly address: string,
  ) {
    this.host = world.network.hostOf(address);
    const { network, engine } = world;
    // The connections of the node that had the address break.
    world.nodeAt(address)?.postgres?.endSessions();
    const settings = { ...STACK_SETTINGS, nodes: [], postgresSettings: {} };
    this.server = new PostgresServer({
      network,
      servers: network.postgres,
      node: HOST,
      data: new DataDir('1', [], [{ timeline: 1, start: 0 }]),
      disk: { slowness: 1 },
      config: settingsOf(HOST, { settings, upstream: null, syncNames: '' }),
      witness: { say: world.witness.say, nextId: world.witness.nextId },
    });
    network.postgres.set(HOST, this.server);
    network.hosts.set(address, HOST);
    const lead = () => {
      if (this.server.accepting) this.server.promote().catch((error: unknown) => world.fail(String(error)));
      else engine.after(20, this.server.process, lead);
    };
    lead();
  }

  /** Gives the address back to the node. */
  leave(): void {
    const { network } = this.world;
    if (network.hostOf(this.address) !== HOST) return;
    network.hosts.set(this.address, this.host);
    this.server.process.kill();
    network.postgres.delete(HOST);
  }
}
