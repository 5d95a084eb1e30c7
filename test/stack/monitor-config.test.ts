import { expect, it } from 'vitest';
import { monitorConfig } from '../../stack/monitor-config';
import { topologyOf } from '../components/mocks';

const SECRETS = {
  clusterKey: 'k'.repeat(32),
  databasePassword: 'p',
  databaseVerifier: 'v',
  authoritySecret: 'a'.repeat(32),
};

it("gives the monitor its policy in milliseconds and bytes, and the keepers' settings apart from it", () => {
  const raw = {
    ...{ hangTimeout: '500ms', maxLag: '1GB', onNoReplica: 'block', startGrace: '1m', logSize: '1MB' },
    ...{
      rebuildInPlace: 'true',
      backup: 'true',
      postgresSettings: '{"work_mem":"8MB"}',
      notifyWebhook: 'https://example.com/hook',
    },
  };
  const config = monitorConfig(topologyOf(raw), SECRETS);
  expect(config.policy).toEqual({
    hangTimeoutMs: 500,
    syncMode: 'synchronous',
    onNoReplica: 'block',
    syncCount: 1,
    maxLagBytes: 1024 ** 3,
    reportReplicas: 0,
    readLagGraceMs: 60_000,
    readFallback: true,
    startGraceMs: 60_000,
    switchback: true,
    switchbackAfterMs: 30_000,
    switchbackLimitMs: 600_000,
    failoverMode: 'automatic',
    backup: true,
    ...{ backupFullEveryMs: 7 * 24 * 3_600_000, backupEveryMs: 24 * 3_600_000 },
  });
  expect(config.settings).toMatchObject({ rebuildInPlace: true, postgresSettings: { work_mem: '8MB' } });
  expect(config.settings.backup).toEqual({ leaseMs: 500, queueBytes: 2 * 1024 ** 3, keep: 2 });
  expect(config).toMatchObject({ logSizeBytes: 1024 ** 2, notifyWebhook: 'https://example.com/hook' });
});

it('tells the keepers of what a replica is made only when that is not the leader', () => {
  const told = (raw: Record<string, string>) => monitorConfig(topologyOf(raw), SECRETS).settings.backup;
  expect(told({ backup: 'true', replicaFrom: 'backup' })?.replicaFrom).toBe('backup');
  expect(told({ backup: 'true', replicaFrom: 'leader' })).toEqual(told({ backup: 'true' }));
  expect(told({ backup: 'true' })).not.toHaveProperty('replicaFrom');
});

it('gives the archive a lease of at most two seconds, and none without backups', () => {
  const leaseOf = (raw: Record<string, string>) => monitorConfig(topologyOf(raw), SECRETS).settings.backup?.leaseMs;
  expect(leaseOf({ hangTimeout: '60s' })).toBe(2_000);
  expect(leaseOf({ backup: 'false' })).toBeUndefined();
  expect(monitorConfig(topologyOf({ backup: 'false' }), SECRETS).policy.backup).toBe(false);
});

it('gives the keepers no password', () => {
  const { settings } = monitorConfig(topologyOf(), { ...SECRETS, databasePassword: 'secret' });
  expect(JSON.stringify(settings)).not.toContain('secret');
});

it('names the monitor by both of its names when the stack has a prefix', () => {
  const { hostNames } = monitorConfig(topologyOf({ namePrefix: 'a-' }), SECRETS);
  expect(hostNames).toEqual(['a-failover-monitor', 'failover-monitor']);
  expect(monitorConfig(topologyOf(), SECRETS).notifyWebhook).toBeUndefined();
});
