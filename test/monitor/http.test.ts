import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import type { Request } from '../../failover/core/types';
import { httpApp } from '../../failover/monitor/http';
import { clusterStatus } from '../../failover/monitor/status-view';
import { missing, refused } from '../../failover/monitor/wait-serving';
import { gone, leaderView, NOW_MS, observation, POLICY, replicaView, serving } from '../core/world';

function statusOf(seen: ReturnType<typeof observation>, state = serving(['a'])) {
  return clusterStatus({
    stack: 'dev',
    decision: decide(state, seen, NOW_MS, POLICY),
    observation: seen,
    readAddresses: ['10.0.0.21'],
    lastTransition: null,
    events: [],
    nowMs: NOW_MS,
    wallMs: Date.parse('2026-11-24T22:00:00Z'),
  });
}
const state = serving(['a']);
const well = observation([leaderView(state), replicaView(state, 'a')]);

describe('GET /api/v1/cluster', () => {
  it('tells who leads, who is counted, and where HAProxy sends clients', () => {
    expect(statusOf(well)).toMatchObject({
      serving: true,
      code: 'STEADY',
      leader: 'p',
      nodes: [
        { name: 'p', role: 'leader', state: 'primary', since: '2026-11-24T21:59:00.000Z', done: true },
        { name: 'a', role: 'standby', sync: 'counted', lagBytes: 0, order: 'follow p (stream)' },
      ],
      haproxy: { reachable: true, write: 'p', read: ['a'] },
      sync: { waitsFor: 1, members: ['a'], changing: false },
    });
  });

  it('does not call a cluster serving whose slot is closed or whose leader is off', () => {
    const closed = { ...well.haproxy, slot: null, closed: true };
    expect(statusOf({ ...well, haproxy: closed }).serving).toBe(false);
    expect(statusOf(observation([gone('p', { probe: null }), replicaView(state, 'a')])).serving).toBe(false);
  });
});

describe('wait-serving', () => {
  it('is content when the leader is open and every node has done its order', () => {
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

  it('are waited for on every node, and nobody waits for a keeper that tells nothing of them', () => {
    expect(missing(seenWith(settingsOf('none')))).toBeNull();
    expect(missing(seenWith(settingsOf('needed')))).toContain('a has yet to restart for max_connections');
    expect(missing(seenWith({ settings: null }))).toContain('a reads its settings');
  });

  it('end the wait at once when a node does not start with them', () => {
    expect(refused(seenWith(settingsOf('none')))).toBeNull();
    expect(refused(seenWith(settingsOf('none', 'shared_buffers = 64GB: no memory')))).toBe(
      'a does not start with shared_buffers = 64GB: no memory',
    );
  });
});

describe('the HTTP side', () => {
  it('answers with page, health and JSON, under a strict content security policy', async () => {
    const app = httpApp(
      () => statusOf(well),
      () => true,
    );
    for (const path of ['/', '/page.css', '/page.js', '/health', '/api/v1/cluster']) {
      const answer = await app.request(path);
      expect(answer.status).toBe(200);
      expect(answer.headers.get('content-security-policy')).toContain("default-src 'none'");
    }
    expect(await (await app.request('/')).text()).not.toMatch(/<script>|style=/);
    expect((await app.request('/api/v1/cluster', { method: 'POST' })).status).toBe(404);
  });

  it('is unhealthy when the loop stands still, and says so while it starts', async () => {
    const app = httpApp(
      () => null,
      () => false,
    );
    expect((await app.request('/health')).status).toBe(503);
    expect((await app.request('/api/v1/cluster')).status).toBe(503);
  });
});

describe('commands over HTTP', () => {
  const asked: Request[] = [];
  const app = httpApp(
    () => statusOf(well),
    () => true,
    {
      token: 'secret',
      ask: async (request) => {
        asked.push(request);
        const done = request.to !== 'x';
        return { done, message: done ? 'a leads now' : 'x is no node of this stack', leader: 'a', term: 2, tookMs: 9 };
      },
    },
  );
  const post = (body: string, authorization?: string) =>
    app.request('/api/v1/switchover', {
      method: 'POST',
      body,
      headers: authorization === undefined ? {} : { authorization },
    });

  it('needs the token', async () => {
    for (const wrong of [undefined, '', 'Bearer ', 'Bearer secreT', 'Basic secret', 'secret']) {
      const answer = await post('{"to":"a"}', wrong);
      expect(answer.status).toBe(401);
      expect(answer.headers.get('www-authenticate')).toBe('Bearer');
    }
    expect(asked).toEqual([]);
  });

  it('hands on what is asked for and answers with what came of it', async () => {
    expect((await post('', 'Bearer secret')).status).toBe(200);
    expect((await post('{"to":"a"}', 'Bearer secret')).status).toBe(200);
    const refused = await post('{"to":"x"}', 'Bearer secret');
    expect(refused.status).toBe(409);
    expect(await refused.json()).toMatchObject({ done: false, message: 'x is no node of this stack' });
    expect(asked).toEqual([null, 'a', 'x'].map((to) => ({ kind: 'switchover', to })));
  });

  it('refuses a body that it does not understand, and a huge one', async () => {
    for (const body of ['no json', '[]', '{"node":"a"}', '{"to":7}', '{"to":""}']) {
      expect((await post(body, 'Bearer secret')).status).toBe(400);
    }
    expect((await post(`{"to":"${'x'.repeat(5_000)}"}`, 'Bearer secret')).status).toBe(413);
  });

  it('promotes with data loss only when that was said', async () => {
    asked.length = 0;
    const promote = (body: unknown, authorization = 'Bearer secret') =>
      app.request('/api/v1/promote', { method: 'POST', body: JSON.stringify(body), headers: { authorization } });
    expect((await promote({ node: 'a' }, 'Bearer wrong')).status).toBe(401);
    expect((await promote({ acceptDataLoss: true })).status).toBe(400);
    expect((await promote({ node: 'a', acceptDataLoss: 'yes' })).status).toBe(400);
    expect((await promote({ node: 'a' })).status).toBe(200);
    expect((await promote({ node: 'a', acceptDataLoss: true })).status).toBe(200);
    expect(asked).toEqual([false, true].map((acceptDataLoss) => ({ kind: 'promote', to: 'a', acceptDataLoss })));
  });
});
