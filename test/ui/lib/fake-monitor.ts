/** The monitor's shipped HTTP side and page, without its loop: the test says what the cluster's status is. */
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import type { Answer, ClusterStatus, Failover, LogEvent, Sample } from '../../../failover/contract/api';
import type { Request } from '../../../failover/core/state/observation';
import { Feed } from '../../../failover/monitor/outside/feed';
import { httpApp } from '../../../failover/monitor/outside/http';
import { bundlePage } from '../../../scripts/lib/page-bundle';
import { healthyCluster } from '../../rig/healthy-cluster';

export const TOKEN = 'right-token';
const TICK_MS = 50;

const [primary, replica] = healthyCluster().nodes;
if (primary === undefined || replica === undefined) throw new Error('the fixture has two nodes');
const settings = { restart: 'none' as const, pending: [], refused: null };
export const NODES = {
  primary: { ...primary, settings, order: 'lead, 1 of postgres-replica-1 acknowledge' },
  replica: { ...replica, settings, syncState: 'quorum' },
};

/** The status without events, which the feed adds. */
type Status = Omit<ClusterStatus, 'events'>;

/** Status of a healthy cluster; `part` replaces single fields. */
export function statusOf(part: Partial<Status> = {}): Status {
  const { events: _, ...cluster } = healthyCluster();
  return {
    ...cluster,
    ...{ at: new Date().toISOString(), term: 3, nodes: [NODES.primary, NODES.replica] },
    sentence: 'postgres-primary serves in term 3; writes wait for 1 of postgres-replica-1',
    ifLeaderDied: {
      ...cluster.ifLeaderDied,
      sentence:
        'If postgres-primary died now, postgres-replica-1 would take over and nothing acknowledged would be lost.',
    },
    ...part,
  };
}

export const FAILOVER: Failover = {
  ...{ at: '2026-11-24T22:00:00.000Z', from: 'postgres-primary', node: 'postgres-replica-1', term: 4 },
  cause: 'LEADER_DEAD',
  steps: Object.entries({
    ...{ confirmed: 2, recorded: 9, closed: 14, promoted: 82 },
    ...{ 'first commit': 95, proven: 99, opened: 104, rejoined: 3120 },
  }).map(([name, ms]) => ({ name, ms })),
};

export class FakeMonitor {
  readonly asked: Request[] = [];
  /** Answer to the next commands; with `done` false they are refused. */
  answer: Pick<Answer, 'done' | 'message'> = { done: true, message: 'postgres-replica-1 leads now' };
  private current: Status | null = statusOf();
  private readonly feed: Feed;
  private server: ReturnType<typeof serve> | null = null;
  private ticker: NodeJS.Timeout | null = null;
  private port = 0;

  constructor() {
    this.feed = new Feed(
      () => this.current,
      () => false,
      { nowMs: () => performance.now() },
    );
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Listens on a free port; after `stop` on the same port again. */
  async start(): Promise<void> {
    const page = await bundlePage();
    const reply = (message: string, done: boolean): Answer => ({
      ...{ done, message, leader: this.current?.leader ?? null, term: this.current?.term ?? 0, tookMs: 1 },
    });
    const app = httpApp({
      ...{ page, feed: this.feed, hostNames: [] },
      nowMs: () => performance.now(),
      wallMs: () => Date.now(),
      healthy: () => true,
      unready: () => null,
      metrics: async () => ({ contentType: 'text/plain', text: '' }),
      token: TOKEN,
      commands: () => ({
        ask: async (request) => {
          this.asked.push(request);
          return reply(this.answer.message, this.answer.done);
        },
        dryRun: (request) => reply(`${request.kind}: this is what would happen`, true),
      }),
    });
    await new Promise<void>((resolve) => {
      this.server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: this.port }, (info: AddressInfo) => {
        this.port = info.port;
        resolve();
      });
    });
    this.ticker = setInterval(() => this.feed.tick(), TICK_MS);
  }

  async stop(): Promise<void> {
    if (this.ticker !== null) clearInterval(this.ticker);
    this.feed.listeners.close();
    const { server } = this;
    this.server = null;
    if (server === null) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      if ('closeAllConnections' in server) server.closeAllConnections();
    });
  }

  show(status: Status): void {
    this.current = status;
    this.feed.stale();
  }

  log(line: Partial<Omit<LogEvent, 'id'>>): void {
    this.feed.log({
      ...{ at: new Date().toISOString(), level: 'INFO', subject: 'monitor', code: 'STARTED', message: 'a line' },
      ...line,
    });
  }

  failover(failover: Failover): void {
    this.feed.failover(failover);
  }

  sample(sample: Sample): void {
    this.feed.sample(sample);
  }
}
