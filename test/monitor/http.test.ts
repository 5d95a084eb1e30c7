import { once } from 'node:events';
import { connect } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { describe, expect, it, vi } from 'vitest';
import { missing, refused } from '../../cli/wait-serving';
import { Answer, Bodies, ClusterStatus, Events, Failovers, History } from '../../failover/contract/api';
import { authorityOf } from '../../failover/contract/certificates';
import { decide } from '../../failover/core/decide';
import { Situation } from '../../failover/core/facts/situation';
import type { Request } from '../../failover/core/state/observation';
import { Feed } from '../../failover/monitor/outside/feed';
import { type HttpParts, httpApp, listenHttp, listenHttps } from '../../failover/monitor/outside/http';
import { LISTENERS_MAX, QUEUE_BYTES_MAX } from '../../failover/monitor/outside/listeners';
import { AT_ONCE, PER_SECOND, WAITING_MAX } from '../../failover/monitor/outside/load';
import { clusterStatus, Sampler } from '../../failover/monitor/outside/status-view';
import { gone, leaderView, NOW_MS, observation, POLICY, replicaView, serving } from '../core/world';

function statusOf(seen: ReturnType<typeof observation>, state = serving(['a'])) {
  const decision = decide(state, seen, NOW_MS, POLICY);
  const shown = { ...seen, haproxy: { ...seen.haproxy, read: ['10.0.0.21'] } };
  return clusterStatus(new Situation(decision.state, shown, NOW_MS, POLICY), {
    stack: 'dev',
    version: '1.2.3',
    decision,
    lastFailover: null,
    wallMs: Date.parse('2026-11-24T22:00:00Z'),
  });
}
const state = serving(['a']);
const well = observation([leaderView(state), replicaView(state, 'a')]);

describe('GET /api/v1/cluster', () => {
  it.each([
    [undefined, 'REWIND_FAILED: no room'],
    [1, 'REWIND_FAILED: no room'],
    [3, 'REWIND_FAILED: no room (attempt 3)'],
  ])('shows a failure, from the second attempt on with its number: %s', (tries, text) => {
    const failure = { code: 'REWIND_FAILED' as const, message: 'no room', ...(tries === undefined ? {} : { tries }) };
    const { nodes } = statusOf(observation([leaderView(state), replicaView(state, 'a', { done: false, failure })]));
    expect(nodes[1]?.failure).toBe(text);
  });

  it('shows which node leads, which are counted, and where HAProxy sends clients', () => {
    expect(statusOf(well)).toMatchObject({
      serving: true,
      code: 'STEADY',
      leader: 'p',
      nodes: [
        { name: 'p', role: 'leader', state: 'primary', since: '2026-11-24T21:59:00.000Z', done: true },
        { name: 'a', role: 'standby', sync: 'counted', lagBytes: 0, order: 'follow p (stream)' },
      ],
      haproxy: { reachable: true, write: 'p', read: ['a'], unreached: [] },
      sync: { waitsFor: 1, members: ['a'], changing: false },
    });
  });

  it('does not call a cluster "serving" when its slot is closed or its leader is off', () => {
    const closed = { ...well.haproxy, slot: null, closed: true };
    expect(statusOf({ ...well, haproxy: closed }).serving).toBe(false);
    expect(statusOf(observation([gone('p', { probe: null }), replicaView(state, 'a')])).serving).toBe(false);
  });
});

