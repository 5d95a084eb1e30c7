import { describe, expect, it } from 'vitest';
import type { BackupSummary, PoolerStatus } from '../../failover/contract/api';
import { decide } from '../../failover/core/decide';
import { Situation } from '../../failover/core/facts/situation';
import { Metrics } from '../../failover/monitor/outside/metrics';
import { clusterStatus } from '../../failover/monitor/outside/status-view';
import { leaderView, NOW_MS, observation, POLICY, replicaView, type StatusPart, serving } from '../core/world';
import { healthyBackups } from '../rig/healthy-cluster';

const state = serving(['a']);
const slots = [
  { name: 'a', active: true, walStatus: 'reserved', retainedBytes: 4096 },
  { name: 'b', active: false, walStatus: 'lost', retainedBytes: null },
];

function at(heartbeat: number, heartbeatAgeMs: number, standby: StatusPart = {}) {
  const seen = observation([
    leaderView(state, { lead: { heartbeat, heartbeatAgeMs } }, { slots }),
    replicaView(state, 'a', {
      ...standby,
      postgres: { replayLsn: '0/4000', heartbeatSeenAgeMs: 700, ...standby.postgres },
    }),
  ]);
  return { seen, decision: decide(state, seen, NOW_MS, POLICY) };
}

function metrics(
  standby: StatusPart = {},
  clock = { nowMs: () => NOW_MS },
  pooler?: PoolerStatus,
  backup?: BackupSummary,
) {
  const { seen, decision } = at(7, 40, standby);
  const shown = { ...seen, haproxy: { ...seen.haproxy, read: ['10.0.0.21'] } };
  const s = new Situation(decision.state, shown, NOW_MS, POLICY);
  const input = { stack: 'dev', version: '1.2.3', decision, lastFailover: null, wallMs: 0, pooler, backup };
  const status = clusterStatus(s, input);
  const all = new Metrics('1.2.3', POLICY, clock);
  return Object.assign(all, { answer: () => all.text(status, seen) });
}

const lines = async (all: ReturnType<typeof metrics>) => (await all.answer()).text.split('\n');

