/** A server that speaks HTTPS gets nothing before it has proven itself. */
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Client } from '../../cli/client';
import { EXIT } from '../../cli/exit';
import { fetchTrusting, type Trust } from '../../cli/trusting';
import { authorityOf, type Pair } from '../../failover/contract/certificates';
import { healthyCluster } from '../rig/healthy-cluster';

const LIMIT_MS = 5_000;
let server: Server;
let url = '';
let heard: string[] = [];
let authority = '';
let elsewhere: Pair;

beforeEach(async () => {
  const own = await authorityOf('s'.repeat(48));
  authority = own.certificate();
  const { certificate, key } = own.issue({ names: ['127.0.0.1'], atMs: Date.now() });
  elsewhere = own.issue({ names: ['db.example.com'], atMs: Date.now() });
  heard = [];
  server = createServer({ cert: certificate, key }, (request, answer) => {
    heard.push(`${request.method} ${request.url} ${request.headers.authorization ?? ''}`);
    answer.end(JSON.stringify(healthyCluster()));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(() => server.close());

const get = (trust: Partial<Trust>) =>
  fetchTrusting(`${url}/x?y`, { headers: { authorization: 'the-token' }, limitMs: LIMIT_MS }, async () => ({
    authorities: [],
    isPublic: false,
    ...trust,
  }));

it('is answered by a server whose certificate is of the stack’s authority', async () => {
  expect((await get({ authorities: [authority] })).status).toBe(200);
  expect(heard).toEqual(['GET /x?y the-token']);
});

it('sends nothing to a server of another authority, or with the certificate of another name', async () => {
  const other = (await authorityOf('o'.repeat(48))).certificate();
  await expect(get({ authorities: [other] })).rejects.toThrow(/not trusted/);
  await expect(get({ isPublic: true })).rejects.toThrow(/not trusted/);
  server.setSecureContext({ cert: elsewhere.certificate, key: elsewhere.key });
  await expect(get({ authorities: [authority] })).rejects.toThrow(/not trusted.*ALTNAME_INVALID/);
  await expect(get({ pinned: authority })).rejects.toThrow(/not trusted/);
  expect(heard).toEqual([]);
});

it('takes the certificate that the config names under every name', async () => {
  server.setSecureContext({ cert: elsewhere.certificate, key: elsewhere.key });
  expect((await get({ pinned: elsewhere.certificate })).status).toBe(200);
});

it('gives up on a server that does not answer in time', async () => {
  server.removeAllListeners('request');
  const asked = fetchTrusting(`${url}/`, { limitMs: 300 }, async () => ({ authorities: [authority], isPublic: false }));
  await expect(asked).rejects.toThrow(/no answer in time/);
});

it('is how the commands reach the monitor, and they say why they do not trust it', async () => {
  const client = (trust: Trust) => new Client({ url, token: async () => 't', trust: async () => trust });
  expect((await client({ authorities: [authority], isPublic: false }).cluster()).stack).toBe(healthyCluster().stack);
  await expect(client({ authorities: [], isPublic: true }).cluster()).rejects.toMatchObject({
    code: EXIT.unreachable,
    message: expect.stringContaining('its certificate is not trusted'),
  });
});