describe('figures of a node', () => {
  const lead = {
    commitMs: 1.2,
    heartbeatAgeMs: 40,
    syncInForce: state.joint[0] ?? null,
    standbys: [
      { name: 'a', state: 'streaming', syncState: 'quorum', flushLsn: '0/5000', replayLsn: '0/5000', flushLagMs: 0.8 },
    ],
  };
  const slots = [{ name: 'p', active: false, walStatus: 'reserved', retainedBytes: 16 }];
  const behind = replicaView(state, 'a', { postgres: { replayLsn: '0/4000', heartbeatSeenAgeMs: 1_260 } }, { slots });
  const seen = observation([leaderView(state, { lead }), behind]);

  it('are its lag in bytes and seconds, its replication slots, and what the leader reports of it', () => {
    expect(statusOf(seen).nodes[1]).toMatchObject({ lagBytes: 4096, lagSeconds: 1.3, slots, syncState: 'quorum' });
    expect(statusOf(seen).nodes[0]).toMatchObject({ lagBytes: null, lagSeconds: null, syncState: null });
    expect(statusOf(well).nodes[1]).toMatchObject({ lagBytes: 0, lagSeconds: 0, slots: [] });
  });

  it('are on a report replica that it is one, and the age of its oldest reader, for which VACUUM keeps rows', () => {
    const two = serving(['a']);
    const views = [leaderView(two), replicaView(two, 'a'), replicaView(two, 'b', { postgres: { oldReadMs: 90_040 } })];
    const s = new Situation(two, observation(views), NOW_MS, { ...POLICY, reportReplicas: 1 });
    const input = { decision: { reason: '', code: 'STEADY', rule: 'steady' }, stack: 's', version: 'v' } as const;
    const { nodes } = clusterStatus(s, { ...input, lastFailover: null, wallMs: 0 });
    expect(nodes.map(({ reports, oldReadSeconds }) => [reports, oldReadSeconds])).toEqual([
      [false, null],
      [false, null],
      [true, 90],
    ]);
  });

  it('are sampled with the time of a commit, which includes the standbys that it waits for', () => {
    const sampler = new Sampler();
    const at = (now: typeof seen, atMs: number) => {
      return new Situation(decide(state, now, NOW_MS, POLICY).state, now, atMs, POLICY);
    };
    const sample = (now = seen, atMs = NOW_MS) => sampler.sample(at(now, atMs), 0);
    expect(sample().writeMs).toBeNull();
    sampler.note(at(seen, NOW_MS));
    expect(sample()).toEqual({ at: '1970-01-01T00:00:00.000Z', writeMs: 2, lagBytes: { a: 4096 } });
    // PostgreSQL shows no lag while nothing changes. The last value stays valid for a while.
    const quiet = observation([leaderView(state, { lead: { ...lead, standbys: [] } }), behind]);
    sampler.note(at(quiet, NOW_MS + 1_000));
    expect(sample(quiet, NOW_MS + 1_000).writeMs).toBe(2);
    expect(sample(quiet, NOW_MS + 2_500).writeMs).toBeNull();
    const stopped = observation([gone('p'), gone('a')]);
    expect(sample(stopped)).toMatchObject({ writeMs: null, lagBytes: {} });
  });
});

describe('wait-serving', () => {
  it('ends when the leader is open and every node has carried out its order', () => {
    expect(missing(statusOf(well))).toBeNull();
  });

  it('names the node that it waits for', () => {
    expect(missing(statusOf(observation([leaderView(state), gone('a')])))).toContain('a is off');
    const busy = replicaView(state, 'a', { done: false, postgres: { state: 'copying' } });
    expect(missing(statusOf(observation([leaderView(state), busy])))).toContain('a is copying (follow p (stream))');
  });
});

describe('settings that need a restart', () => {
  const settingsOf = (restart: 'none' | 'needed', refusedWords: string | null = null) => ({
    settings: { restart, pending: restart === 'none' ? [] : ['max_connections'], refused: refusedWords },
  });
  const seenWith = (part: ReturnType<typeof settingsOf> | { settings: null }) =>
    statusOf({ ...well, nodes: { ...well.nodes, a: replicaView(state, 'a', part) } });

  it('keep wait-serving waiting for every node, except for one whose keeper does not report settings', () => {
    expect(missing(seenWith(settingsOf('none')))).toBeNull();
    expect(missing(seenWith(settingsOf('needed')))).toContain('a still has to restart for max_connections');
    expect(missing(seenWith({ settings: null }))).toContain('a reads its settings');
  });

  it('end the wait at once when a node does not start with them', () => {
    expect(refused(seenWith(settingsOf('none')))).toBeNull();
    expect(refused(seenWith(settingsOf('none', 'shared_buffers = 64GB: no memory')))).toBe(
      'a does not start with shared_buffers = 64GB: no memory',
    );
  });
});

const TOKEN = { authorization: 'Bearer secret' };
const FAILOVER = { at: '2026-11-24T22:00:00Z', from: 'p', node: 'a', term: 2, cause: 'LEADER_DEAD', steps: [] };

