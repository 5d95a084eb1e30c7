/**
 * The keepers' port of the monitor: what a program without the cluster key can write into failover.log, and which
 * settings a keeper gets.
 */
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatLine, type Level } from '../../failover/contract/log-line';
import { PROTOCOL_VERSION } from '../../failover/contract/messages';
import { proof } from '../../failover/contract/proof';
import { KeeperServer } from '../../failover/monitor/nodes/keepers';
import { status as statusOf } from '../core/world';
import { waitFor } from '../rig/wait';

const KEY = 'k'.repeat(40);
const NAME = 'p\n2026-11-24T21:55:22.123+00:00 INFO  a  OPENED  \x1b[2K';

interface Line {
  subject: string;
  code: string;
  message: string;
  line: string;
}
let lines: Line[] = [];
let nowMs = 0;
let server: KeeperServer;

beforeEach(async () => {
  lines = [];
  nowMs = 0;
  const ports = {
    listen: { address: '127.0.0.1', port: 0 },
    clusterKey: KEY,
    settings: {
      haproxyAddress: '10.0.0.10',
      monitorAddress: '10.0.0.11',
      subnet: '10.0.0.0/24',
      databaseName: 'app',
      databaseUser: 'app',
      databasePassword: 'pass-phrase',
      databaseVerifier: 'SCRAM-SHA-256$…',
      postgresSettings: {},
    },
    store: { incarnation: 1 },
    policy: { hangTimeoutMs: 2_000 },
    clock: { nowMs: () => nowMs },
    log: {
      write: (level: Level, subject: string, code: string, message: string) =>
        lines.push({ subject, code, message, line: formatLine(new Date(0), level, subject, code, message) }),
    },
  };
  const loop = { wake: () => undefined, advanced: () => undefined, outranked: () => undefined };
  server = new KeeperServer(ports, [{ name: 'p', address: '10.0.0.20' }], loop);
  await server.listen();
});
afterEach(() => server.close());

/**
 * Connects as a keeper of `node`. Resolves with the settings that the monitor sends, or with undefined when the monitor
 * closes the connection.
 */
async function hello(node: string, key: string, more: object = {}): Promise<unknown> {
  const socket = connect(server.port(), '127.0.0.1');
  const frames = createInterface({ input: socket })[Symbol.asyncIterator]();
  const next = async () => JSON.parse((await frames.next()).value ?? 'null');
  const { nonce } = await next();
  const own = 'c'.repeat(64);
  const mac = proof(key, 'keeper', nonce, own, node);
  socket.write(`${JSON.stringify({ type: 'hello', version: PROTOCOL_VERSION, node, nonce: own, mac, ...more })}\n`);
  for (;;) {
    const frame = await next();
    if (frame !== null && frame.type !== 'settings') continue;
    socket.destroy();
    return frame?.settings;
  }
}

describe('a keeper that is refused', () => {
  it('is logged under the monitor’s name, with its own name in quotes', async () => {
    await hello(NAME, 'w'.repeat(40));
    expect(lines).toMatchObject([{ subject: 'monitor', code: 'KEY_WRONG' }]);
    expect(lines[0]?.message).toBe(
      `a keeper at 127.0.0.1 that calls itself ${JSON.stringify(NAME)} has a wrong cluster key and was refused`,
    );
  });

  it('cannot forge a log line or send control characters to a terminal', async () => {
    await hello(NAME, 'w'.repeat(40));
    await hello(NAME, KEY);
    expect(lines.map(({ code }) => code)).toEqual(['KEY_WRONG', 'NODE_UNKNOWN']);
    for (const { line } of lines) expect(line).not.toMatch(/[\p{Cc}\u2028]/u);
  });

  it('is logged once a minute', async () => {
    await hello(NAME, 'w'.repeat(40));
    await hello('another', 'w'.repeat(40));
    expect(lines).toHaveLength(1);
    nowMs = 60_000;
    await hello('another', 'w'.repeat(40));
    expect(lines).toHaveLength(2);
  });
});

describe('a keeper that is proven', () => {
  it('gets the verifier of the database owner and not the password', async () => {
    const settings = await hello('p', KEY, { takesVerifier: true });
    expect(settings).toMatchObject({ databaseUser: 'app', databaseVerifier: 'SCRAM-SHA-256$…' });
    expect(settings).not.toHaveProperty('databasePassword');
  });

  it('gets the certificate of the time at which it connects', async () => {
    expect(await hello('p', KEY)).not.toHaveProperty('tls');
    const tls = { mode: 'on', certificate: 'PEM', key: 'sealed' } as const;
    server.encrypt(tls);
    expect(await hello('p', KEY)).toMatchObject({ databaseUser: 'app', tls });
  });

  it('of 0.1.0 gets the password, which it needs', async () => {
    expect(await hello('p', KEY)).toMatchObject({ databaseUser: 'app', databasePassword: 'pass-phrase' });
  });
});

