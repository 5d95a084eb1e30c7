/** The shipped HAProxy in a container, on a network of its own, with the servers that a test puts beside it. */
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IDS, PATHS } from '../../failover/contract/layout';
import { ask } from '../../failover/monitor/router/haproxy-socket';
import { buildImage, docker, dockerQuietly } from '../keeper/node-containers';
import { applyConfig } from './apply-config';

const ANSWER_LIMIT_MS = 1_000;

interface Server {
  readonly name: string;
  readonly address: string;
}

export class RealHaproxy implements Server {
  readonly name: string;
  readonly address: string;
  readonly image: string;
  readonly network: string;
  /** The folder of HAProxy's sockets, as the monitor has it. */
  sockets = '';
  private readonly beside = new Set<string>();

  /**
   * `prefix`: how the names of containers, image and network begin. `subnet`: the first three numbers of the addresses.
   */
  constructor(
    prefix: string,
    private readonly subnet: string,
  ) {
    [this.name, this.network] = [`${prefix}-haproxy`, `${prefix}-inner`];
    [this.address, this.image] = [`${subnet}.10`, `${prefix}-haproxy:test`];
  }

  /**
   * Makes the network, after it has removed what an earlier run left. `names`: containers that the test makes itself.
   */
  async createNetwork(names: readonly string[] = []): Promise<void> {
    for (const name of names) this.beside.add(name);
    await this.remove();
    await docker(
      ...['network', 'create', '--subnet', `${this.subnet}.0/24`, '--gateway', `${this.subnet}.1`, this.network],
    );
  }

  /** Starts HAProxy as the program does, without a configuration. */
  async start(): Promise<void> {
    await buildImage(this.image, {}, 'haproxy');
    this.sockets = mkdtempSync(join(tmpdir(), `${this.name}-sockets-`));
    // As the volume: what the monitor writes there belongs to the group that HAProxy has, too.
    chownSync(this.sockets, 0, IDS.sockets);
    chmodSync(this.sockets, 0o2777);
    const rights = ['--cap-drop', 'ALL', '--restart', 'always'];
    await this.run(this, ...rights, '-v', `${this.sockets}:${PATHS.haproxySockets}`, this.image);
  }

  /** Starts a container in the network. */
  async run({ name, address }: Server, ...rest: readonly string[]): Promise<void> {
    this.beside.add(name);
    await docker('run', '-d', '--init', '--network', this.network, '--name', name, '--ip', address, ...rest);
  }

  /** Starts a server that answers each connection with its name, and then with what it is sent. */
  async serve(server: Server): Promise<void> {
    await this.run(server, this.image, 'socat', 'TCP-LISTEN:5432,fork,reuseaddr', `SYSTEM:echo ${server.name}; cat`);
  }

  /** Resolves with what apply-config says. @throws Error with HAProxy's message when it refuses the configuration */
  apply(config: string): Promise<string> {
    return applyConfig(this.name, config);
  }

  /** Resolves with the answer of HAProxy's process. */
  admin(commands: string): Promise<string> {
    return ask(join(this.sockets, 'admin.sock'), commands, ANSWER_LIMIT_MS);
  }

  /** Resolves with the answer of the process that starts the others. */
  master(commands: string): Promise<string> {
    return ask(join(this.sockets, 'master.sock'), commands, ANSWER_LIMIT_MS);
  }

  /** Removes containers, network, image and sockets. */
  async remove(): Promise<void> {
    for (const name of [this.name, ...this.beside]) await dockerQuietly('rm', '-f', '-v', name);
    await dockerQuietly('network', 'rm', this.network);
    await dockerQuietly('rmi', this.image);
    if (this.sockets !== '') rmSync(this.sockets, { recursive: true, force: true });
  }
}