/** The HTTP side of a healthy cluster; `part` replaces what a test is about. */
const PAGE = {
  'index.html': '<title>PostgreSQL failover</title>',
  'page.css': 'a{}',
  'page.js': '1',
  'icon.svg': '<svg/>',
};

function served(part: Partial<HttpParts> = {}) {
  const asked: Request[] = [];
  const clock = { nowMs: 0, made: 0, busy: false, status: statusOf(well) as ClusterStatus | null };
  const feed = new Feed(
    () => {
      clock.made += 1;
      return clock.status;
    },
    () => clock.busy,
    { nowMs: () => clock.nowMs },
  );
  feed.failover(FAILOVER);
  const answer = { done: true, message: 'a leads now', leader: 'a', term: 2, tookMs: 9 };
  const app = httpApp({
    page: PAGE,
    feed,
    nowMs: () => performance.now(),
    wallMs: () => 1_000,
    healthy: () => true,
    unready: () => null,
    hostNames: ['failover-monitor'],
    metrics: async () => ({ contentType: 'text/plain', text: '' }),
    token: 'secret',
    commands: () => ({
      ask: async (request) => {
        asked.push(request);
        const done = !('to' in request) || request.to !== 'x';
        return done ? answer : { ...answer, done, message: 'x is no node of this stack' };
      },
      dryRun: (request) => ({ ...answer, message: `${request.kind} would be done` }),
    }),
    ...part,
  });
  const post = (path: string, body: string, headers: Record<string, string> = TOKEN) =>
    app.request(`/api/v1/${path}`, { method: 'POST', body, headers });
  return { app, feed, listeners: feed.listeners, clock, asked, post };
}

describe('the HTTP side', () => {
  it('answers with page, health and JSON, under a strict content security policy', async () => {
    const { app } = served();
    const reads = ['cluster', 'events', 'failovers', 'history'].map((p) => `/api/v1/${p}`);
    for (const path of ['/', '/page.css', '/page.js', '/health', '/ready', '/openapi.json', ...reads]) {
      const answer = await app.request(path);
      expect([path, answer.status]).toEqual([path, 200]);
      expect(answer.headers.get('content-security-policy')).toContain("default-src 'none'");
    }
    expect(await (await app.request('/')).text()).not.toMatch(/<script>|style=/);
    expect((await app.request('/api/v1/cluster', { method: 'POST' })).status).toBe(404);
  });

  it('answers by the schemas of api.ts', async () => {
    const { app, feed } = served();
    feed.log({ at: 'now', level: 'INFO', subject: 'p', code: 'X', message: 'one "quoted"\nline' });
    feed.sample({ at: 'now', writeMs: 1.5, lagBytes: { a: 0 } });
    const json = async (path: string) => (await app.request(`/api/v1/${path}`)).json();
    expect(ClusterStatus.parse(await json('cluster'))).toMatchObject({ leader: 'p', events: [{ id: 1, code: 'X' }] });
    expect(Events.parse(await json('events')).events).toHaveLength(1);
    expect(Failovers.parse(await json('failovers')).failovers).toEqual([FAILOVER]);
    expect(History.parse(await json('history'))).toMatchObject({ everyMs: 1_000, samples: [{ writeMs: 1.5 }] });
  });

  it('is healthy only while the loop turns, and ready only when writes go through; else it says why', async () => {
    const dead = served({ healthy: () => false });
    expect((await dead.app.request('/health')).status).toBe(503);
    expect((await dead.app.request('/ready')).status).toBe(503);
    const starting = served({ unready: () => 'writes wait for p' });
    starting.clock.status = null;
    expect((await starting.app.request('/api/v1/cluster')).status).toBe(503);
    const ready = await starting.app.request('/ready');
    expect([ready.status, await ready.text()]).toEqual([503, 'writes wait for p\n']);
  });

  it('answers requests to its own names and to addresses, and to no other host name (DNS rebinding)', async () => {
    const { app } = served();
    const status = async (host: string) => (await app.request(`http://${host}/api/v1/cluster`)).status;
    for (const host of ['localhost:8008', '127.0.0.1:8008', '[::1]:8008', '192.168.1.7', 'failover-monitor:8008']) {
      expect([host, await status(host)]).toEqual([host, 200]);
    }
    for (const host of ['evil.example', 'localhost.evil.example', 'failover-monitor.evil.example']) {
      expect([host, await status(host)]).toEqual([host, 403]);
    }
  });

  it('serves its OpenAPI description', async () => {
    const document = (await (await served().app.request('/openapi.json')).json()) as {
      openapi: string;
      paths: Record<string, Record<string, { requestBody?: { content: Record<string, { schema: object }> } }>>;
    };
    expect(document.openapi).toBe('3.1.0');
    const paths =
      'cluster events failovers history backups stream switchover promote pause resume rebuild backup restore restore-undo restore-confirm'.split(
        ' ',
      );
    expect(Object.keys(document.paths).sort()).toEqual(paths.map((p) => `/api/v1/${p}`).sort());
    const schema = document.paths['/api/v1/pause']?.post?.requestBody?.content['application/json']?.schema;
    expect(schema).toMatchObject({ required: ['reason'], additionalProperties: false });
  });

  it('gives events from an id on, the newest ones of many, and says what is wrong with a query', async () => {
    const { app, feed } = served();
    for (let i = 1; i <= 1_200; i++) feed.log({ at: '', level: 'INFO', subject: '', code: `C${i}`, message: '' });
    const ids = async (query: string) =>
      Events.parse(await (await app.request(`/api/v1/events${query}`)).json()).events.map((e) => e.id);
    expect(await ids('?after=1197')).toEqual([1198, 1199, 1200]);
    expect(await ids('?after=1197&limit=1')).toEqual([1200]);
    expect(await ids('')).toHaveLength(100);
    expect(await ids('?limit=100000')).toHaveLength(1_000);
    // An id from before the monitor's restart, so higher than any id now.
    expect(await ids('?after=9999&limit=2')).toEqual([1199, 1200]);
    expect((await app.request('/api/v1/events?after=-1')).status).toBe(400);
  });
});

