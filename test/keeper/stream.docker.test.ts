/**
 * Why a standby cannot stream from its leader, staged on real PostgreSQL servers in one container: each cause, and what
 * is none. Then two nodes with keepers: what makes no copy, and what a standby that is off costs its leader.
 */

import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { slotName } from '../../failover/contract/naming';
import { bundle } from '../../scripts/lib/staging';
import {
  alone,
  buildImage,
  docker,
  dockerQuietly,
  NodePair,
  psql,
  shell as shellOn,
  streamsFrom,
} from './node-containers';

const pair = new NodePair({ prefix: 'str', subnet: '10.211.6', port: 17_460 });
const { a: A, b: B, monitor, image: IMAGE } = pair;
const LAB = 'str-lab';

const shell = (line: string) => shellOn(LAB, line);
/** Waits until a container's log has it: lines come through two pipes. */
const logged = async (container: string, pattern: RegExp) => {
  await vi.waitFor(async () => {
    const { stdout, stderr } = await promisify(execFile)('docker', ['logs', container], {
      maxBuffer: 64 * 1024 * 1024,
    });
    expect(stdout + stderr).toMatch(pattern);
  }, 10_000);
};

interface Found {
  impossible?: string | null;
  stuck?: { position: string; timeline: number } | null;
  threw?: string;
}

/** Log is kept for those that come later. */
const KEEP = 'wal_keep_size = 256MB';
const NOTHING: Found = { impossible: null, stuck: null };

class LabServer {
  readonly port: number;
  private readonly data: string;
  private static ports = 5_500;

  constructor(readonly name: string) {
    this.port = LabServer.ports++;
    this.data = `/tmp/${name}/data`;
  }

  async initialise(): Promise<void> {
    await shell(`mkdir -p /tmp/${this.name}; initdb -D ${this.data} -U postgres --auth=trust --wal-segsize=1 -k -N >/dev/null
      cp ${this.data}/postgresql.conf /tmp/${this.name}/postgresql.conf`);
  }

  async copyOf(source: LabServer): Promise<void> {
    await shell(
      `mkdir -p /tmp/${this.name}; pg_basebackup -h 127.0.0.1 -p ${source.port} -U postgres -D ${this.data} -c fast -X stream`,
    );
  }

  /** Starts, as a standby unless it is the first of its kind. `name`: what it calls itself. */
  async start({
    leader,
    standby = true,
    name = this.name,
    more = '',
  }: {
    leader?: LabServer;
    standby?: boolean;
    name?: string;
    more?: string;
  } = {}) {
    const source =
      leader === undefined ? '' : `host=127.0.0.1 port=${leader.port} user=postgres application_name=${this.name}`;
    await shell(`cat > ${this.data}/postgresql.auto.conf <<'END'
port = ${this.port}
cluster_name = '${name}'
primary_conninfo = '${source}'
unix_socket_directories = '/tmp'
shared_buffers = 16MB
wal_keep_size = 0
max_wal_size = 2MB
min_wal_size = 2MB
checkpoint_timeout = 1h
wal_retrieve_retry_interval = 20ms
wal_recycle = off
hot_standby_feedback = on
fsync = off
${more}
END
${standby ? `touch ${this.data}/standby.signal` : ''}
pg_ctl -D ${this.data} -l /tmp/${this.name}/log -w start >/dev/null`);
  }

  async stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    await shell(`pg_ctl -D ${this.data} -m ${mode} -w stop >/dev/null`);
  }

  sql(text: string): Promise<string> {
    return shell(`psql -h 127.0.0.1 -p ${this.port} -U postgres -qAtc "${text}"`);
  }

  /** Points the running standby at another leader; null: at none. */
  async follow(leader: LabServer | null): Promise<void> {
    const source =
      leader === null ? '' : `host=127.0.0.1 port=${leader.port} user=postgres application_name=${this.name}`;
    await this.sql(`ALTER SYSTEM SET primary_conninfo = '${source}'`);
    await this.sql('SELECT pg_reload_conf()');
  }

  async promote(): Promise<void> {
    await this.sql('SELECT pg_promote()');
  }

  /** Writes about so many kilobytes of log. */
  async write(kilobytes: number, each = 1_000): Promise<string> {
    await this.sql(
      `SELECT count(pg_logical_emit_message(false, 'filler', repeat('x', ${each}))) FROM generate_series(1, ${kilobytes})`,
    );
    return this.sql('SELECT pg_current_wal_insert_lsn()');
  }

  /** Waits until it has applied all that `leader` has. */
  async levelWith(leader: LabServer): Promise<void> {
    const end = await leader.sql('SELECT pg_current_wal_flush_lsn()');
    await vi.waitFor(
      async () => expect(await this.sql(`SELECT pg_last_wal_replay_lsn() >= '${end}'`)).toBe('t'),
      10_000,
    );
  }

  /** Every answer within some seconds, at least one. */
  async askFor(seconds: number, leader: LabServer, name = leader.name): Promise<Found[]> {
    const line = `node /tmp/driver.mjs ${this.name} ${this.port} ${name} ${leader.port} ${seconds}`;
    return JSON.parse(await shell(line)) as Found[];
  }

  async ask(leader: LabServer, name = leader.name): Promise<Found> {
    return (await this.askFor(0, leader, name))[0] ?? {};
  }
}

