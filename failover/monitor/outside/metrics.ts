/**
 * The metrics of `GET /metrics` (Prometheus text format). Gauges are computed from the newest state when they are
 * requested. Counters and histograms are updated when something happens, which costs microseconds.
 */

import { Counter, Gauge, Histogram, Registry } from '@prometheus-io/client';
import { type Failover, NodeStatus, type PoolerStatus, type Sample } from '../../contract/api';
import type { LogCode } from '../../contract/codes';
import { statusOf } from '../../core/facts/view';
import type { Decision, Policy } from '../../core/state/cluster';
import type { Observation } from '../../core/state/observation';
import type { Clock } from '../ports';
import { BackupGauges } from './backup-metrics';
import type { StatusView } from './status-view';

/** Shorter gaps between heartbeats than two intervals are not counted as gaps, ms. */
const GAP_MIN_MS = 200;
/** Reports of a manual promotion less than 2 s apart are counted once. The copy that has to follow takes longer. */
const SAME_BY_HAND_MS = 2_000;
/** Events that start an attempt which should succeed the first time, with the name of the attempt. */
const ATTEMPTS: Readonly<Partial<Record<LogCode, string>>> = {
  PROMOTE_AGAIN: 'promotion',
  POSTGRES_CRASHED: 'restart',
  COPY_BEGUN: 'copy',
  REWIND_BEGUN: 'rewind',
  SWITCHBACK: 'switchback',
};

