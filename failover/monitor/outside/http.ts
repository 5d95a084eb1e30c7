/**
 * The monitor's HTTP server: the page, JSON for programs, health, metrics, and commands. Reading is open. A command
 * needs the token, so that neither a page in a browser nor another machine on the network can give one. Requests must
 * name this machine as their host. Otherwise a page of another site could read the answers through a host name of its
 * own that resolves to this machine (DNS rebinding).
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Server } from 'node:http';
import { createServer as createHttpsServer, Server as HttpsServer } from 'node:https';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { type ServerType, serve } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { getMimeType } from 'hono/utils/mime';
import type { z } from 'zod';
import { type Answer, Bodies, type Command } from '../../contract/api';
import type { JobKind, RepositoryName, RestoreTarget } from '../../contract/backups';
import type { Pair } from '../../contract/certificates';
import { PAGE_FILES, type PageFiles } from '../../contract/layout';
import type { Request } from '../../core/state/observation';
import type { BackupCommand, Commands } from '../ports';
import type { Feed } from './feed';
import { keptFor, Turnstile } from './load';
import { openapi } from './openapi';

const HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'no-store',
};

/** The metrics are made at most this often, ms. Prometheus asks every five seconds. */
const METRICS_EVERY_MS = 1_000;
const BODY_BYTES_MAX = 4 * 1024;
const EVENTS_DEFAULT = 100;
const EVENTS_MAX = 1_000;
const JSON_TYPE = { 'Content-Type': 'application/json; charset=utf-8' };

export interface HttpParts {
  page: PageFiles;
  feed: Pick<Feed, 'cluster' | 'eventsAfter' | 'allFailovers' | 'history' | 'listen' | 'stale'>;
  /** Monotonic, ms. */
  nowMs: () => number;
  wallMs: () => number;
  /** True while the loop makes cycles. */
  healthy: () => boolean;
  /** Why clients cannot write now; null when they can. */
  unready: () => string | null;
  /** Names by which this server is known, beside `localhost` and addresses. */
  hostNames: readonly string[];
  metrics: () => Promise<{ contentType: string; text: string }>;
  commands: () => Commands;
  /** Absent: there are no backups. */
  backups?: () => BackupCommand;
  /** A command has the header `Authorization: Bearer <token>`. */
  token: string;
}

/** Reads the bundled status page. @throws Error when a file is missing. */
export function readPage(folder: string): PageFiles {
  const files = PAGE_FILES.map((name) => [name, readFileSync(join(folder, name), 'utf8')]);
  return Object.fromEntries(files) as PageFiles;
}

export function httpApp(parts: HttpParts): Hono {
  const app = new Hono();
  app.use(async (c, next) => {
    await next();
    for (const [name, value] of Object.entries(HEADERS)) c.header(name, value);
  });
  const [health, others] = [new Turnstile(parts.nowMs), new Turnstile(parts.nowMs)];
  app.use(async (c, next) => {
    // A person's command must get through a flood of requests, and so must the health check.
    if (isAllowed(c, parts.token) || (await (c.req.path === '/health' ? health : others).pass())) return next();
    return c.json({ error: 'too many requests wait; try again later' }, 503, {
      'Retry-After': '1',
      Connection: 'close',
    });
  });
  app.use(async (c, next) => {
    if (isOurs(new URL(c.req.url).hostname, parts.hostNames)) return next();
    return c.json({ error: 'the monitor does not answer under this host name; use localhost or an address' }, 403);
  });
  for (const name of PAGE_FILES) {
    const headers = { 'Content-Type': getMimeType(name) ?? 'text/plain' };
    app.get(name === 'index.html' ? '/' : `/${name}`, (c) => c.body(parts.page[name], 200, headers));
  }
  readingRoutes(app, parts);
  app.use('/api/v1/*', bodyLimit({ maxSize: BODY_BYTES_MAX }));
  for (const name of Object.keys(Bodies) as Command[]) addCommand(app, parts, name);
  app.notFound((c) => c.json({ error: 'there is nothing here; see /openapi.json' }, 404));
  return app;
}

/** True for an address or one of the monitor's names. Another site can make its name lead here, but not an address. */
function isOurs(hostname: string, names: readonly string[]): boolean {
  const bare = hostname.replace(/^\[|\]$/g, '');
  return bare === 'localhost' || isIP(bare) !== 0 || names.includes(bare);
}

