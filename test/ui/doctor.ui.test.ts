/**
 * Breaks one thing after another on a real stack. Doctor must name the cause and the next step. It must find nothing
 * before the breakage and after the mend. When the next step is a command, this command must mend the stack.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { exitCode } from '../../cli/doctor/command';
import type { Finding } from '../../cli/doctor/row';
import { run, runOk } from '../../scripts/lib/exec';
import { type Connection, connect, drop } from '../rig/client';
import { docker, sqlInside as sql } from '../rig/docker';
import { TIMEOUTS } from '../timeouts';
import { failover, found, HAPROXY, LEADER, MONITOR, obey, SEEN, STANDBY, stack, whole } from './lib/doctor-stack';

const { database: DATABASE, user: USER, password: PASSWORD, writePort: WRITE_PORT } = SEEN;
const say = (line: string) => console.log(line);

beforeAll(async () => {
  for (const [name, value] of Object.entries(stack.env)) vi.stubEnv(name, value);
  await stack.up(say);
});
afterAll(async () => {
  await stack.down(say);
  vi.unstubAllEnvs();
});

interface Breakage {
  code: string;
  /** The subject of doctor's finding. */
  about: string;
  /** 1: something does not work; 5: it works, and needs attention. */
  exit: 1 | 5;
  /** Pattern that the next step must match. */
  next: RegExp;
  stage: () => Promise<unknown>;
  /** Mends the stack. Without it the test runs the command that doctor names. */
  mend?: () => Promise<unknown>;
  /** Other codes that doctor may find at the same time. */
  also?: string[];
}

/** Doctor finds nothing; the stack is broken; doctor finds the cause; the stack is mended; doctor finds nothing. */
async function tried({ code, about, exit, next, stage, mend, also = [] }: Breakage): Promise<void> {
  await whole();
  let finding: Finding | undefined;
  try {
    await stage();
    const findings = await found(code, also);
    finding = findings.find((one) => one.code === code);
    expect(finding).toMatchObject({ about, next: expect.stringMatching(next) });
    expect(exitCode(findings)).toBe(exit);
  } finally {
    if (mend !== undefined) await mend();
    else if (finding !== undefined) await obey(finding);
  }
  await whole();
}

describe('containers', () => {
  it.each([
    ['HAProxy is stopped', 'HAPROXY_STOPPED', HAPROXY, 1, 'stop', 'start'],
    ['HAProxy is paused', 'HAPROXY_PAUSED', HAPROXY, 1, 'pause', 'unpause'],
    ['the monitor is dead', 'MONITOR_STOPPED', MONITOR, 5, 'kill', 'start'],
    ['the monitor is paused', 'MONITOR_PAUSED', MONITOR, 5, 'pause', 'unpause'],
    ['a node is paused', 'NODE_PAUSED', STANDBY, 5, 'pause', 'unpause'],
    ['a node is killed', 'NODE_STOPPED', STANDBY, 5, 'kill', 'start'],
  ] as const)('%s', (_what, code, about, exit, how, next) =>
    tried({ code, about, exit, next: new RegExp(`^docker ${next} ${about}$`), stage: () => docker(how, about) }),
  );

  it('the standby’s container was removed', () =>
    tried({
      ...{ code: 'NODE_MISSING', about: STANDBY, exit: 5, next: /^npm run up -- --stack uic --refresh$/ },
      stage: () => docker('rm', '--force', STANDBY),
    }));
});

describe('network and ports', () => {
  it('a node is cut off', () =>
    tried({
      ...{ code: 'NETWORK_CUT', about: STANDBY, exit: 5 },
      next: /^docker network connect --ip 10\.211\.3\.21 uic-postgres-failover-inner uic-postgres-replica-1$/,
      stage: () => docker('network', 'disconnect', 'uic-postgres-failover-inner', STANDBY),
    }));

  it('a published port is taken', async () => {
    let server: Server | null = null;
    await tried({
      ...{ code: 'PORT_TAKEN', about: `writePort ${WRITE_PORT}`, exit: 1 },
      next: /ss -ltnp 'sport = :23434'.*docker start uic-haproxy/,
      stage: async () => {
        await docker('stop', HAPROXY);
        server = await listen(WRITE_PORT);
        expect((await run('docker', ['start', HAPROXY], { deadlineMs: TIMEOUTS.docker })).code).not.toBe(0);
      },
      mend: async () => {
        server?.close();
        await docker('start', HAPROXY);
      },
    });
  });
});

