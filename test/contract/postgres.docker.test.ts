/** Two real PostgreSQL servers in one container, with the shipped configuration, against the contract. */
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REPLICATION_ROLE } from '../../failover/contract/naming';
import type { SqlView } from '../../failover/keeper/ports';
import { Canary } from '../../failover/keeper/postgres/canary';
import { conninfo, renderFailoverConf, renderPostgresqlConf } from '../../failover/keeper/postgres/config-files';
import { LED_TIMELINE, lookBySql } from '../../failover/keeper/postgres/look';
import { literal, Session } from '../../failover/keeper/postgres/session';
import { ensureSlots } from '../../failover/keeper/postgres/slots';
import { BOUNDED, CLASSED_NAMES, classOf } from '../../stack/postgres-classes';
import { SETTINGS } from '../keeper/fakes';
import { buildImage, docker, dockerQuietly } from '../keeper/node-containers';
import { waitFor } from '../rig/wait';
import { TIMEOUTS } from '../timeouts';
import { type Commit, type ContractNode, type Pair, POSTGRES_CONTRACT } from './postgres';

const IMAGE = 'contract-postgres:test';
const CONTAINER = 'contract-postgres';
const NETWORK = 'contract-postgres';
const ADDRESS = '10.98.10.20';
const LIMIT_MS = 5_000;
const MEMORY = 512 * 1024 * 1024;

/** Runs a shell line in the container as its user. */
const shell = (line: string) => docker('exec', CONTAINER, 'bash', '-c', line);

/** A shell command that writes a file. */
const file = (path: string, text: string) => `cat > ${path} <<'END'\n${text}\nEND\n`;

class RealNode implements ContractNode {
  readonly address = ADDRESS;
  private readonly data: string;
  private readonly conf: string;
  private session: Session | null = null;
  /** The stack's settings of PostgreSQL, from the next start or {@link tune} on. */
  private tuned: Readonly<Record<string, string>> = {};
  readonly canary: Canary;

  constructor(
    readonly name: string,
    readonly port: number,
  ) {
    this.data = `/tmp/${name}/data`;
    this.conf = `/tmp/${name}`;
    this.canary = new Canary({
      home: () => this.open({ synchronous_commit: 'on' }),
      common: () => this.sql(),
    });
  }

  open(settings?: Record<string, string>): Promise<Session> {
    const options = { host: ADDRESS, port: this.port, user: 'postgres', database: 'postgres', limitMs: LIMIT_MS };
    return Session.open({ ...options, applicationName: `${this.name}-contract`, settings });
  }

  private async sql(): Promise<Session> {
    if (this.session?.usable !== true) this.session = await this.open();
    return this.session;
  }

  async initialise(): Promise<void> {
    await shell(`set -e; mkdir -p ${this.conf}
      initdb -D ${this.data} -U postgres --auth=trust --wal-segsize=4 -k -N >/dev/null
      echo 'CREATE TABLE rows (n int)' | postgres --single -D ${this.data} postgres >/dev/null 2>&1`);
  }

  private failoverConf(upstream: ContractNode | null, syncNames: string): string {
    const source = upstream === null ? null : { name: upstream.name, address: ADDRESS };
    const port = upstream instanceof RealNode ? upstream.port : this.port;
    const place = { node: this.name, port, passfile: '/tmp/none' };
    const config = { settings: SETTINGS, upstream: source, syncNames };
    return renderFailoverConf(place, config).replaceAll('failover_replication', 'postgres');
  }

  private postgresqlConf(): string {
    return renderPostgresqlConf(this.name, { postgresSettings: this.tuned }, MEMORY);
  }

  /** Changes the stack's settings, which a reload puts in force. */
  async tune(settings: Readonly<Record<string, string>>): Promise<void> {
    this.tuned = settings;
    await shell(file(`${this.conf}/postgresql.conf`, this.postgresqlConf()));
    await (await this.sql()).query('SELECT pg_reload_conf()');
  }

