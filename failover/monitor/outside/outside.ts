/** Page, API, metrics and webhook: what people and other programs get from the monitor. This room decides nothing. */

import type { Failover, PoolerStatus } from '../../contract/api';
import type { Pair } from '../../contract/certificates';
import type { LogCode } from '../../contract/codes';
import type { MonitorConfig } from '../../contract/inputs';
import { PORTS } from '../../contract/layout';
import { type Level, localTime, shortened } from '../../contract/log-line';
import { derivedPassword } from '../../contract/proof';
import { VERSION } from '../../contract/version';
import { Situation } from '../../core/facts/situation';
import { type Decision, isChanging } from '../../core/state/cluster';
import type { Observation } from '../../core/state/observation';
import type { BackupCommand, Clock, Commands, Log, PoolerView, Seen } from '../ports';
import { Feed, SAMPLE_EVERY_MS } from './feed';
import { httpApp, type ListeningWithTls, listenHttp, listenHttps, readPage } from './http';
import { Metrics } from './metrics';
import { Notifier } from './notify';
import { clusterStatus, isServing, Sampler, type StatusView } from './status-view';

/** The loop counts as alive when its last cycle is not older than this, ms. */
const ALIVE_MS = 5_000;

interface ShownCertificate {
  /** End of its life, ms since the epoch; null: there is none. */
  readonly expiresAtMs: number | null;
  /** Why a newer one is not used. */
  readonly problem: string | null;
}

export class Outside implements Log {
  private readonly sampler = new Sampler();
  private readonly feed: Feed;
  private readonly metrics: Metrics;
  private readonly notifier: Notifier | null;
  /** Null until the first cycle. */
  private seen: Seen | null = null;
  private cycleAtMs: number;
  /** The port that is published beyond loopback; null: there is none. */
  private https: ListeningWithTls | null = null;
  /** Certificate of that port. */
  private shown: Pair | null = null;
  /** Stops what {@link listen} has begun. */
  close: () => void = () => undefined;

  constructor(
    private readonly config: MonitorConfig,
    private readonly clock: Clock,
    /** The log that gets every line. The API shows the same lines. */
    private readonly log: Log,
    /** Carries out people's requests. It is called only for a request, because the loop is built later. */
    private readonly commands: () => Commands,
    /** The certificate that clients are shown; absent or undefined: there is none. */
    private readonly certificate: () => ShownCertificate | undefined = () => undefined,
    /** What is known of the pooler; null when it is not connected. */
    private readonly pooler: () => PoolerView | null = () => null,
    /** Clients on the leader; undefined while no leader is open. */
    private readonly clientPlaces: () => StatusView['clientPlaces'] = () => undefined,
    /** The schedule of the backups. */
    private readonly backups?: () => BackupCommand,
  ) {
    this.cycleAtMs = clock.nowMs();
    const busy = () => this.seen !== null && isChanging(this.seen.decision.state);
    this.feed = new Feed(() => this.status(), busy, clock);
    this.metrics = new Metrics(VERSION, config.policy, clock);
    const { notifyWebhook: url } = config;
    this.notifier = url === undefined ? null : new Notifier(url, config.stack, this);
  }

  /** Writes a line to the log and to the readers of the API. */
  write(level: Level, subject: string, code: LogCode, message: string, rule?: string): void {
    this.log.write(level, subject, code, message, rule);
    const event = { at: localTime(new Date()), level, subject, code, message: shortened(message), rule };
    this.feed.log(event);
    this.metrics.event(code, subject);
  }

  /** Called after each cycle. */
  decided(decision: Decision, observation: Observation): void {
    this.seen = { decision, observation };
    this.cycleAtMs = this.clock.nowMs();
    this.metrics.cycle(decision, observation);
    this.sampler.note(this.situation(this.seen));
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
    const { config, clock, commands } = this;
    const app = httpApp({
      ...{ feed: this.feed, nowMs: clock.nowMs, wallMs: Date.now, commands },
      ...(this.backups && { backups: this.backups }),
      page: readPage(pageFolder),
      healthy: () => clock.nowMs() - this.cycleAtMs < ALIVE_MS,
      unready: () => {
        if (this.seen === null) return 'the monitor is starting';
        return isServing(this.situation(this.seen)) ? null : this.seen.decision.reason;
      },
      hostNames: config.hostNames,
      metrics: () => this.metrics.text(this.status(), this.seen?.observation),
      token: derivedPassword(config.clusterKey, 'admin'),
    });
    const server = await listenHttp(app, '0.0.0.0', PORTS.monitorHttp);
    if (config.tls?.https !== undefined) this.https = await listenHttps(app, '0.0.0.0', PORTS.monitorHttps);
    const sampling = setInterval(() => this.sample(), SAMPLE_EVERY_MS);
    this.close = () => {
      this.feed.listeners.close();
      clearInterval(sampling);
      server.close();
      this.https?.close();
    };
  }

  /** The certificate of the published port. Open connections keep the former one. */
  encrypt(pair: Pair | null): void {
    if (pair === null || pair === this.shown || this.https === null) return;
    this.https.show(pair);
    this.shown = pair;
  }

  private sample(): void {
    if (this.seen === null) return;
    const sample = this.sampler.sample(this.situation(this.seen), Date.now());
    this.feed.sample(sample);
    this.metrics.sample(sample);
  }

  private status(): StatusView | null {
    if (this.seen === null) return null;
    return clusterStatus(this.situation(this.seen), {
      ...{ stack: this.config.stack, version: VERSION, decision: this.seen.decision, wallMs: Date.now() },
      lastFailover: this.feed.lastFailover,
      tls: this.tls(),
      clientPlaces: this.clientPlaces(),
      backup: this.backups?.().summary() ?? undefined,
      ...(this.config.pooler === true && { pooler: poolerStatus(this.pooler()) }),
    });
  }

  private tls(): StatusView['tls'] {
    const { expiresAtMs = null, problem = null } = this.certificate() ?? {};
    const expires = expiresAtMs === null ? null : new Date(expiresAtMs).toISOString();
    const source = this.config.tls?.own === undefined ? 'authority' : 'files';
    return { mode: this.config.tls?.mode ?? 'off', expires, problem, source };
  }

  /** The newest decision and observation, judged at the present time. */
  private situation({ decision, observation }: Seen): Situation {
    return new Situation(decision.state, observation, this.clock.nowMs(), this.config.policy);
  }
}

function poolerStatus(view: PoolerView | null): PoolerStatus {
  if (view === null) return { connected: false, pause: 'no', pools: [] };
  return { connected: true, pause: view.pause, pools: [...view.pools] };
}