function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

describe('connecting', () => {
  it('the role’s password differs from the stack’s config', () =>
    tried({
      ...{ code: 'PASSWORD_WRONG', about: 'password', exit: 1 },
      next: /failover -- psql uic-postgres-primary, then \\password/,
      stage: () => sql(LEADER, `ALTER ROLE ${USER} PASSWORD 'another one'`),
      mend: () => sql(LEADER, `ALTER ROLE ${USER} PASSWORD '${PASSWORD}'`),
    }));

  it('the password in the password file is wrong', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'doctor-'));
    const file = join(folder, 'pgpass');
    await tried({
      ...{ code: 'PASSFILE_WRONG', about: file, exit: 5, next: /Correct the line/ },
      stage: async () => {
        writeFileSync(file, `localhost:${WRITE_PORT}:${DATABASE}:${USER}:old\n`, { mode: 0o600 });
        vi.stubEnv('PGPASSFILE', file);
      },
      mend: async () => writeFileSync(file, `localhost:${WRITE_PORT}:*:${USER}:${PASSWORD}\n`),
    });
    vi.stubEnv('PGPASSFILE', undefined);
    rmSync(folder, { recursive: true });
  });

  it('the leader is read-only', () =>
    tried({
      ...{ code: 'READ_ONLY', about: LEADER, exit: 1, next: /ALTER DATABASE … RESET default_transaction_read_only/ },
      stage: () => sql(LEADER, `ALTER DATABASE ${DATABASE} SET default_transaction_read_only = on`),
      mend: () => sql(LEADER, `ALTER DATABASE ${DATABASE} RESET default_transaction_read_only`),
    }));

  it('all connections are in use', async () => {
    const held: Connection[] = [];
    await tried({
      ...{ code: 'CONNECTIONS_EXHAUSTED', about: HAPROXY, exit: 1, next: /pg_stat_activity.*max_connections/ },
      stage: async () => {
        const limit = Number(await sql(LEADER, 'SHOW max_connections'));
        const take = async () => void held.push(await connect(SEEN, WRITE_PORT));
        // The connections above PostgreSQL's limit wait in HAProxy's queue until they time out.
        await Promise.allSettled(Array.from({ length: limit }, take));
      },
      mend: async () => {
        for (const { client } of held) drop(client);
      },
    });
  });
});

describe('nodes', () => {
  it('a disk is full', async () => {
    const folder = await docker('volume', 'inspect', '--format', '{{.Mountpoint}}', `${STANDBY}-data`);
    await tried({
      ...{ code: 'DISK_FULL', about: STANDBY, exit: 1, next: /docker system df/ },
      also: ['NODE_FAILED', 'POSTGRES_CRASHED', 'STREAM_IMPOSSIBLE', 'NOT_STREAMING', 'NOT_COUNTED'],
      stage: () => smallDisk(folder),
      mend: () => bigDisk(folder),
    });
  });

  it('a replication slot was dropped', () =>
    tried({
      ...{ code: 'SLOT_MISSING', about: STANDBY, exit: 5, next: /^docker restart uic-postgres-replica-1$/ },
      stage: () => sql(STANDBY, `SELECT pg_drop_replication_slot('uic_postgres_primary')`),
    }));

  it('commits of a database do not wait for a standby', () =>
    tried({
      ...{ code: 'SYNC_COMMIT_LOWERED', about: `database ${DATABASE}`, exit: 5 },
      next: new RegExp(`ALTER DATABASE "${DATABASE}" RESET synchronous_commit$`),
      stage: () => sql(LEADER, `ALTER DATABASE ${DATABASE} SET synchronous_commit = local`),
      mend: () => sql(LEADER, `ALTER DATABASE "${DATABASE}" RESET synchronous_commit`),
    }));

  it('replay is paused', () =>
    tried({
      ...{ code: 'REPLAY_PAUSED', about: STANDBY, exit: 5, next: /SELECT pg_wal_replay_resume\(\)$/ },
      stage: () => sql(STANDBY, 'SELECT pg_wal_replay_pause()'),
      mend: () => sql(STANDBY, 'SELECT pg_wal_replay_resume()'),
    }));

  it('a standby was promoted by hand', () =>
    tried({
      ...{ code: 'PROMOTED_BY_HAND', about: STANDBY, exit: 5, next: /makes it a standby again by itself/ },
      also: ['SLOT_MISSING'],
      stage: () => sql(STANDBY, 'SELECT pg_promote(false)'),
      mend: async () => {},
    }));
});