describe('GET /metrics', () => {
  it('shows the pooler’s figures for each role, and none without a pooler', async () => {
    const pool = {
      role: 'app',
      clients: 3,
      waiting: 2,
      maxWaitMs: 250,
      active: 1,
      idle: 4,
      transactions: 9,
      restarts: 1,
    };
    const shown = await lines(metrics({}, undefined, { connected: true, pause: 'pausing', pools: [pool] }));
    expect(shown).toEqual(
      expect.arrayContaining([
        'pgfailover_pooler_connected 1',
        'pgfailover_pooler_paused 1',
        'pgfailover_pooler_clients{role="app",state="served"} 3',
        'pgfailover_pooler_clients{role="app",state="waiting"} 2',
        'pgfailover_pooler_connections{role="app",state="active"} 1',
        'pgfailover_pooler_connections{role="app",state="idle"} 4',
        'pgfailover_pooler_wait_seconds{role="app"} 0.25',
        'pgfailover_pooler_restarts{role="app"} 1',
      ]),
    );
    expect((await lines(metrics())).filter((line) => /^pgfailover_pooler_\w+\{/.test(line))).toEqual([]);
  });

  it('shows the backups, and none without backups', async () => {
    const gap = { from: '000000010000000000000005', to: '000000010000000000000007' };
    const healthy = healthyBackups();
    const named = (all: string[]) =>
      all.flatMap(
        (line) =>
          /^pgfailover_((?:backup|archive)_\w+)\{repository="volume"\} (\S+)$/.exec(line)?.slice(1).join(' ') ?? [],
      );
    expect(named(await lines(metrics({}, undefined, undefined, healthy)))).toEqual(
      expect.arrayContaining([
        ...['archive_open 1', 'archive_waiting_bytes 0', 'archive_lag_seconds 30', 'archive_gap 0'],
        ...['backup_window_start_seconds 1795521900', 'backup_window_end_seconds 1795553970'],
        ...['backup_last_full_seconds 1795521900', 'backup_size_bytes 5000000', 'backup_failed 0', 'backup_old 0'],
      ]),
    );
    const broken = { ...healthy, window: null, old: 'of May', archive: { ...healthy.archive, gap } };
    expect(named(await lines(metrics({}, undefined, undefined, broken)))).toEqual(
      expect.arrayContaining(['archive_gap 1', 'backup_old 1']),
    );
    const last = { result: 'failed' as const, message: 'm', label: 'L', newest: null, ended: 'e', tookMs: 1 };
    const restoreTest = {
      ...{ everySeconds: 60, last, passed: 'p', passedAgeSeconds: 77, next: null, running: null },
      ...{ old: 'of May', problem: null },
    };
    const tested = await lines(metrics({}, undefined, undefined, { ...healthy, restoreTest }));
    expect(tested.filter((line) => line.startsWith('pgfailover_restore_test'))).toEqual([
      'pgfailover_restore_test_age_seconds{repository="volume"} 77',
      'pgfailover_restore_test_failed{repository="volume"} 1',
      'pgfailover_restore_test_old{repository="volume"} 1',
    ]);
    const none = metrics();
    expect(named(await lines(none))).toEqual([]);
    none.event('BACKUP_FAILED', 'p');
    none.event('BACKUP_DONE', 'p');
    expect(await lines(none)).toContain('pgfailover_backup_failures_total 1');
  });

  it('shows role, lag, sync, routes and replication slots of each node, and the last decision', async () => {
    const { contentType, text } = await metrics().answer();
    expect(contentType).toContain('text/plain');
    for (const line of [
      'pgfailover_build_info{version="1.2.3"} 1',
      'pgfailover_role{node="p",role="leader"} 1',
      'pgfailover_role{node="p",role="standby"} 0',
      'pgfailover_role{node="a",role="standby"} 1',
      'pgfailover_term 1',
      'pgfailover_lag_bytes{node="a"} 4096',
      'pgfailover_lag_seconds{node="a"} 0.7',
      'pgfailover_sync{node="a"} 1',
      'pgfailover_connected{node="a"} 1',
      'pgfailover_writable{node="p"} 1',
      'pgfailover_writable{node="a"} 0',
      'pgfailover_heartbeat_age_seconds{node="p"} 0.04',
      'pgfailover_haproxy_reachable 1',
      'pgfailover_synchronous 1',
      `pgfailover_max_lag_bytes ${POLICY.maxLagBytes}`,
      'pgfailover_haproxy_route{node="p",route="write"} 1',
      'pgfailover_haproxy_route{node="a",route="read"} 1',
      'pgfailover_serving 1',
      'pgfailover_paused 0',
      'pgfailover_observe 0',
      'pgfailover_slot_retained_bytes{node="p",slot="a"} 4096',
      'pgfailover_decision{code="STEADY"} 1',
    ]) {
      expect(text.split('\n')).toContain(line);
    }
  });

  it('shows a second writable node, and counts that the promotion by hand was undone', async () => {
    const all = metrics({ postgres: { state: 'primary', streamingFrom: null } });
    const { seen, decision } = at(7, 40, { postgres: { state: 'primary', streamingFrom: null } });
    expect(decision.code).toBe('PROMOTED_BY_HAND');
    all.cycle(decision, seen);
    expect(await lines(all)).toEqual(
      expect.arrayContaining([
        'pgfailover_writable{node="p"} 1',
        'pgfailover_writable{node="a"} 1',
        'pgfailover_second_writable_total 1',
        'pgfailover_decision{code="PROMOTED_BY_HAND"} 1',
      ]),
    );
  });

  it('counts a promotion by hand that the keeper undid before the monitor saw it, and counts it once when both report it', async () => {
    let nowMs = NOW_MS;
    const all = metrics({}, { nowMs: () => nowMs });
    const { seen, decision } = at(7, 40);
    const counter = async () => (await lines(all)).find((line) => line.startsWith('pgfailover_second_writable_total'));
    all.event('OPENED', 'p');
    expect(await counter()).toBe('pgfailover_second_writable_total 0');
    all.event('PROMOTED_BY_HAND', 'a');
    all.cycle({ ...decision, code: 'PROMOTED_BY_HAND' }, seen);
    expect(await counter()).toBe('pgfailover_second_writable_total 1');
    nowMs += 1_900;
    all.event('PROMOTED_BY_HAND', 'a');
    expect(await counter()).toBe('pgfailover_second_writable_total 1');
    nowMs += 2_000;
    all.cycle(decision, seen);
    all.event('PROMOTED_BY_HAND', 'a');
    expect(await counter()).toBe('pgfailover_second_writable_total 2');
  });

  it('counts repeated promotions, restarts, copies, rewinds and switchbacks, by node and kind', async () => {
    const all = metrics();
    const codes = [
      'COPY_BEGUN',
      'COPY_BEGUN',
      'REWIND_BEGUN',
      'POSTGRES_CRASHED',
      'PROMOTE_AGAIN',
      'SWITCHBACK',
      'OPEN',
    ] as const;
    for (const code of codes) all.event(code, 'a');
    expect((await lines(all)).filter((line) => line.startsWith('pgfailover_attempts_total'))).toEqual([
      'pgfailover_attempts_total{node="a",kind="copy"} 2',
      'pgfailover_attempts_total{node="a",kind="rewind"} 1',
      'pgfailover_attempts_total{node="a",kind="restart"} 1',
      'pgfailover_attempts_total{node="a",kind="promotion"} 1',
      'pgfailover_attempts_total{node="a",kind="switchback"} 1',
    ]);
  });

  it('counts changes of leader by cause, once each, with all their steps', async () => {
    const all = metrics();
    const failover = {
      at: '',
      from: 'p',
      node: 'a',
      term: 2,
      cause: 'LEADER_DEAD',
      steps: [{ name: 'opened', ms: 120 }],
    };
    all.failover(failover);
    all.failover({ ...failover, steps: [...failover.steps, { name: 'rejoined', ms: 4_000 }] });
    expect(await lines(all)).toEqual(
      expect.arrayContaining([
        'pgfailover_failovers_total{cause="LEADER_DEAD"} 1',
        'pgfailover_step_seconds_bucket{le="0.1",step="opened"} 0',
        'pgfailover_step_seconds_bucket{le="0.15",step="opened"} 1',
        'pgfailover_step_seconds_count{step="opened"} 1',
        'pgfailover_step_seconds_count{step="rejoined"} 1',
      ]),
    );
  });

  it('measures gaps between heartbeats, cycles, and commits', async () => {
    const all = metrics();
    for (const [beat, age] of [
      [7, 40],
      [7, 1_400],
      [8, 60],
      [8, 90],
      [9, 30],
    ] as const) {
      const { seen, decision } = at(beat, age);
      all.cycle(decision, seen);
    }
    all.sample({ at: '', writeMs: 3, lagBytes: {} });
    all.sample({ at: '', writeMs: null, lagBytes: {} });
    expect(await lines(all)).toEqual(
      expect.arrayContaining([
        'pgfailover_heartbeat_gap_seconds_bucket{le="0.25"} 1',
        'pgfailover_heartbeat_gap_seconds_bucket{le="1.5"} 2',
        'pgfailover_heartbeat_gap_seconds_count 2',
        'pgfailover_cycles_total 5',
        'pgfailover_write_seconds_count 1',
        'pgfailover_write_seconds_bucket{le="0.005"} 1',
      ]),
    );
  });
});