describe('what reading costs', () => {
  it('is one status every 250 ms however many readers there are, and one a second during a change of leader', async () => {
    const { app, clock } = served();
    const ask = () => Promise.all(Array.from({ length: 20 }, () => app.request('/api/v1/cluster')));
    await ask();
    expect(clock.made).toBe(1);
    clock.nowMs = 300;
    await ask();
    expect(clock.made).toBe(2);
    clock.busy = true;
    clock.nowMs = 900;
    await ask();
    expect(clock.made).toBe(2);
    clock.nowMs = 1_400;
    await ask();
    expect(clock.made).toBe(3);
  });

  it('is nothing while there is no reader; after a command the next reader sees the new status', async () => {
    const { app, feed, clock, post } = served();
    feed.tick();
    expect(clock.made).toBe(0);
    await app.request('/api/v1/cluster');
    await post('switchover', '{}');
    await app.request('/api/v1/cluster');
    expect(clock.made).toBe(2);
  });
});

describe('a flood of requests', () => {
  it('is answered at a limited rate, and beyond a limit refused at once', async () => {
    // The clock stands still until all requests are made, so the test does not depend on the machine's speed.
    const begin = performance.now();
    let standsStill = true;
    const { app } = served({ nowMs: () => (standsStill ? begin : performance.now()) });
    const extra = 20;
    const asked = Array.from({ length: AT_ONCE + WAITING_MAX + extra }, () => app.request('/api/v1/cluster'));
    const refused = await Promise.all(asked.slice(-extra));
    expect(refused.map(({ status, headers }) => [status, headers.get('retry-after')])).toEqual(
      refused.map(() => [503, '1']),
    );
    const passed = await Promise.all(asked.slice(0, AT_ONCE));
    const from = performance.now();
    standsStill = false;
    const waited = await Promise.all(asked.slice(AT_ONCE, -extra));
    expect(new Set([...passed, ...waited].map(({ status }) => status))).toEqual(new Set([200]));
    // When the clock goes on, at most AT_ONCE requests pass together. The others follow at the limited rate.
    expect(performance.now() - from).toBeGreaterThan(((WAITING_MAX - AT_ONCE) * 900) / PER_SECOND);
  });

  it('delays neither the health check nor a person’s command', async () => {
    const { app, post } = served({ nowMs: () => 0 });
    const flood = Array.from({ length: AT_ONCE + WAITING_MAX + 1 }, () => app.request('/'));
    expect((await flood.at(-1))?.status).toBe(503);
    expect((await app.request('/health')).status).toBe(200);
    expect((await post('switchover', '{}')).status).toBe(200);
    expect((await post('switchover', '{}', { authorization: 'Bearer wrong' })).status).toBe(503);
  });

  it('makes the metrics be built once a second, and again after a failure', async () => {
    const clock = { nowMs: 0, made: 0, fails: false };
    const { app } = served({
      nowMs: () => clock.nowMs,
      metrics: async () => {
        clock.made += 1;
        if (clock.fails) throw new Error('no metrics');
        return { contentType: 'text/plain', text: `${clock.made}` };
      },
    });
    const ask = async () => (await app.request('/metrics')).text();
    expect(await Promise.all([ask(), ask(), ask()])).toEqual(['1', '1', '1']);
    clock.nowMs = 999;
    expect(await ask()).toBe('1');
    clock.nowMs = 1_000;
    clock.fails = true;
    expect((await app.request('/metrics')).status).toBe(500);
    clock.fails = false;
    expect(await ask()).toBe('3');
  });
});