export class Metrics {
  private readonly registry = new Registry();
  private readonly gauges = this.makeGauges();
  private readonly backups = new BackupGauges((name, help, labels) => this.gauge(name, help, labels));
  private readonly backupFailures = this.counter(
    'backup_failures_total',
    'Jobs for the backups that failed, and checks that found damage.',
  );
  private readonly failovers = this.counter(
    'failovers_total',
    'Finished changes of leader, by the code of their cause.',
    ['cause'],
  );
  private readonly cycles = this.counter('cycles_total', 'Cycles of the monitor.');
  private readonly secondWritable = this.counter(
    'second_writable_total',
    'Standbys that were found writable (promoted by hand) and were undone.',
  );
  private readonly steps = this.histogram(
    'step_seconds',
    'Time from the detection of a change of leader to each of its steps.',
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 5, 10, 30, 60],
    ['step'],
  );
  private readonly gaps = this.histogram(
    'heartbeat_gap_seconds',
    'Longest age of the leader’s heartbeat before the next one: hangTimeout has to be above that.',
    [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30],
  );
  private readonly writes = this.histogram(
    'write_seconds',
    'Time of a one-row commit on the leader, its standbys included.',
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
  );
  private readonly attempts = this.counter(
    'attempts_total',
    'Promotions that were repeated, restarts after a crash, copies, rewinds and switchbacks that were begun.',
    ['node', 'kind'],
  );
  private byHandAtMs = Number.NEGATIVE_INFINITY;
  private beat: { term: number; count: number; oldestMs: number } | null = null;
  private counted: { term: number; steps: number } = { term: 0, steps: 0 };

  constructor(
    version: string,
    { maxLagBytes }: Pick<Policy, 'maxLagBytes'>,
    private readonly clock: Clock,
  ) {
    this.gauge('build_info', 'Version of the product.', ['version']).set({ version }, 1);
    this.gauge('max_lag_bytes', 'maxLag: a standby that is further behind serves no reads.').set(maxLagBytes);
  }

  /** Called after each cycle. */
  cycle({ code }: Decision, observation: Observation): void {
    this.cycles.inc();
    this.noticeByHand(code);
    for (const { name } of observation.declared) this.noticeBeat(statusOf(observation, name)?.lead ?? null);
  }

  /** Called with each line of the log: its code, and the node that it is about. */
  event(code: LogCode, node: string): void {
    this.noticeByHand(code);
    if (code === 'BACKUP_FAILED' || code === 'BACKUP_DAMAGED') this.backupFailures.inc();
    const kind = ATTEMPTS[code];
    if (kind !== undefined) this.attempts.inc({ node, kind });
  }

  /**
   * Counts a manual promotion. A keeper may undo it before the monitor sees it, so both report it, and it must count
   * once.
   */
  private noticeByHand(code: LogCode): void {
    if (code !== 'PROMOTED_BY_HAND') return;
    const nowMs = this.clock.nowMs();
    if (nowMs - this.byHandAtMs >= SAME_BY_HAND_MS) this.secondWritable.inc();
    this.byHandAtMs = nowMs;
  }

  private noticeBeat(lead: { term: number; heartbeat: number; heartbeatAgeMs: number } | null): void {
    if (lead === null || lead.heartbeat === 0) return;
    const { beat } = this;
    const same = beat !== null && beat.term === lead.term;
    if (same && beat.count === lead.heartbeat) {
      beat.oldestMs = Math.max(beat.oldestMs, lead.heartbeatAgeMs);
      return;
    }
    if (same && lead.heartbeat < beat.count) return;
    if (same) this.gaps.observe(Math.max(beat.oldestMs, GAP_MIN_MS) / 1_000);
    this.beat = { term: lead.term, count: lead.heartbeat, oldestMs: lead.heartbeatAgeMs };
  }

  /** Called with each finished change of leader, and once more when its former leader follows. */
  failover({ term, cause, steps }: Failover): void {
    const known = this.counted.term === term ? this.counted.steps : 0;
    if (this.counted.term !== term) this.failovers.inc({ cause });
    for (const { name, ms } of steps.slice(known)) this.steps.observe({ step: name }, ms / 1_000);
    this.counted = { term, steps: steps.length };
  }

  sample({ writeMs }: Sample): void {
    if (writeMs !== null) this.writes.observe(writeMs / 1_000);
  }

  /**
   * The answer of `/metrics`. `status` and `observation` are the newest ones, null and undefined before the first
   * cycle.
   */
  async text(status: StatusView | null, observation?: Observation): Promise<{ contentType: string; text: string }> {
    if (status !== null && observation !== undefined) this.fill(status, observation);
    return { contentType: this.registry.contentType, text: await this.registry.metrics() };
  }

  private fill(status: StatusView, observation: Observation): void {
    const { gauges } = this;
    for (const gauge of Object.values(gauges)) gauge.reset();
    gauges.term.set(status.term);
    gauges.serving.set(Number(status.serving));
    gauges.paused.set(Number(status.pause !== null));
    gauges.observe.set(Number(status.failoverMode === 'observe'));
    gauges.synchronous.set(Number(status.syncMode === 'synchronous'));
    gauges.reachable.set(Number(status.haproxy.reachable));
    gauges.decision.set({ code: status.code }, 1);
    const expires = status.tls?.expires ?? null;
    const leftMs = expires === null ? null : Date.parse(expires) - Date.parse(status.at);
    if (leftMs !== null) gauges.certificateExpires.set({ mode: status.tls?.mode }, leftMs / 1_000);
    for (const { name: slot, to } of status.clientSlots?.gaps ?? [])
      gauges.slotGap.set({ slot, kind: to === null ? 'lost' : 'gap' }, 1);
    if (status.pooler !== undefined) this.fillPooler(status.pooler);
    this.backups.fill(status.backup);
    for (const { name: node, ...figures } of status.nodes) {
      for (const role of NodeStatus.shape.role.options) gauges.role.set({ node, role }, Number(figures.role === role));
      gauges.connected.set({ node }, Number(figures.connected));
      gauges.sync.set({ node }, Number(figures.sync === 'counted'));
      gauges.writable.set({ node }, Number(figures.state === 'primary'));
      if (figures.lagBytes !== null) gauges.lagBytes.set({ node }, figures.lagBytes);
      if (figures.lagSeconds !== null) gauges.lagSeconds.set({ node }, figures.lagSeconds);
      const lead = statusOf(observation, node)?.lead ?? null;
      if (lead !== null) gauges.heartbeatAge.set({ node }, lead.heartbeatAgeMs / 1_000);
      for (const { name: slot, retainedBytes } of figures.slots) {
        if (retainedBytes !== null) gauges.slotBytes.set({ node, slot }, retainedBytes);
      }
      gauges.route.set({ node, route: 'write' }, Number(node === status.haproxy.write));
      gauges.route.set({ node, route: 'read' }, Number(status.haproxy.read.includes(node)));
    }
  }

  private fillPooler({ connected, pause, pools }: PoolerStatus): void {
    const { gauges } = this;
    gauges.poolerConnected.set(Number(connected));
    gauges.poolerPaused.set(Number(pause !== 'no'));
    for (const { role, clients, waiting, maxWaitMs, active, idle, restarts } of pools) {
      gauges.poolerClients.set({ role, state: 'served' }, clients);
      gauges.poolerClients.set({ role, state: 'waiting' }, waiting);
      gauges.poolerConnections.set({ role, state: 'active' }, active);
      gauges.poolerConnections.set({ role, state: 'idle' }, idle);
      gauges.poolerWait.set({ role }, maxWaitMs / 1_000);
      gauges.poolerRestarts.set({ role }, restarts);
    }
  }

  private makeGauges() {
    return {
      role: this.gauge('role', '1 for the role that a node has.', ['node', 'role']),
      term: this.gauge('term', 'Number of the present leadership.'),
      lagBytes: this.gauge('lag_bytes', 'Bytes by which the data that a standby shows is behind the leader.', ['node']),
      lagSeconds: this.gauge('lag_seconds', 'Age of the newest change that a standby shows while it lags.', ['node']),
      sync: this.gauge('sync', '1: this standby is counted, so acknowledged writes may wait for it.', ['node']),
      connected: this.gauge('connected', '1: the keeper of this node is connected.', ['node']),
      writable: this.gauge('writable', '1: PostgreSQL on this node says that it is not in recovery.', ['node']),
      heartbeatAge: this.gauge(
        'heartbeat_age_seconds',
        'Time since the leader’s PostgreSQL last answered a heartbeat.',
        ['node'],
      ),
      reachable: this.gauge('haproxy_reachable', '1: HAProxy answers the monitor.'),
      route: this.gauge('haproxy_route', '1: HAProxy sends this route’s clients to this node.', ['node', 'route']),
      serving: this.gauge('serving', '1: writes go through.'),
      paused: this.gauge('paused', '1: automatic changes of leader are paused.'),
      observe: this.gauge('observe', '1: failoverMode is observe.'),
      synchronous: this.gauge('synchronous', '1: syncMode is synchronous.'),
      slotBytes: this.gauge('slot_retained_bytes', 'WAL that is kept for a replication slot.', ['node', 'slot']),
      slotGap: this.gauge(
        'slot_gap',
        '1: since a change of leader something is missing for a slot that a person made (gap), or the slot is (lost).',
        ['slot', 'kind'],
      ),
      certificateExpires: this.gauge(
        'certificate_expires_seconds',
        'Time until the certificate that clients are shown expires; negative: it has expired.',
        ['mode'],
      ),
      poolerConnected: this.gauge('pooler_connected', '1: the pooler is connected to the monitor.'),
      poolerPaused: this.gauge('pooler_paused', '1: the pooler is paused for a planned change.'),
      poolerClients: this.gauge('pooler_clients', 'Clients of the pooler.', ['role', 'state']),
      poolerConnections: this.gauge('pooler_connections', 'The pooler’s connections to PostgreSQL.', ['role', 'state']),
      poolerWait: this.gauge('pooler_wait_seconds', 'How long the oldest waiting statement has waited.', ['role']),
      poolerRestarts: this.gauge('pooler_restarts', 'How often PgBouncer was started again.', ['role']),
      decision: this.gauge('decision', '1 for the code of the last decision.', ['code']),
    };
  }

  private gauge<L extends string>(name: string, help: string, labelNames?: L[]): Gauge<L> {
    return new Gauge(this.named(name, help, labelNames));
  }

  private counter<L extends string>(name: string, help: string, labelNames?: L[]): Counter<L> {
    return new Counter(this.named(name, help, labelNames));
  }

  private histogram<L extends string>(name: string, help: string, buckets: number[], labelNames?: L[]): Histogram<L> {
    return new Histogram({ ...this.named(name, help, labelNames), buckets });
  }

  private named<L extends string>(name: string, help: string, labelNames: L[] = []) {
    return { name: `pgfailover_${name}`, help, labelNames, registers: [this.registry] };
  }
}
