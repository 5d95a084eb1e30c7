/** A monitor as the command line sees it: the schemas of api.ts, served on a port of its own. */
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import {
  Answer,
  type BackupsAnswer,
  Bodies,
  type ClusterStatus,
  type Command,
  type LogEvent,
} from '../../failover/contract/api';
import { healthyCluster } from '../rig/healthy-cluster';

export const TOKEN = 'the-token';

export function event(id: number, message = `event ${id}`): LogEvent {
  const at = new Date(Date.UTC(2026, 10, 24, 21, 0, id)).toISOString();
  return { id, at, level: 'INFO', subject: 'monitor', code: 'STEADY', message };
}

export interface Call {
  name: Command;
  body: Record<string, unknown>;
}

/** Serves until it is closed. What it answers may be changed at any time. */
export class FakeMonitor {
  cluster: ClusterStatus | null = healthyCluster();
  events: LogEvent[] = [];
  answer: Partial<Answer> = {};
  /** Null: the stack has no backups. */
  backups: BackupsAnswer | null = null;
  readonly calls: Call[] = [];
  private server: ReturnType<typeof serve> | null = null;
  url = '';

  constructor(private readonly token = TOKEN) {}

  async open(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.server = serve({ fetch: this.app().fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => {
        this.url = `http://127.0.0.1:${port}`;
        resolve();
      });
    });
  }

  close(): void {
    this.server?.close();
  }

  private app(): Hono {
    const app = new Hono();
    app.get('/api/v1/cluster', (c) =>
      this.cluster === null ? c.json({ error: 'the monitor is starting' }, 503) : c.json(this.cluster),
    );
    app.get('/api/v1/backups', (c) =>
      this.backups === null ? c.json({ error: 'backups are off' }, 404) : c.json(this.backups),
    );
    app.get('/api/v1/events', (c) => {
      const after = Number(c.req.query('after'));
      const found = this.events.filter(({ id }) => id > after);
      return c.json({ events: found.slice(0, Number(c.req.query('limit'))) });
    });
    for (const [name, schema] of Object.entries(Bodies))
      app.post(`/api/v1/${name}`, async (c) => {
        if (c.req.header('Authorization') !== `Bearer ${this.token}`) return c.json({ error: 'no' }, 401);
        const body = schema.safeParse(await c.req.json());
        if (!body.success) return c.json({ error: body.error.message }, 400);
        this.calls.push({ name: name as Command, body: body.data });
        const said = body.data.dryRun ? `it would ${name}` : `it did ${name}`;
        const answer = Answer.parse({ done: true, message: said, leader: null, term: 5, tookMs: 12.4, ...this.answer });
        return c.json(answer, answer.done ? 200 : 409);
      });
    return app;
  }
}