describe('connections', () => {
  const open = ({ port }: { port: number }) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined).resume();
    return { socket, connected: once(socket, 'connect'), closed: once(socket, 'close') };
  };

  it('are limited: one more is closed at once', async () => {
    const server = await listenHttp(served().app, '127.0.0.1', 0, { connections: 2, requestMs: 600_000 });
    const kept = [open(server), open(server)];
    await Promise.all(kept.map((one) => one.connected));
    await open(server).closed;
    for (const { socket } of kept) socket.destroy();
    server.close();
  });

  it('are closed when they send no request', async () => {
    const server = await listenHttp(served().app, '127.0.0.1', 0, { connections: 2, requestMs: 100 });
    await open(server).closed;
    expect((await fetch(`http://127.0.0.1:${server.port}/health`)).status).toBe(200);
    server.close();
  });
});

describe('the stream', () => {
  /** Reads what has come so far. */
  const reader = (answer: Response) => {
    const stream = answer.body?.getReader();
    const decoder = new TextDecoder();
    return {
      next: async () => decoder.decode((await stream?.read())?.value),
      end: () => stream?.cancel(),
    };
  };

  it('begins with the status and with the log lines after the listener’s last id', async () => {
    const { app, feed, listeners } = served();
    feed.log({ at: '', level: 'INFO', subject: '', code: 'OLD', message: '' });
    feed.log({ at: '', level: 'WARN', subject: '', code: 'MISSED', message: '' });
    const answer = await app.request('/api/v1/stream', { headers: { 'Last-Event-ID': '1' } });
    expect(answer.headers.get('content-type')).toContain('text/event-stream');
    const events = reader(answer);
    const first = await events.next();
    expect(first).toMatch(
      /^retry: \d+\n\nevent: cluster\ndata: \{.*"events":\[\]\}\n\nid: 2\nevent: log\ndata: .*MISSED.*\n\n$/,
    );
    feed.log({ at: '', level: 'INFO', subject: '', code: 'NEW', message: '' });
    expect(await events.next()).toMatch(/^id: 3\nevent: log\n.*NEW/);
    await events.end();
    expect(listeners.count).toBe(0);
  });

  it('sends a change at once, and mere growth of positions once a second', async () => {
    const { app, feed, clock } = served();
    const events = reader(await app.request('/api/v1/stream'));
    await events.next();
    feed.tick();
    expect(await events.next()).toContain('event: cluster');
    const received: string[] = [];
    const [node, ...rest] = clock.status?.nodes ?? [];
    const at = (nowMs: number, part: Partial<ClusterStatus>) => {
      clock.nowMs = nowMs;
      if (clock.status !== null) clock.status = { ...clock.status, ...part };
      feed.tick();
      feed.sample({ at: `${nowMs}`, writeMs: null, lagBytes: {} });
    };
    if (node === undefined) throw new Error('no node');
    at(300, { nodes: [{ ...node, lsn: '0/9999' }, ...rest] });
    received.push(await events.next());
    at(600, { sentence: 'something else' });
    received.push(await events.next(), await events.next());
    expect(received.map((t) => /event: (\w+)/.exec(t)?.[1])).toEqual(['sample', 'cluster', 'sample']);
    await events.end();
  });

  it('has a limited number of listeners, and drops a listener that does not read', async () => {
    const { app, feed, listeners } = served();
    const all = await Promise.all(Array.from({ length: LISTENERS_MAX }, () => app.request('/api/v1/stream')));
    expect((await app.request('/api/v1/stream')).status).toBe(503);
    const message = 'x'.repeat(2_000);
    const [fast] = all.map(reader);
    for (let i = 0; i < QUEUE_BYTES_MAX / 2_000 + 10; i++) {
      feed.log({ at: '', level: 'INFO', subject: '', code: '', message });
      await fast?.next();
    }
    expect(listeners.count).toBe(1);
    listeners.close();
    expect(listeners.count).toBe(0);
  });

  it('ends a connection that is not read, with one line for people', async () => {
    const { app, feed, listeners } = served();
    const told = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    const server = await listenHttp(app, '127.0.0.1', 0);
    const socket = connect(server.port, '127.0.0.1').pause();
    socket.on('error', () => undefined);
    socket.write('GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await vi.waitFor(() => expect(listeners.count).toBe(1));
    // The kernel takes some megabytes first.
    const message = 'x'.repeat(100_000);
    await vi.waitFor(
      () => {
        feed.log({ at: '', level: 'INFO', subject: '', code: '', message });
        expect(listeners.count).toBe(0);
      },
      { timeout: 15_000, interval: 1 },
    );
    await vi.waitFor(() => expect(told).toHaveBeenCalled());
    expect(told.mock.calls).toEqual([['a listener of /api/v1/stream does not read and was dropped']]);
    socket.resume();
    await once(socket, 'close');
    told.mockRestore();
    server.close();
  });

  it('reaches a client over a real connection until that is closed', async () => {
    const { app, feed, listeners } = served();
    const server = await listenHttp(app, '127.0.0.1', 0);
    const end = new AbortController();
    const answer = await fetch(`http://127.0.0.1:${server.port}/api/v1/stream`, { signal: end.signal });
    const events = reader(answer);
    expect(await events.next()).toContain('event: cluster');
    feed.failover(FAILOVER);
    expect(await events.next()).toContain('event: failover');
    end.abort();
    await vi.waitFor(() => expect(listeners.count).toBe(0));
    server.close();
  });
});

describe('the published port beyond loopback', () => {
  it('speaks HTTPS, and a new certificate ends no connection', async () => {
    const { app } = served();
    const server = await listenHttps(app, '127.0.0.1', 0);
    const authority = await authorityOf('s'.repeat(48));
    const dial = async () => {
      const socket = connectTls({ port: server.port, host: '127.0.0.1', ca: authority.certificate() });
      await once(socket, 'secureConnect');
      return socket;
    };
    const health = async (socket: TLSSocket) => {
      socket.write('GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n');
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      return chunk.toString().split('\r\n')[0];
    };
    const show = (name: string) => server.show(authority.issue({ names: ['127.0.0.1', name], atMs: Date.now() }));
    await expect(dial()).rejects.toThrow();
    show('first');
    const open = await dial();
    expect(await health(open)).toBe('HTTP/1.1 200 OK');
    show('second');
    expect(await health(open)).toBe('HTTP/1.1 200 OK');
    const later = await dial();
    expect(later.getPeerCertificate().subjectaltname).toContain('second');
    expect(open.getPeerCertificate().subjectaltname).toContain('first');
    for (const socket of [open, later]) socket.destroy();
    server.close();
  });
});

describe('commands over HTTP', () => {
  it('need the token', async () => {
    const { asked, post } = served();
    for (const path of Object.keys(Bodies)) {
      for (const wrong of ['', 'Bearer ', 'Bearer secreT', 'Basic secret', 'secret']) {
        const answer = await post(path, '{}', { authorization: wrong });
        expect(answer.status).toBe(401);
        expect(answer.headers.get('www-authenticate')).toBe('Bearer');
      }
      expect((await post(path, '{}', {})).status).toBe(401);
    }
    expect(asked).toEqual([]);
  });

  it('are refused when a page of another site sends them', async () => {
    const { asked, post } = served();
    for (const origin of ['https://evil.example', 'null', 'http://localhost:9']) {
      expect((await post('switchover', '{}', { ...TOKEN, origin })).status).toBe(403);
    }
    expect(asked).toEqual([]);
    expect((await post('switchover', '{}', { ...TOKEN, origin: 'http://localhost' })).status).toBe(200);
  });

  it('pass the request to the monitor and answer with its result', async () => {
    const { asked, post } = served();
    expect((await post('switchover', '')).status).toBe(200);
    expect((await post('switchover', '{"to":"a"}')).status).toBe(200);
    const refused = await post('switchover', '{"to":"x"}');
    expect(refused.status).toBe(409);
    expect(Answer.parse(await refused.json())).toMatchObject({ done: false, message: 'x is no node of this stack' });
    expect((await post('pause', '{"reason":" disks ","forMs":60000}')).status).toBe(200);
    expect((await post('pause', '{"reason":"disks"}')).status).toBe(200);
    expect((await post('resume', '{}')).status).toBe(200);
    expect((await post('rebuild', '{"node":"a"}')).status).toBe(200);
    expect(asked).toEqual([
      ...[null, 'a', 'x'].map((to) => ({ kind: 'switchover', to })),
      { kind: 'pause', pause: { reason: 'disks', sinceWallMs: 1_000, untilWallMs: 61_000 } },
      { kind: 'pause', pause: { reason: 'disks', sinceWallMs: 1_000, untilWallMs: null } },
      { kind: 'resume', by: 'person' },
      { kind: 'rebuild', node: 'a' },
    ]);
  });

  it('begin a job for the backups, and say so when there are none', async () => {
    const jobs: string[] = [];
    const backups = () => ({
      backup: (kind: string, dryRun: boolean) => {
        jobs.push(`${kind} ${dryRun}`);
        return { done: kind !== 'verify', message: kind, leader: 'a', term: 2, tookMs: 0, job: 'id' };
      },
      restore: () => ({ refusal: 'no' }),
      refuse: (message: string) => ({ done: false, message, leader: 'p', term: 1, tookMs: 0 }),
      summary: () => null,
      list: () => null,
    });
    const { asked, post } = served({ backups });
    expect(Answer.parse(await (await post('backup', '')).json())).toMatchObject({ done: true, job: 'id' });
    expect((await post('backup', '{"kind":"full","dryRun":true}')).status).toBe(200);
    expect((await post('backup', '{"kind":"verify"}')).status).toBe(409);
    expect((await post('backup', '{"kind":"restore"}')).status).toBe(400);
    expect([jobs, asked]).toEqual([['incr false', 'full true', 'verify false'], []]);
    const { app, post: postElsewhere } = served();
    expect((await postElsewhere('backup', '')).status).toBe(409);
    expect((await app.request('/api/v1/backups')).status).toBe(404);
  });

  it('change nothing with dryRun', async () => {
    const { asked, post } = served();
    const answer = await post('rebuild', '{"node":"a","dryRun":true}');
    expect(Answer.parse(await answer.json()).message).toBe('rebuild would be done');
    expect(asked).toEqual([]);
  });

  it('refuse a body of the wrong form, and a huge one', async () => {
    const { post } = served();
    for (const body of ['no json', '[]', '{"node":"a"}', '{"to":7}', '{"to":""}']) {
      expect((await post('switchover', body)).status).toBe(400);
    }
    for (const body of ['{}', '{"reason":" "}', '{"reason":"x","forMs":10}']) {
      expect((await post('pause', body)).status).toBe(400);
    }
    expect((await post('switchover', `{"to":"${'x'.repeat(5_000)}"}`)).status).toBe(413);
  });

  it('accept data loss in a promotion only when the request says so', async () => {
    const { asked, post } = served();
    expect((await post('promote', '{"acceptDataLoss":true}')).status).toBe(400);
    expect((await post('promote', '{"node":"a","acceptDataLoss":"yes"}')).status).toBe(400);
    expect((await post('promote', '{"node":"a"}')).status).toBe(200);
    expect((await post('promote', '{"node":"a","acceptDataLoss":true}')).status).toBe(200);
    expect(asked).toEqual([false, true].map((acceptDataLoss) => ({ kind: 'promote', to: 'a', acceptDataLoss })));
  });
});
