/** A config of the monitor, for the parts of it that run without nodes. */
import type { MonitorConfig } from '../../failover/contract/inputs';

export const MONITOR_CONFIG: MonitorConfig = {
  stack: 'endurance',
  nodes: [
    { name: 'p', address: '10.0.0.20' },
    { name: 'a', address: '10.0.0.21' },
  ],
  clusterKey: 'k'.repeat(48),
  databasePassword: 'secret',
  settings: {
    ...{ haproxyAddress: '10.0.0.10', monitorAddress: '10.0.0.11', subnet: '10.0.0.0/24' },
    ...{ databaseName: 'app', databaseUser: 'app', databaseVerifier: 'SCRAM-SHA-256$4096:AA==$AA==:AA==' },
    postgresSettings: {},
  },
  hostNames: [],
  logFormat: 'text',
  logSizeBytes: 10_000_000,
  policy: {
    ...{ hangTimeoutMs: 2_000, syncMode: 'synchronous', onNoReplica: 'continue', syncCount: 1 },
    ...{ maxLagBytes: 16_777_216, reportReplicas: 0, readLagGraceMs: 60_000, readFallback: true, startGraceMs: 5_000 },
    ...{ switchback: false, switchbackAfterMs: 30_000, switchbackLimitMs: 600_000 },
  },
};