  async start(upstream: ContractNode | null, syncNames = ''): Promise<void> {
    const { conf, data, port } = this;
    const hba = 'local all all trust\nhost all all all trust\nhost replication all all trust';
    const files = `-c config_file=${conf}/postgresql.conf -c hba_file=${conf}/pg_hba.conf -c port=${port}`;
    await shell(`${file(`${conf}/postgresql.conf`, this.postgresqlConf())}
${file(`${conf}/pg_hba.conf`, hba)}
${file(`${conf}/failover.conf`, this.failoverConf(upstream, syncNames))}
touch ${data}/standby.signal; rm -f ${data}/postmaster.pid
setsid postgres -D ${data} ${files} >>${conf}/log 2>&1 </dev/null &`);
  }

  async configure(upstream: ContractNode | null, syncNames: string): Promise<void> {
    const session = await this.sql();
    const lines = `string_to_array(${literal(this.failoverConf(upstream, syncNames))}, E'\\n')`;
    await session.query(`COPY (SELECT unnest(${lines})) TO '${this.conf}/failover.conf'`);
    await session.query('SELECT pg_reload_conf()');
  }

  async kill(): Promise<void> {
    this.session?.destroy();
    this.canary.drop();
    // All processes of this server: they work in its data directory.
    await shell(
      `for p in /proc/[0-9]*; do [ "$(readlink $p/cwd)" = ${this.data} ] && kill -9 \${p#/proc/}; done; true`,
    );
    const left = `find /proc/[0-9]* -maxdepth 1 -name cwd -lname ${this.data} 2>/dev/null`;
    await shell(`while [ -n "$(${left})" ]; do sleep 0.02; done`);
  }

  async copyFrom(source: ContractNode): Promise<void> {
    const port = source instanceof RealNode ? source.port : 0;
    const copy = `pg_basebackup -h ${ADDRESS} -p ${port} -U postgres -D ${this.data} -c fast -X stream`;
    await shell(`rm -rf ${this.data} && mkdir -p ${this.conf} && ${copy}`);
  }

  async promote(): Promise<number> {
    const session = await this.sql();
    await session.query('SELECT pg_promote(false)');
    const led = async () => (await session.query<{ timeline: number | null }>(LED_TIMELINE))[0]?.timeline;
    return waitFor('the promotion', 2 * LIMIT_MS, led, 5);
  }

  async look(): Promise<SqlView> {
    return (await lookBySql(await this.sql())).sql;
  }

  async shownNames(): Promise<string> {
    const session = await this.open();
    try {
      const shown = `SELECT current_setting('synchronous_standby_names') AS names`;
      return (await session.query<{ names: string }>(shown))[0]?.names ?? '';
    } finally {
      session.destroy();
    }
  }