describe('the node that archives', () => {
  /** A connected keeper that has answered the first ping. */
  async function keeper() {
    const socket = connect(server.port(), '127.0.0.1');
    const frames = createInterface({ input: socket })[Symbol.asyncIterator]();
    const next = async () => JSON.parse((await frames.next()).value ?? 'null');
    const send = (frame: object) => socket.write(`${JSON.stringify(frame)}\n`);
    const { nonce } = await next();
    const own = 'c'.repeat(64);
    const mac = proof(KEY, 'keeper', nonce, own, 'p');
    send({ type: 'hello', version: PROTOCOL_VERSION, node: 'p', nonce: own, mac });
    let n = 0;
    const ping = async () => {
      server.ping(++n);
      for (;;) {
        const frame = await next();
        if (frame.type === 'ping') return frame;
      }
    };
    const answer = async () => {
      send({ type: 'pong', n });
      await waitFor('the answer is read', 2_000, () => server.views(nowMs).p?.heardAtMs === nowMs, 1);
    };
    /** Sends a status with this archive. */
    const report = async (archive: object, backup?: object, s3?: object) => {
      const { status } = server.views(nowMs).p ?? {};
      send({ ...statusOf('p'), n: (status?.n ?? 0) + 1, archive, backup, s3 });
      await waitFor('the status is read', 2_000, () => server.views(nowMs).p?.status !== status, 1);
    };
    while ((await next()).type !== 'settings');
    nowMs = 1;
    await ping();
    nowMs = 2;
    await answer();
    return { ping, answer, report, end: () => socket.destroy() };
  }

  it('hears so in its pings, with the newest answer that the monitor has', async () => {
    const { ping, answer, end } = await keeper();
    server.archive({ node: 'p', term: 4 });
    expect(await ping()).toEqual({ type: 'ping', n: 2, archive: { term: 4, heard: 1 } });
    expect(await ping()).toEqual({ type: 'ping', n: 3, archive: { term: 4, heard: 1 } });
    nowMs = 3;
    await answer();
    expect(await ping()).toEqual({ type: 'ping', n: 4, archive: { term: 4, heard: 3 } });
    server.backup({ id: 'one', kind: 'full' });
    expect(await ping()).toMatchObject({ n: 5, backup: { id: 'one', kind: 'full' } });
    server.archive(null);
    expect(await ping()).toEqual({ type: 'ping', n: 6 });
    end();
  });

  it('is told up to where the repository has all, and on which timeline, also by the node that archived last', async () => {
    const { ping, report, end } = await keeper();
    server.archive({ node: 'p', term: 4 });
    await report({ open: true, waiting: 0, waitingBytes: 0, archivedTo: '0/300000', timeline: 2 });
    expect(await ping()).toMatchObject({ archivedTo: '0/300000', archivedTimeline: 2 });
    const gaps = [{ from: '000000010000000000000001', to: '000000010000000000000002' }];
    await report({ open: true, waiting: 0, waitingBytes: 0, archivedTo: '0/400000', timeline: 2, gaps });
    await report({ open: true, waiting: 0, waitingBytes: 0, archivedTo: null });
    server.archive({ node: 'a', term: 5 });
    const archived = { archivedTo: '0/400000', archivedTimeline: 2, archivedGaps: gaps };
    expect(await ping()).toEqual({ type: 'ping', n: 3, ...archived });
    end();
  });

  it('is told the same of the backups in S3, with gaps of their own', async () => {
    const { ping, report, end } = await keeper();
    server.archive({ node: 'p', term: 4 });
    server.backup({ id: 'two', kind: 'full' }, 's3');
    const archive = { open: true, waiting: 0, waitingBytes: 0, archivedTo: '0/300000', timeline: 2 };
    const gaps = [{ from: '000000010000000000000001', to: '000000010000000000000002' }];
    await report(archive, undefined, { place: 'x', archive: { ...archive, archivedTo: '0/100000', gaps } });
    const { archivedGaps, s3 } = await ping();
    expect(archivedGaps).toBeUndefined();
    expect(s3).toEqual({
      ...{ place: 'x', archivedTo: '0/100000', archivedTimeline: 2, archivedGaps: gaps },
      backup: { id: 'two', kind: 'full' },
    });
    end();
  });

  it('says what the repository holds once, and the monitor keeps it', async () => {
    const { report, end } = await keeper();
    const archive = { open: true, waiting: 0, waitingBytes: 0, archivedTo: '0/300000' };
    const view = { job: null, last: null, archivedMs: null, version: 1 };
    const repository = { backups: [], leftOut: 0, freeBytes: 7 };
    await report(archive, { ...view, repository });
    await report(archive, view);
    expect(server.views(nowMs).p).toMatchObject({ repository });
    server.forget(nowMs);
    expect(server.views(nowMs).p).toMatchObject({ status: null, repository });
    end();
  });

  it('is told which restore a person confirmed', async () => {
    const { ping, end } = await keeper();
    server.removeKept('r1');
    expect(await ping()).toEqual({ type: 'ping', n: 2, confirmed: 'r1' });
    server.removeKept(undefined);
    expect(await ping()).toEqual({ type: 'ping', n: 3 });
    end();
  });

  it('hears nothing of it while another one archives, or after a stall of the monitor', async () => {
    const { ping, answer, end } = await keeper();
    server.archive({ node: 'a', term: 4 });
    expect(await ping()).toEqual({ type: 'ping', n: 2 });
    server.archive({ node: 'p', term: 4 });
    nowMs = 5;
    server.forget(nowMs);
    expect(await ping()).toEqual({ type: 'ping', n: 3 });
    nowMs = 6;
    await answer();
    // What the monitor decided before the stall may be out of date; the next decision counts.
    expect(await ping()).toEqual({ type: 'ping', n: 4 });
    server.archive({ node: 'p', term: 4 });
    expect(await ping()).toEqual({ type: 'ping', n: 5, archive: { term: 4, heard: 3 } });
    end();
  });
});
