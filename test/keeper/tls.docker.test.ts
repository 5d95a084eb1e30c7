/**
 * TLS with clients on two real nodes, seen by libpq: `verify-full` and direct negotiation, renewals under load, a
 * failover, and certificates that cannot be used.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Authority, authorityOf, LIFE_MS } from '../../failover/contract/certificates';
import type { TlsSettings } from '../../failover/contract/messages';
import { seal } from '../../failover/contract/seal';
import { shownCertificate } from '../rig/shown-certificate';
import { docker, dockerQuietly, NodePair } from './node-containers';

const SUBNET = '10.211.79';
const pair = new NodePair({ prefix: 'tls', subnet: SUBNET, port: 17_494 });
const { a: A, b: B, monitor, address } = pair;
/** It has HAProxy's address, from which clients come. */
const CLIENT = 'tls-client';
const LIMIT_MS = 30_000;

let ca: Authority;
let issued = 0;
let term = 1;

/** A new certificate of the stack, valid now. */
function next(): { certificate: string; key: string } {
  issued += 1;
  return ca.issue({ names: Object.values(address), atMs: Date.now(), lifeMs: LIFE_MS + issued * 1_000 });
}

function settle(tls: TlsSettings): void {
  monitor.settle({ ...pair.settings, haproxyAddress: `${SUBNET}.10`, tls });
}

function hand(mode: TlsSettings['mode'], { certificate, key }: { certificate: string; key: string }): void {
  settle({ mode, certificate, key: seal(pair.clusterKey, key) });
}

/** What a client in HAProxy's place gets for a statement. */
function psql(node: string, options: string, sql = 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()') {
  const login = `host=${address[node]} user=app dbname=app password=secret connect_timeout=5`;
  return docker('exec', CLIENT, 'psql', '-XAtqw', `${login} ${options}`, '-c', sql);
}
const VERIFIED = 'sslmode=verify-full sslrootcert=/tmp/ca.pem';

/** Tells B to lead alone, in a new term. */
function order(): number {
  term += 1;
  return monitor.order(B, term, { kind: 'lead', sync: { leader: B, k: 0, members: [] } });
}

async function leads(): Promise<void> {
  const seq = order();
  await monitor.until(B, (status) => status.accepted?.seq === seq && status.done, 'the lead', LIMIT_MS);
}

/** PostgreSQL and keeper of B begin anew. */
async function restart(): Promise<void> {
  await docker('kill', B);
  await monitor.wait(() => !monitor.view(B).connected, 'the end of the keeper of B', LIMIT_MS);
  await docker('start', B);
  await monitor.until(B, ({ postgres }) => postgres.state === 'stopped', 'the keeper of B', LIMIT_MS);
}

/** The certificate that a node shows. */
const shown = (node: string): Promise<string> => shownCertificate(address[node] ?? '', 5432);

/** Hands out a new certificate, and waits until each of the nodes shows it. */
async function renew(nodes: readonly string[]): Promise<void> {
  const before = await Promise.all(nodes.map(shown));
  hand('on', next());
  await vi.waitFor(async () => {
    const now = await Promise.all(nodes.map(shown));
    expect(now.filter((serial) => before.includes(serial))).toEqual([]);
    expect(new Set(now).size).toBe(1);
  }, LIMIT_MS);
}

async function copyIn(path: string, text: string): Promise<void> {
  await docker('exec', CLIENT, 'sh', '-c', `printf %s '${text}' > ${path}`);
}

beforeAll(async () => {
  ca = await authorityOf('s'.repeat(48));
  await dockerQuietly('rm', '-f', CLIENT);
  await pair.start();
  await docker(
    ...['run', '-d', '--init', '--name', CLIENT, '--network', 'tls-inner', '--ip', `${SUBNET}.10`],
    ...['--entrypoint', 'sleep', pair.image, 'infinity'],
  );
  await copyIn('/tmp/ca.pem', ca.certificate());
  await copyIn('/tmp/other.pem', (await authorityOf('o'.repeat(48))).certificate());
  hand('on', next());
  await vi.waitFor(() => shown(A), LIMIT_MS);
  await vi.waitFor(() => shown(B), LIMIT_MS);
});

afterAll(async () => {
  await dockerQuietly('rm', '-f', CLIENT);
  await pair.remove();
});