function host(command: string, ...args: string[]): Promise<unknown> {
  return runOk(command, args, { deadlineMs: TIMEOUTS.dockerStop });
}

/** Moves the node's data to a file system in memory and fills that completely. */
async function smallDisk(folder: string): Promise<void> {
  await docker('stop', STANDBY);
  const aside = mkdtempSync(join(tmpdir(), 'disk-'));
  const used = Number((await runOk('du', ['-sm', folder], { deadlineMs: TIMEOUTS.docker })).stdout.split('\t')[0]);
  await host('mount', '-t', 'tmpfs', '-o', `size=${used + 80}m`, 'tmpfs', aside);
  await host('cp', '-a', `${folder}/.`, aside);
  await host('chown', '--reference', folder, aside);
  await host('chmod', '--reference', folder, aside);
  await host('mount', '--move', aside, folder).catch(() => host('mount', '--bind', aside, folder));
  await docker('start', STANDBY);
  await run('dd', ['if=/dev/zero', `of=${folder}/filler`, 'bs=64k'], { deadlineMs: TIMEOUTS.docker });
}

/** Frees the space, and moves the node's data back to its own volume. */
async function bigDisk(folder: string): Promise<void> {
  rmSync(`${folder}/filler`, { force: true });
  await whole();
  await docker('stop', STANDBY);
  const aside = mkdtempSync(join(tmpdir(), 'disk-'));
  await host('cp', '-a', `${folder}/.`, aside);
  await host('umount', folder);
  await host('sh', '-c', `find '${folder}' -mindepth 1 -delete && cp -a '${aside}/.' '${folder}'`);
  rmSync(aside, { recursive: true });
  await docker('start', STANDBY);
}

describe('modes that a person may have forgotten', () => {
  it('automatic failover is paused', () =>
    tried({
      ...{ code: 'PAUSED', about: stack.name, exit: 5, next: /^npm run failover -- resume$/ },
      stage: async () => {
        const { code } = await failover('pause', '--reason', 'trying doctor', '--for', '10m', '--yes');
        expect(code).toBe(0);
      },
    }));

  it('the monitor only observes', () =>
    tried({
      ...{ code: 'OBSERVE', about: stack.name, exit: 5, next: /failoverMode automatic/ },
      stage: () => mode('observe'),
      mend: () => mode('automatic'),
    }));
});

function mode(failoverMode: string): Promise<void> {
  stack.configure({ failoverMode });
  return stack.up(say);
}

describe('the command', () => {
  it('reports its findings by exit code, as JSON and as text', async () => {
    await whole();
    expect(await failover('doctor', '--json')).toMatchObject({ code: 0 });
    await docker('stop', HAPROXY);
    const json = await failover('doctor', '--json');
    const text = await failover('doctor');
    await docker('start', HAPROXY);
    expect(json.code).toBe(1);
    expect(JSON.parse(json.stdout).findings).toEqual([expect.objectContaining({ code: 'HAPROXY_STOPPED' })]);
    expect(text.stdout).toContain('✗ uic-haproxy is stopped');
    expect(text.stdout).toContain('→ docker start uic-haproxy');
    await whole();
  });

  it.each([
    ['status', 0],
    ['status --json', 0],
    ['events -n 5', 0],
    ['switchover --dry-run', 0],
    ['psql -- -c SELECT', 0],
    ['rebuild nobody --yes', 1],
  ])('%s ends with %i', async (args, code) => {
    const [command = '', ...rest] = args.split(' ');
    expect((await failover(command, ...rest)).code).toBe(code);
  });
});