beforeAll(async () => {
  await dockerQuietly('rm', '-f', '-v', LAB);
  await buildImage(IMAGE);
  const limits = ['--memory', '768m', '--shm-size', '256m'];
  await docker('run', '-d', '--init', '--name', LAB, ...limits, IMAGE, 'sleep', 'infinity');
  const folder = mkdtempSync(join(tmpdir(), 'stream-driver-'));
  try {
    const outfile = join(folder, 'driver.mjs');
    writeFileSync(outfile, await bundle('test/keeper/stream-driver.ts'));
    await docker('cp', outfile, `${LAB}:/tmp/driver.mjs`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

afterAll(async () => {
  if (process.env.KEEP_NODES !== undefined) return;
  await dockerQuietly('rm', '-f', '-v', LAB);
  await dockerQuietly('rmi', IMAGE);
});

describe('a standby and its leader', () => {
  const [p, s] = [new LabServer('p'), new LabServer('s')];

  beforeAll(async () => {
    await p.initialise();
    await p.start({ standby: false });
    await s.copyOf(p);
    await s.start({ leader: p });
    await p.write(500);
    await s.levelWith(p);
  });

  afterAll(async () => {
    await s.stop('immediate');
    await p.stop('immediate');
  });

  it('finds nothing in the way of one that streams, or is alone for a while', async () => {
    expect(await s.ask(p)).toEqual(NOTHING);
    await s.follow(null);
    expect(await s.ask(p)).toEqual(NOTHING);
    await p.write(300);
    expect(await s.ask(p)).toEqual(NOTHING);
  });

  it('takes no answer, another node at the address and a standby for no reason', async () => {
    expect(await s.ask(p, 'q')).toEqual(NOTHING);
    const t = new LabServer('t');
    expect((await s.ask(t)).threw).toMatch(/ECONNREFUSED/);
    await t.copyOf(p);
    await t.start({ leader: p });
    await p.write(10);
    await t.levelWith(p);
    await s.stop();
    await s.start({});
    expect(await s.ask(t)).toEqual(NOTHING);
    await t.stop('immediate');
  });

  it('names another system', async () => {
    const q = new LabServer('q');
    await q.initialise();
    await q.start({ standby: false });
    expect((await s.ask(q)).impossible).toMatch(
      /^q has another database \(system identifier \d+\) than this node \(\d+\)$/,
    );
    await q.stop('immediate');
  });

  it('says nothing while the leader is being promoted, and afterwards streams from it', async () => {
    const [a, b] = [new LabServer('ra'), new LabServer('rb')];
    for (const server of [a, b]) {
      await server.copyOf(p);
      await server.start({ leader: p, more: KEEP });
      await server.levelWith(p);
    }
    for (const server of [a, b]) await server.follow(null);
    await p.write(5);
    await p.sql('SELECT pg_switch_wal()');
    const asked = b.askFor(3, a);
    // The shell that looks is one itself.
    const running = 'grep -ls driver.mjs /proc/[0-9]*/cmdline | wc -l';
    await vi.waitFor(async () => expect(Number(await shell(running))).toBeGreaterThan(1), 10_000);
    await a.promote();
    const answers = await asked;
    expect(answers.length).toBeGreaterThan(20);
    for (const answer of answers) expect(answer).toEqual(NOTHING);
    await b.follow(a);
    await a.write(5);
    await b.levelWith(a);
    expect(await b.ask(a)).toEqual(NOTHING);
    for (const server of [a, b]) await server.stop('immediate');
  });

  it('names the log that is gone', async () => {
    for (let i = 0; i < 4; i++) {
      await p.write(1_000);
      await p.sql('CHECKPOINT');
    }
    expect((await s.ask(p)).impossible).toMatch(
      /^p has removed the write-ahead log from 0\/[0-9A-F]+00000 on timeline 1, which this data needs$/,
    );
  });
});

describe('two histories', () => {
  const [p, x, y, z, t] = ['hp', 'hx', 'hy', 'hz', 'ht'].map((name) => new LabServer(name)) as [
    LabServer,
    LabServer,
    LabServer,
    LabServer,
    LabServer,
  ];
  const all = [x, y, z, t];

  beforeAll(async () => {
    await p.initialise();
    await p.start({ standby: false, more: KEEP });
    for (const server of all) await server.copyOf(p);
    for (const server of all) await server.start({ leader: p, more: KEEP });
    await p.write(100);
    for (const server of all) await server.levelWith(p);
    // What only x and t get to know of.
    for (const server of [y, z]) await server.follow(null);
    await p.stop('immediate');
    await x.follow(null);
    await x.promote();
    await t.follow(x);
    await x.write(50);
    await t.levelWith(x);
    await t.follow(null);
  });

  afterAll(async () => {
    for (const server of [p, ...all]) await server.stop('immediate');
  });

  it('names a leader that is behind', async () => {
    await p.start({ standby: false, more: KEEP });
    expect((await t.ask(p)).impossible).toBe('hp is on timeline 1, which is behind timeline 2 of this data');
  });

  it('names where the leader left the timeline of one that went further', async () => {
    const late = new LabServer('late');
    await p.write(20);
    await late.copyOf(p);
    await late.start({ leader: p, more: KEEP });
    await late.levelWith(p);
    expect((await late.ask(x)).impossible).toMatch(
      /^the history of hx left timeline 1 at 0\/[0-9A-F]+, this data went on to 0\/[0-9A-F]+ on it$/,
    );
    await late.stop('immediate');
  });

  it('names a timeline that the leader does not know', async () => {
    // As if it had heard of that promotion, and followed another.
    await z.sql("ALTER SYSTEM SET recovery_target_timeline = 'current'");
    await z.stop();
    await shell('cp /tmp/hx/data/pg_wal/00000002.history /tmp/hz/data/pg_wal/');
    await z.start({ more: `${KEEP}\nrecovery_target_timeline = 'current'` });
    await z.promote();
    expect((await t.ask(z)).impossible).toBe('timeline 2 of this data is not in the history of hz (timeline 3)');
  });

  it('names one with the same number that is shorter, before and after it is the longer one', async () => {
    await y.promote();
    expect((await t.ask(y)).impossible).toMatch(
      /^hy is at 0\/[0-9A-F]+ on timeline 2, this data is ahead at 0\/[0-9A-F]+$/,
    );
    await y.write(400, 777);
    expect((await t.ask(y)).impossible).toMatch(
      /^the write-ahead log of this data differs from that of hy on timeline 2 from 0\/[0-9A-F]+ on: these are two histories with one number$/,
    );
  });

  it('finds it also when the receiver has overwritten what was here', async () => {
    await t.follow(y);
    const stands = async () => (await t.ask(y)).stuck ?? null;
    await vi.waitFor(async () => expect(await stands()).not.toBeNull(), 10_000);
    const [first, second] = [await stands(), await stands()];
    expect(second).toEqual(first);
    expect(second?.timeline).toBe(2);
    const length = Number(await t.sql("SELECT pg_last_wal_replay_lsn() - '0/0'"));
    expect(Number(second?.position)).toBe(length);
  });

  it('finds it by where the timeline began when the receiver has overwritten only the last file', async () => {
    const [u, v, w] = [new LabServer('hu'), new LabServer('hv'), new LabServer('hw')];
    for (const server of [u, v, w]) {
      await server.copyOf(x);
      await server.start({ leader: x, more: KEEP });
    }
    for (const server of [u, v, w]) await server.levelWith(x);
    for (const server of [u, v]) await server.follow(null);
    await u.promote();
    await v.promote();
    await w.follow(u);
    await u.write(3_000);
    await w.levelWith(u);
    await v.write(5_000, 777);
    await w.follow(v);
    await vi.waitFor(
      async () => expect(await w.sql('SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()')).toBe('t'),
      10_000,
    );
    expect((await w.ask(v)).impossible).toMatch(
      /^the write-ahead log of this data differs from that of hv on timeline 3/,
    );
    for (const server of [u, v, w]) await server.stop('immediate');
  });
});

describe('two nodes under a scripted monitor', () => {
  const copies = (node: string) => monitor.view(node).notes.filter((n) => n.startsWith('COPY_BEGUN')).length;

  beforeAll(async () => {
    await pair.start();
    monitor.order(B, 1, { kind: 'follow', leader: A, method: 'stream' });
    await monitor.until(B, streamsFrom(A), 'streams', 20_000);
  });

  afterAll(() => pair.remove());

  it('copy nothing for what stands in a log, be it a leader’s own or a client’s words', async () => {
    const dataIds = [A, B].map((name) => monitor.view(name).status?.dataId);
    const words = 'requested WAL segment x has already been removed';
    // The leader's own, about another: a walsender is asked for the segment before the first one, which no server has.
    // The connection stays until the answer is logged: a walsender whose client has left looks for no segment.
    const asking = spawn('docker', ['exec', '-i', A, 'psql', '-X', 'user=postgres replication=true'], {
      stdio: 'pipe',
    });
    asking.stdin.write('START_REPLICATION PHYSICAL 0/8000;\n');
    await logged(A, /ERROR: {2}requested WAL segment [0-9A-F]{24} has already been removed/);
    asking.stdin.end();
    // A client's, without a password, on both nodes.
    for (const name of [A, B]) {
      await expect(shellOn(name, `psql 'host=127.0.0.1 dbname=postgres' -U '${words}'`)).rejects.toThrow('pg_hba');
      await logged(name, new RegExp(words));
    }
    // The planned change: the leader stops, hands over and follows.
    await monitor.done(A, 2, { kind: 'stop' });
    await monitor.done(B, 2, { kind: 'lead', sync: alone(B) });
    monitor.order(A, 2, { kind: 'follow', leader: B, method: 'stream' });
    await monitor.until(A, streamsFrom(B), 'streams', 20_000);
    expect([A, B].map((name) => monitor.view(name).status?.dataId)).toEqual(dataIds);
    expect([copies(A), copies(B)]).toEqual([0, 1]);
  });

  it.each([
    ['is shut down', ['stop', '-t', '60']],
    ['is killed', ['kill']],
  ])(
    'a standby that %s keeps no dead rows on its leader after some seconds, and all of the log',
    async (_how, stop) => {
      const slot = () =>
        psql(
          B,
          `SELECT active, xmin IS NOT NULL, restart_lsn, wal_status FROM pg_replication_slots WHERE slot_name = '${slotName(A)}'`,
        );
      await psql(B, 'DROP TABLE IF EXISTS dead; CREATE TABLE dead AS SELECT generate_series(1, 1000) AS n');
      await vi.waitFor(async () => expect(await slot()).toMatch(/^t\|t\|/), 10_000);
      await docker(...stop, A);
      await monitor.wait(() => !monitor.view(A).connected, 'break', 60_000);
      await vi.waitFor(async () => expect(await slot()).toMatch(/^f\|t\|/), 10_000);
      const [, , restart] = (await slot()).split('|');
      await psql(B, 'UPDATE dead SET n = n + 1');
      const vacuum = () => shellOn(B, `psql -U postgres -c 'VACUUM VERBOSE dead' 2>&1`);
      expect(await vacuum()).toContain('1000 are dead but not yet removable');
      await vi.waitFor(async () => expect(await slot()).toMatch(/^f\|f\|/), { timeout: 20_000, interval: 50 });
      expect(await slot()).toBe(`f|f|${restart}|reserved`);
      expect(await vacuum()).toContain('1000 removed, 1000 remain, 0 are dead but not yet removable');
      await docker('start', A);
      await monitor.until(A, (s) => s.accepted !== null, 'back', 20_000);
      monitor.order(A, 2, { kind: 'follow', leader: B, method: 'stream' });
      await monitor.until(A, streamsFrom(B), 'streams', 20_000);
      await vi.waitFor(async () => expect(await slot()).toMatch(/^t\|t\|/), 10_000);
      expect(copies(A)).toBe(0);
    },
  );
});