  insert(row: number): Commit {
    const client = new Client({ host: ADDRESS, port: this.port, user: 'postgres', database: 'postgres' });
    client.on('error', () => undefined);
    let [warned, pid] = [false, 0];
    client.on('notice', (notice) => {
      if (notice.severity === 'WARNING') warned = true;
    });
    const work = async () => {
      await client.connect();
      try {
        pid = (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid ?? 0;
        await client.query('INSERT INTO rows VALUES ($1)', [row]);
        return { warned };
      } finally {
        await client.end();
      }
    };
    const done = work();
    let over = false;
    const end = () => {
      over = true;
    };
    done.then(end, end);
    const cancel = async () => {
      const session = await this.sql();
      const waiting = `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'SyncRep'`;
      while (!over && (await session.query(waiting, [pid])).length === 0) await delay(20);
    };
    return { done, cancel };
  }

  async rows(): Promise<number[]> {
    return (await (await this.sql()).query<{ n: number }>('SELECT n FROM public.rows')).map((r) => r.n);
  }

  async ensureSlots(nodes: readonly string[], renew: boolean): Promise<void> {
    await ensureSlots(await this.sql(), this.name, [...nodes], renew);
  }

  async slots(): Promise<string[]> {
    const text = 'SELECT slot_name AS name FROM pg_replication_slots ORDER BY 1';
    return (await (await this.sql()).query<{ name: string }>(text)).map((r) => r.name);
  }

  close(): void {
    this.session?.destroy();
    this.canary.drop();
  }
}

interface Setting {
  name: string;
  context: string;
  /** The value in the setting's own unit, and as SHOW has it. */
  setting: string;
  shown: string;
  unit: string | null;
}

/** All settings but those of extensions and of the keeper. */
async function settingsOf(node: RealNode): Promise<Setting[]> {
  using session = await node.open();
  return await session.query<Setting>(
    `SELECT lower(name) AS name, context, setting, current_setting(name) AS shown, unit FROM pg_settings
      WHERE name NOT LIKE '%.%'`,
  );
}

describe('the real PostgreSQL', () => {
  const [a, b] = [new RealNode('primary', 5432), new RealNode('replica_1', 5433)];
  const pair: Pair = { a, b, isModel: false };

  beforeAll(async () => {
    await dockerQuietly('rm', '-f', '-v', CONTAINER);
    await dockerQuietly('network', 'rm', NETWORK);
    await buildImage(IMAGE);
    await docker('network', 'create', '--subnet', '10.98.10.0/24', NETWORK);
    const run = ['run', '-d', '--init', '--name', CONTAINER, '--network', NETWORK, '--ip', ADDRESS];
    await docker(...run, '--memory', '512m', '--shm-size', '128m', IMAGE, 'sleep', 'infinity');
    await a.initialise();
  });

  afterAll(async () => {
    a.close();
    b.close();
    if (process.env.KEEP_NODES !== undefined) return;
    await dockerQuietly('rm', '-f', '-v', CONTAINER);
    await dockerQuietly('network', 'rm', NETWORK);
    await dockerQuietly('rmi', IMAGE);
  });

  it.each(Object.entries(POSTGRES_CONTRACT))('%s', (_name, holds) => holds(pair));

  it('streams to a standby and to the tools of a copy, also when it ends sessions that idle for 1 ms', async () => {
    // The last case of the contract leaves b with a history of its own under a's timeline number, which may end its
    // replay.
    await b.kill();
    await b.copyFrom(a);
    await a.tune({ idle_session_timeout: '1ms', statement_timeout: '1ms', lock_timeout: '1ms' });
    await b.start(a);
    const standby = async () =>
      (await a.look()).standbys.some(({ name, state }) => name === b.name && state === 'streaming');
    await waitFor('b streams', TIMEOUTS.rejoin, standby, 20);
    const { flushLsn } = await a.look();
    const connection = conninfo({ port: a.port, passfile: '/tmp/none' }, ADDRESS, 'copy');
    const receive = 'pg_receivewal -d "$connection" -D /tmp/received -S received';
    await shell(`set -e; connection="${connection.replaceAll(REPLICATION_ROLE, 'postgres')}"
      pg_basebackup -d "$connection" -D /tmp/copy -c fast -X none
      mkdir /tmp/received; ${receive} --create-slot; ${receive} --no-loop --endpos=${flushLsn}`);
    await a.tune({});
  });

  it('has no setting without a class, and no class is of a setting that it does not have', async () => {
    const settings = await settingsOf(a);
    expect(settings.map(({ name }) => name).sort()).toEqual(CLASSED_NAMES);
    const decided = settings.filter(({ context }) => context === 'internal').map(({ name }) => name);
    expect(decided.length).toBeGreaterThan(10);
    expect(decided.filter((name) => classOf(name)?.class !== 'owned')).toEqual([]);
  });

  it('counts bounded settings in the units that their limits name, and runs within the limits', async () => {
    const settings = await settingsOf(a);
    for (const { name, allowed, accepts } of BOUNDED) {
      const { setting = '', shown = '', unit = null } = settings.find((one) => one.name === name) ?? {};
      expect([name, /\(without a unit: in (\w+)\)$/.exec(allowed)?.[1] ?? null]).toEqual([name, unit]);
      // This container has less memory than a node may have, so it has fewer connections.
      const shipped = name === 'max_connections' ? [] : [setting, shown];
      expect(
        shipped.filter((value) => !accepts(value)),
        name,
      ).toEqual([]);
    }
  });
});
