import { type BackupSummary, ClusterStatus } from '../../failover/contract/api';

const PRIMARY = 'postgres-primary';
const REPLICA = 'postgres-replica-1';

/** The backups of a healthy cluster. */
export function healthyBackups(): BackupSummary {
  const full = {
    label: '20261124-120000F',
    type: 'full' as const,
    at: '2026-11-24T12:05:00.000Z',
    sizeBytes: 5_000_000,
  };
  return {
    window: { from: '2026-11-24T12:05:00.000Z', to: '2026-11-24T20:59:30.000Z' },
    ...{ lastFull: full, last: full, next: { kind: 'incr', at: '2026-11-25T12:00:00.000Z' } },
    ...{ job: null, lastJob: null, old: null, problem: null, storedBytes: 1_000_000, freeBytes: 9_000_000_000 },
    archive: { open: true, waitingBytes: 0, lagSeconds: 30, archivedTo: '0/5000000', gap: null, gaps: [] },
  };
}

/** The monitor's status of a healthy cluster of two nodes. */
export function healthyCluster(): ClusterStatus {
  const both = { timeline: 3, lsn: '0/5000060', connected: true, done: true, failure: null, slots: [] };
  const since = '2026-11-24T20:00:00.000Z';
  const primary = { name: PRIMARY, address: '10.0.0.20', role: 'leader', state: 'primary', order: 'lead, alone' };
  const follows = { order: `follow ${PRIMARY} (stream)`, streamingFrom: PRIMARY, lagBytes: 2048, lagSeconds: 0.1 };
  const replica = { name: REPLICA, address: '10.0.0.21', role: 'standby', state: 'standby', ...follows };
  const unknown = { lagBytes: null, lagSeconds: null, streamingFrom: null, settings: null, syncState: null };
  return ClusterStatus.parse({
    ...{ stack: 'dev', version: '0.1.0', at: '2026-11-24T21:00:00.000Z' },
    ...{ serving: true, code: 'STEADY', rule: 'steady', term: 4, leader: PRIMARY, leaving: null },
    sentence: `${PRIMARY} serves in term 4`,
    ifLeaderDied: { sentence: `${REPLICA} takes over`, takesOver: REPLICA, loss: 'none' },
    ...{ failoverMode: 'automatic', pause: null, syncMode: 'synchronous' },
    nodes: [
      { ...unknown, ...both, since, ...primary, sync: 'no' },
      { ...unknown, ...both, since, ...replica, sync: 'counted' },
    ],
    haproxy: { reachable: true, write: PRIMARY, read: [REPLICA], unreached: [] },
    sync: { waitsFor: 1, members: [REPLICA], changing: false },
    ...{ lastFailover: null, events: [] },
  });
}