function readingRoutes(app: Hono, { feed, healthy, unready, metrics, nowMs, backups }: HttpParts): void {
  app.get('/health', (c) => (healthy() ? c.text('ok\n') : c.text('the loop stands still\n', 503)));
  app.get('/ready', (c) => {
    const reason = healthy() ? unready() : 'the loop stands still';
    return reason === null ? c.text('writes go through\n') : c.text(`${reason}\n`, 503);
  });
  const document = JSON.stringify(openapi());
  app.get('/openapi.json', (c) => c.body(document, 200, JSON_TYPE));
  const kept = keptFor(METRICS_EVERY_MS, nowMs, metrics);
  app.get('/metrics', async (c) => {
    const { contentType, text } = await kept();
    return c.body(text, 200, { 'Content-Type': contentType });
  });
  app.get('/api/v1/cluster', (c) => {
    const text = feed.cluster();
    return text === null ? c.json({ error: 'the monitor is starting' }, 503) : c.body(text, 200, JSON_TYPE);
  });
  app.get('/api/v1/events', (c) => {
    const after = numberOf(c.req.query('after'), 0);
    const limit = numberOf(c.req.query('limit'), EVENTS_DEFAULT);
    if (after === null || limit === null) return c.json({ error: 'after and limit must be whole numbers' }, 400);
    return c.body(feed.eventsAfter(after, Math.min(limit, EVENTS_MAX)), 200, JSON_TYPE);
  });
  app.get('/api/v1/backups', (c) => {
    const answer = backups?.().list() ?? null;
    return answer === null ? c.json({ error: 'backups are off in this stack (backup: false)' }, 404) : c.json(answer);
  });
  app.get('/api/v1/failovers', (c) => c.body(feed.allFailovers(), 200, JSON_TYPE));
  app.get('/api/v1/history', (c) => c.body(feed.history(), 200, JSON_TYPE));
  app.get('/api/v1/stream', (c) => {
    const after = c.req.header('Last-Event-ID') ?? c.req.query('after');
    const body = feed.listen(after === undefined ? null : numberOf(after, 0));
    if (body === null) return c.json({ error: 'there are too many listeners; try again later' }, 503);
    return c.body(body, 200, { 'Content-Type': 'text/event-stream; charset=utf-8' });
  });
}

/** Reads a whole number that is not negative; null when the text is none. */
function numberOf(text: string | undefined, fallback: number): number | null {
  if (text === undefined) return fallback;
  return /^\d{1,15}$/.test(text) ? Number(text) : null;
}

type Body<K extends Command> = z.infer<(typeof Bodies)[K]>;

/** What each command asks the loop for, or the schedule of the backups. */
type Asked =
  | Exclude<Request, { kind: 'restore' }>
  | { readonly kind: 'backup'; readonly job: JobKind; readonly repository?: RepositoryName }
  | { readonly kind: 'restore'; readonly target: RestoreTarget };

const REQUESTS: { readonly [K in Command]: (body: Body<K>, wallMs: number) => Asked } = {
  switchover: ({ to }) => ({ kind: 'switchover', to: to ?? null }),
  promote: ({ node, acceptDataLoss }) => ({ kind: 'promote', to: node, acceptDataLoss }),
  pause: ({ reason, forMs }, sinceWallMs) => {
    const untilWallMs = forMs === undefined ? null : sinceWallMs + forMs;
    return { kind: 'pause', pause: { reason, sinceWallMs, untilWallMs } };
  },
  resume: () => ({ kind: 'resume', by: 'person' }),
  rebuild: ({ node }) => ({ kind: 'rebuild', node }),
  backup: ({ kind: job, repository }) => ({ kind: 'backup', job, ...(repository && { repository }) }),
  restore: ({ to: target }) => ({ kind: 'restore', target }),
  'restore-undo': () => ({ kind: 'undo' }),
  'restore-confirm': () => ({ kind: 'confirm' }),
};

function answerTo({ commands, backups }: HttpParts, asked: Asked, dryRun: boolean): Answer | Promise<Answer> {
  const ask = (request: Request) => (dryRun ? commands().dryRun(request) : commands().ask(request));
  if (asked.kind !== 'backup' && asked.kind !== 'restore') return ask(asked);
  const none = 'backups are off in this stack (backup: false)';
  if (backups === undefined) return { done: false, message: none, leader: null, term: 0, tookMs: 0 };
  if (asked.kind === 'backup') return backups().backup(asked.job, dryRun, asked.repository);
  const request = backups().restore(asked.target);
  return 'refusal' in request ? backups().refuse(request.refusal) : ask(request);
}

