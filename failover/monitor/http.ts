/**
 * The monitor's own HTTP side: a page for people, JSON for programs, a health check, and commands. Reading is free;
 * a command needs the token, so that no page in a browser and nobody else on the network can give one.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { serve } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { z } from 'zod';
import type { Request } from '../core/types';
import { PAGE_CSS, PAGE_HTML, PAGE_JS } from './page';
import type { Answer } from './requests';
import type { ClusterStatus } from './status-view';

const HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'no-store',
};

const BODY_BYTES_MAX = 4 * 1024;
const SwitchoverBody = z.strictObject({ to: z.string().min(1).max(63).optional() });
const PromoteBody = z.strictObject({ node: z.string().min(1).max(63), acceptDataLoss: z.boolean().default(false) });

/** Commands over HTTP: `Authorization: Bearer <token>`. */
export interface Commands {
  token: string;
  ask: (request: Request) => Promise<Answer>;
}

/** `status` is null until the first cycle. `healthy` tells that the loop still turns. */
export function httpApp(status: () => ClusterStatus | null, healthy: () => boolean, commands?: Commands): Hono {
  const app = new Hono();
  app.use(async (c, next) => {
    await next();
    for (const [name, value] of Object.entries(HEADERS)) c.header(name, value);
  });
  app.get('/', (c) => c.html(PAGE_HTML));
  app.get('/page.css', (c) => c.body(PAGE_CSS, 200, { 'Content-Type': 'text/css; charset=utf-8' }));
  app.get('/page.js', (c) => c.body(PAGE_JS, 200, { 'Content-Type': 'text/javascript; charset=utf-8' }));
  app.get('/health', (c) => (healthy() ? c.text('ok\n') : c.text('the loop stands still\n', 503)));
  app.get('/api/v1/cluster', (c) => {
    const answer = status();
    return answer === null ? c.json({ error: 'the monitor is starting' }, 503) : c.json(answer);
  });
  if (commands !== undefined) addCommands(app, commands);
  return app;
}

function addCommands(app: Hono, { token, ask }: Commands): void {
  app.use('/api/v1/*', bodyLimit({ maxSize: BODY_BYTES_MAX }));
  app.post('/api/v1/switchover', async (c) => {
    if (!isAllowed(c, token)) return refused(c);
    const body = SwitchoverBody.safeParse(await jsonOf(c));
    if (!body.success) return c.json({ error: 'the body must be {} or {"to": "<node>"}' }, 400);
    const answer = await ask({ kind: 'switchover', to: body.data.to ?? null });
    return c.json(answer, answer.done ? 200 : 409);
  });
  app.post('/api/v1/promote', async (c) => {
    if (!isAllowed(c, token)) return refused(c);
    const body = PromoteBody.safeParse(await jsonOf(c));
    if (!body.success) return c.json({ error: 'the body must be {"node": "<node>", "acceptDataLoss": true}' }, 400);
    const { node, acceptDataLoss } = body.data;
    const answer = await ask({ kind: 'promote', to: node, acceptDataLoss });
    return c.json(answer, answer.done ? 200 : 409);
  });
}

/** Compared by digests, in constant time. */
function isAllowed(c: Context, token: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(c.req.header('Authorization') ?? ''), digest(`Bearer ${token}`));
}

function refused(c: Context): Response {
  c.header('WWW-Authenticate', 'Bearer');
  return c.json(
    { error: 'this needs the header "Authorization: Bearer <token>"; see the stack output adminToken' },
    401,
  );
}

async function jsonOf(c: Context): Promise<unknown> {
  const text = await c.req.text();
  try {
    return text.trim() === '' ? {} : JSON.parse(text);
  } catch {
    return null;
  }
}

/** Listens; resolves when it does. Throws when the port cannot be had. */
export function listenHttp(app: Hono, address: string, port: number): Promise<{ close(): void }> {
  return new Promise((resolve, reject) => {
    const server = serve({ fetch: app.fetch, hostname: address, port }, () => resolve(server));
    server.once('error', reject);
  });
}
