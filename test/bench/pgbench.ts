/** Runs `pgbench` of the node image in a container of its own, and reads its report (PostgreSQL manual, pgbench). */
import { docker, dockerWithin } from '../rig/docker';
import type { Stack } from '../rig/stack';
import { median, quantile } from './statistics';

/** Time beside the measured one: connects, and the report. */
const EXTRA_LIMIT_MS = 60_000;
/** Where the container has the certificate of the stack's authority. */
const CA = '/tmp/ca.pem';

/** How `pgbench` reaches the database. */
export interface Way {
  readonly host: string;
  readonly port: number;
  readonly sslmode: 'disable' | 'require' | 'verify-full';
}

/** What `pgbench` does. */
export interface Work {
  readonly clients: number;
  /** Each transaction has a connection of its own (`-C`). */
  readonly connects: boolean;
  readonly seconds: number;
}

/** What `pgbench` says of one run. */
export interface Figures {
  /** Transactions a second; with `connects` as many connections. */
  readonly rate: number;
  /** Latency of a transaction without its connect, ms. */
  readonly p50: number;
  readonly p99: number;
  /** Mean time of a connect, ms; null without `connects`. */
  readonly connectMs: number | null;
}

export class Pgbench {
  constructor(
    private readonly name: string,
    private readonly stack: Pick<Stack, 'user' | 'password' | 'database'>,
  ) {}

  /**
   * Starts the container in the network of another one. The nodes admit clients from HAProxy's address only, so
   * `pgbench` has that address, whichever way it takes.
   */
  async start(image: string, networkOf: string, ca: string): Promise<void> {
    process.env.PGPASSWORD = this.stack.password;
    const login = ['--env', 'PGPASSWORD', '--network', `container:${networkOf}`];
    await docker('run', '-d', '--init', '--name', this.name, ...login, '--entrypoint', 'sleep', image, 'infinity');
    await docker('exec', this.name, 'sh', '-c', `printf '%s' "$1" > ${CA}`, 'sh', ca);
  }

  /** Makes pgbench's tables. */
  async fill(way: Way, scale: number): Promise<void> {
    await docker('exec', this.name, 'pgbench', '-i', '-q', '-s', String(scale), this.login(way));
  }

  async run(way: Way, work: Work): Promise<Figures> {
    const { clients, connects, seconds } = work;
    const load = ['-n', '-S', '-c', clients, '-j', Math.min(2, clients), '-T', seconds, '-l', '--log-prefix=/tmp/each'];
    const kind = connects ? '-C' : '--protocol=prepared';
    // The third column of pgbench's log is the transaction's latency in microseconds.
    const script = 'rm -f /tmp/each.* && pgbench "$@" && cut -d " " -f 3 /tmp/each.*';
    const args = ['exec', this.name, 'sh', '-c', script, 'sh', ...load.map(String), kind, this.login(way)];
    return figuresOf(await dockerWithin(seconds * 1_000 + EXTRA_LIMIT_MS, ...args), connects);
  }

  private login({ host, port, sslmode }: Way): string {
    const { user, database } = this.stack;
    const root = sslmode === 'verify-full' ? ` sslrootcert=${CA}` : '';
    return `host=${host} port=${port} user=${user} dbname=${database} sslmode=${sslmode}${root} connect_timeout=10`;
  }
}

/** Reads pgbench's report and the latencies that follow it. @throws Error when a figure is missing. */
export function figuresOf(output: string, connects: boolean): Figures {
  const lines = output.split('\n');
  const number = (pattern: RegExp) => {
    const found = lines.map((line) => pattern.exec(line)?.[1]).find((text) => text !== undefined);
    if (found === undefined) throw new Error(`pgbench's report has no ${pattern.source}: ${output.slice(0, 2_000)}`);
    return Number(found);
  };
  if (number(/^number of failed transactions: (\d+)/) > 0)
    throw new Error(`transactions failed: ${output.slice(0, 2_000)}`);
  const latencies = lines.filter((line) => /^\d+$/.test(line)).map((line) => Number(line) / 1_000);
  return {
    rate: number(/^tps = ([\d.]+)/),
    p50: median(latencies),
    p99: quantile(latencies, 0.99),
    connectMs: connects ? number(/^average connection time = ([\d.]+) ms/) : null,
  };
}