describe('a client', () => {
  it('gets in with every way of TLS, and without it', async () => {
    expect(await psql(A, VERIFIED)).toBe('t');
    expect(await psql(A, `${VERIFIED} sslnegotiation=direct`)).toBe('t');
    expect(await psql(A, `${VERIFIED} channel_binding=require`)).toBe('t');
    expect(await psql(B, VERIFIED)).toBe('t');
    expect(await psql(A, 'sslmode=prefer')).toBe('t');
    expect(await psql(A, 'sslmode=disable')).toBe('f');
  });

  it('that trusts another authority, or means another host, does not', async () => {
    await expect(psql(A, 'sslmode=verify-full sslrootcert=/tmp/other.pem')).rejects.toThrow(
      /certificate verify failed/,
    );
    const other = `hostaddr=${address[A]} ${VERIFIED}`;
    await expect(
      docker('exec', CLIENT, 'psql', '-XAtqw', `host=db.example.com user=app dbname=app ${other}`),
    ).rejects.toThrow(/does not match host name/);
  });

  it('without TLS is refused where it is required', async () => {
    const pairNow = next();
    hand('require', pairNow);
    await vi.waitFor(
      () => expect(psql(A, 'sslmode=disable')).rejects.toThrow(/pg_hba.conf rejects connection .* no encryption/),
      LIMIT_MS,
    );
    expect(await psql(A, VERIFIED)).toBe('t');
    hand('on', pairNow);
    await vi.waitFor(async () => expect(await psql(A, 'sslmode=disable')).toBe('f'), LIMIT_MS);
  });
});

describe('a renewal', () => {
  it('ends no session and refuses no connect, under load', async () => {
    const bench = (...more: string[]) =>
      docker(
        ...[
          'exec',
          '-e',
          `PGSSLMODE=verify-full`,
          '-e',
          'PGSSLROOTCERT=/tmp/ca.pem',
          '-e',
          'PGPASSWORD=secret',
          CLIENT,
        ],
        ...[
          'sh',
          '-c',
          `echo 'SELECT 1' | "$(pg_config --bindir 2>/dev/null || echo /usr/lib/postgresql/17/bin)"/pgbench -n -f - ${more.join(' ')} -h ${address[A]} -U app app 2>&1`,
        ],
      );
    const running = Promise.all([bench('-C', '-c', '2', '-T', '8'), bench('-c', '4', '-R', '200', '-T', '8')]);
    for (let i = 0; i < 5; i += 1) await renew([A, B]);
    for (const said of await running) {
      expect(said).toMatch(/number of failed transactions: 0 /);
      expect(said).not.toMatch(/aborted|error/i);
    }
  });
});

describe('a failover', () => {
  it('needs no new certificate: the next leader shows the same one, and renews it', async () => {
    const [before, other] = await Promise.all([shown(A), shown(B)]);
    expect(other).toBe(before);
    await docker('kill', A);
    await leads();
    expect(await shown(B)).toBe(before);
    expect(await psql(B, VERIFIED, 'SELECT pg_is_in_recovery()')).toBe('f');
    await renew([B]);
    expect(await psql(B, `${VERIFIED} sslnegotiation=direct`)).toBe('t');
  });
});

describe('a certificate that cannot be used', () => {
  it('is refused by the keeper, and the node goes on with the last good one, also after a restart', async () => {
    const before = await shown(B);
    hand('on', { certificate: next().certificate, key: next().key });
    await vi.waitFor(
      () => expect(monitor.view(B).notes.join('\n')).toMatch(/POSTGRES_WARNING .*the key does not fit/),
      LIMIT_MS,
    );
    expect(await shown(B)).toBe(before);
    settle({ mode: 'on' });
    await restart();
    await leads();
    expect(await shown(B)).toBe(before);
    expect(await psql(B, VERIFIED)).toBe('t');
  });

  it('that only PostgreSQL refuses does not keep the node from starting', async () => {
    // PostgreSQL wants a key that nobody else can read (manual, "Secure TCP/IP Connections with SSL").
    await docker('exec', B, 'sh', '-c', 'chmod 0644 /var/lib/postgresql/conf/tls/*/server.key');
    await restart();
    order();
    await vi.waitFor(() => expect(monitor.view(B).notes.join()).toMatch(/has group or world access/), LIMIT_MS);
    // The monitor gives a leader that ended a new order.
    await leads();
    expect(await psql(B, 'sslmode=disable')).toBe('f');
    // The next certificate turns TLS on again.
    hand('on', next());
    await vi.waitFor(() => shown(B), LIMIT_MS);
    expect(await psql(B, VERIFIED)).toBe('t');
  });
});
