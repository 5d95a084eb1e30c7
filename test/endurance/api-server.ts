/**
 * The monitor's HTTP side with a status of a cluster that is well, for readers of another process. It writes a line of
 * the log and a sample every few milliseconds; their length is what a message says. Answers each message with its
 * memory after a collection of garbage.
 */
import { decide } from '../../failover/core/decide';
import { Situation } from '../../failover/core/facts/situation';
import { Feed } from '../../failover/monitor/outside/feed';
import { httpApp, listenHttp } from '../../failover/monitor/outside/http';
import { Metrics } from '../../failover/monitor/outside/metrics';
import { clusterStatus } from '../../failover/monitor/outside/status-view';
import { leaderView, NOW_MS, observation, POLICY, replicaView, serving } from '../core/world';

const EVERY_MS = 20;

const state = serving(['a']);
const seen = observation([leaderView(state), replicaView(state, 'a')]);
const decision = decide(state, seen, NOW_MS, POLICY);
const status = () =>
  clusterStatus(new Situation(decision.state, seen, NOW_MS, POLICY), {
    ...{ stack: 'endurance', version: '1', decision, lastFailover: null, wallMs: Date.now() },
  });
const clock = { nowMs: () => performance.now() };
const feed = new Feed(status, () => false, clock);
const metrics = new Metrics('1', POLICY, clock);
let answered = 0;
let chars = 200;
const app = httpApp({
  ...{ feed, nowMs: clock.nowMs, wallMs: Date.now, healthy: () => true, unready: () => null, hostNames: [] },
  page: { 'index.html': '', 'page.css': '', 'page.js': '', 'icon.svg': '' },
  metrics: async () => {
    answered += 1;
    metrics.cycle(decision, seen);
    return metrics.text(status(), seen);
  },
  commands: () => ({
    ask: async () => ({ done: true, message: '', leader: 'p', term: 1, tookMs: 1 }),
    dryRun: () => ({ done: true, message: '', leader: 'p', term: 1, tookMs: 1 }),
  }),
  token: 'secret',
});
setInterval(() => {
  feed.log({
    at: new Date().toISOString(),
    level: 'INFO',
    subject: 'p',
    code: 'CONNECTED',
    message: 'x'.repeat(chars),
  });
  feed.sample({ at: new Date().toISOString(), writeMs: 1, lagBytes: { a: 0 } });
  feed.tick();
}, EVERY_MS);

listenHttp(app, '127.0.0.1', 0).then(
  ({ port }) => {
    process.send?.({ port });
    process.on('message', (message: { chars: number }) => {
      chars = message.chars;
      for (let i = 0; i < 3; i++) globalThis.gc?.();
      const { heapUsed, rss, external } = process.memoryUsage();
      process.send?.({ heapUsed, rss, external, listeners: feed.listeners.count, answered });
    });
    process.on('disconnect', () => process.exit(0));
  },
  () => process.exit(1),
);
