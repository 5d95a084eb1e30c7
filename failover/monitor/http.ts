/** The monitor's own HTTP side: a page for people, JSON for programs, and a health check. Read only. */
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { PAGE_CSS, PAGE_HTML, PAGE_JS } from './page';
import type { ClusterStatus } from './status-view';

const HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'no-store',
};

/** `status` is null until the first cycle. `healthy` tells that the loop still turns. */
export function httpApp(status: () => ClusterStatus | null, healthy: () => boolean): Hono {
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
  return app;
}

/** Listens; resolves when it does. Throws when the port cannot be had. */
export function listenHttp(app: Hono, address: string, port: number): Promise<{ close(): void }> {
  return new Promise((resolve, reject) => {
    const server = serve({ fetch: app.fetch, hostname: address, port }, () => resolve(server));
    server.once('error', reject);
  });
}
