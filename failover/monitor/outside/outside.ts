/**
 * All that shows the monitor to the outside: page, API, metrics, webhook. It is told what happens and decides nothing.
 */

import type { Failover } from '../../contract/api';
import type { LogCode } from '../../contract/codes';
import type { MonitorConfig } from '../../contract/inputs';
import { PORTS } from '../../contract/layout';
import { type Level, localTime, shortened } from '../../contract/log-line';
import { derivedPassword } from '../../contract/proof';
import { VERSION } from '../../contract/version';
import { type Decision, isChanging } from '../../core/state/cluster';
import type { Observation } from '../../core/state/observation';
import type { Clock, Inside, Log } from '../ports';
import { Feed, SAMPLE_EVERY_MS } from './feed';
import { httpApp, listenHttp, readPage } from './http';
import { Listeners } from './listeners';
import { Metrics } from './metrics';
import { Notifier } from './notify';
import { clusterStatus, isServing, Sampler, type StatusView } from './status-view';

/** The loop counts as alive when its last cycle is not older than this, ms. */
const ALIVE_MS = 5_000;

interface OutsideOptions {
  config: MonitorConfig;
  clock: Clock;
  /** The log that gets every line. The API shows the same lines. */
  log: Log;
  /** Gives the monitor's insides. Called only after the first decision, or by readers. */
  inside: () => Inside;
}

export class Outside implements Log {
  private readonly listeners = new Listeners();
  private readonly sampler = new Sampler();
  private readonly feed: Feed;
  private readonly metrics: Metrics;
  private readonly notifier: Notifier | null;
  private cycleAtMs: number;
  /** Stops what {@link listen} has begun. */
  private stop: () => void = () => undefined;

  constructor(private readonly options: OutsideOptions) {
    const { config, clock, inside } = options;
    this.cycleAtMs = clock.nowMs();
    this.feed = new Feed({
      status: () => this.status(),
      busy: () => {
        const seen = inside().seen();
        return seen !== null && isChanging(seen.decision.state);
      },
      failovers: () => inside().failovers(),
      listeners: this.listeners,
      nowMs: clock.nowMs,
    });
    this.metrics = new Metrics(VERSION, clock, () => {
      const [seen, status] = [inside().seen(), this.status()];
      return seen === null || status === null ? null : { ...seen, status, policy: config.policy };
    });
    const { notifyWebhook: url, stack } = config;
    this.notifier = url === undefined ? null : new Notifier({ url, stack, log: this });
  }

  /** Writes a line to the log and to the readers of the API. */
  write(level: Level, subject: string, code: LogCode, message: string, rule?: string): void {
    this.options.log.write(level, subject, code, message, rule);
    const event = { at: localTime(new Date()), level, subject, code, message: shortened(message), rule };
    this.feed.log(event);
    this.metrics.event(code, subject);
  }

  /** Called after each cycle. */
  decided(decision: Decision, observation: Observation): void {
    this.cycleAtMs = this.options.clock.nowMs();
    this.metrics.cycle(decision, observation);
    this.sampler.note(decision, observation, this.cycleAtMs);
    this.feed.tick();
  }

  /** Called after each finished change of leader, and again when its former leader follows. */
  failover(failover: Failover): void {
    this.feed.failover(failover);
    this.metrics.failover(failover);
    this.notifier?.failover(failover);
  }

  /** Begins to answer requests, with the page in `pageFolder`. Throws when the port is not available. */
  async listen(pageFolder: string): Promise<void> {
    const { config, clock, inside } = this.options;
    const app = httpApp({
      page: readPage(pageFolder),
      feed: this.feed,
      listeners: this.listeners,
      version: VERSION,
      nowMs: clock.nowMs,
      healthy: () => clock.nowMs() - this.cycleAtMs < ALIVE_MS,
      unready: () => {
        const seen = inside().seen();
        if (seen === null) return 'the monitor is starting';
        return isServing(seen.decision.state, seen.observation) ? null : seen.decision.reason;
      },
      hostNames: config.hostNames,
      metrics: () => this.metrics.text(),
      commands: {
        token: derivedPassword(config.clusterKey, 'admin'),
        ask: (request) => inside().ask(request),
        dryRun: (request) => inside().dryRun(request),
        wallMs: Date.now,
      },
    });
    const server = await listenHttp(app, '0.0.0.0', PORTS.monitorHttp);
    const sampling = setInterval(() => this.sample(), SAMPLE_EVERY_MS);
    this.stop = () => {
      clearInterval(sampling);
      server.close();
    };
  }

  close(): void {
    this.listeners.close();
    this.stop();
  }

  private sample(): void {
    const { clock, inside } = this.options;
    const seen = inside().seen();
    if (seen === null) return;
    const sample = this.sampler.sample(seen.decision, seen.observation, clock.nowMs(), Date.now());
    this.feed.sample(sample);
    this.metrics.sample(sample);
  }

  private status(): StatusView | null {
    const { config, clock, inside } = this.options;
    const { stack, policy } = config;
    const seen = inside().seen();
    if (seen === null) return null;
    const [readAddresses, lastFailover] = [inside().readAddresses(), inside().failovers().at(-1) ?? null];
    const times = { nowMs: clock.nowMs(), wallMs: Date.now() };
    return clusterStatus({ ...seen, stack, version: VERSION, policy, readAddresses, lastFailover, ...times });
  }
}