function addCommand<K extends Command>(app: Hono, parts: HttpParts, name: K): void {
  const { token, wallMs, feed } = parts;
  const schema = Bodies[name] as unknown as z.ZodType<Body<K>>;
  app.post(`/api/v1/${name}`, async (c) => {
    if (!isSameOrigin(c)) return c.json({ error: 'a page of another site must not ask for this' }, 403);
    if (!isAllowed(c, token)) return refused(c);
    const isEmpty = (await c.req.text()).trim() === '';
    const body = schema.safeParse(isEmpty ? {} : await c.req.json().catch(() => null));
    if (!body.success) return c.json({ error: bodyError(body.error) }, 400);
    const request = REQUESTS[name](body.data, wallMs());
    const answer = await answerTo(parts, request, body.data.dryRun);
    feed.stale();
    return c.json(answer, answer.done ? 200 : 409);
  });
}

function bodyError(error: z.ZodError): string {
  const issues = error.issues.map((i) => `${i.path.length === 0 ? 'the body' : i.path.join('.')}: ${i.message}`);
  return `the body does not fit: ${issues.join('; ')} (see /openapi.json)`;
}

/**
 * True when the request comes from our own page or a program: a browser names the page's origin, a program names none.
 */
function isSameOrigin(c: Context): boolean {
  const origin = c.req.header('Origin');
  return origin === undefined || (URL.canParse(origin) && new URL(origin).host === new URL(c.req.url).host);
}

/** True when the request carries the token. Digests are compared, in constant time. */
function isAllowed(c: Context, token: string): boolean {
  const given = c.req.header('Authorization');
  if (given === undefined) return false;
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(`Bearer ${token}`));
}

function refused(c: Context): Response {
  const error = 'this needs the header "Authorization: Bearer <token>"; see the stack output adminToken';
  return c.json({ error }, 401, { 'WWW-Authenticate': 'Bearer' });
}

/** Limits of the HTTP server's connections. */
const LIMITS = {
  /** Maximum number of connections: each may hold an answer of some hundred kB that its reader does not take. */
  connections: 1_000,
  /** A connection that has not sent its request after this time is closed, ms. The server checks twice in that time. */
  requestMs: 10_000,
};

export interface Listening {
  close(): void;
  readonly port: number;
}

/** Resolves when the server listens. Throws when the port is not available. */
export function listenHttp(app: Hono, address: string, port: number, limits = LIMITS): Promise<Listening> {
  return listen({ fetch: app.fetch, hostname: address, port, serverOptions: optionsOf(limits) }, limits).then(
    ({ port: used, server }) => ({ port: used, close: () => server.close() }),
  );
}

/**
 * The same with TLS. Until {@link ListeningWithTls.show} gives it a certificate, every handshake fails.
 * Throws when the port is not available.
 */
export async function listenHttps(
  app: Hono,
  address: string,
  port: number,
  limits = LIMITS,
): Promise<ListeningWithTls> {
  const serverOptions = { ...optionsOf(limits), handshakeTimeout: limits.requestMs, minVersion: 'TLSv1.2' as const };
  const options = { fetch: app.fetch, hostname: address, port, createServer: createHttpsServer, serverOptions };
  const { port: used, server } = await listen(options, limits);
  return {
    port: used,
    close: () => server.close(),
    show: ({ certificate, key }) => {
      if (server instanceof HttpsServer) server.setSecureContext({ cert: certificate, key, minVersion: 'TLSv1.2' });
    },
  };
}

export interface ListeningWithTls extends Listening {
  /** New connections get this certificate; open ones stay (Node manual, `server.setSecureContext`). */
  show(pair: Pair): void;
}

function optionsOf({ requestMs }: typeof LIMITS) {
  return { headersTimeout: requestMs, requestTimeout: requestMs, connectionsCheckingInterval: requestMs / 2 };
}

function listen(
  options: Parameters<typeof serve>[0],
  { connections }: typeof LIMITS,
): Promise<{ port: number; server: ServerType }> {
  return new Promise((resolve, reject) => {
    const server = serve(options, (info) => resolve({ port: info.port, server }));
    if (server instanceof Server || server instanceof HttpsServer) server.maxConnections = connections;
    server.once('error', reject);
  });
}
