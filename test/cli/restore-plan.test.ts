/** What a restore checks before anything is touched, and what the new stack is called and gets. */
import { describe, expect, it } from 'vitest';
import {
  freeName,
  freePorts,
  freeSubnet,
  newStackFile,
  PORT_KEYS,
  type Ports,
  prefixOf,
  replicasOf,
  whyNoRoom,
  whyNotRestorable,
} from '../../cli/restore-plan';
import type { RepositoryLook } from '../../failover/contract/restore';
import { checkConfig } from '../../stack/config';

const BEGIN = Date.UTC(2026, 0, 31, 5);
const LOOK: RepositoryLook = {
  stanza: 'c7',
  backups: [{ label: '20260131-045900F', type: 'full', stopMs: BEGIN, sizeBytes: 1e9 }],
  timelines: [{ timeline: 1, archivedMs: null }],
  archivedMs: BEGIN + 3_600_000,
  freeBytes: 4e9,
  timeline: 1,
};
const FROM = { volume: 'postgres-backup', stanza: 'c7', timeline: 1, to: 'latest' };
const at = (ms: number) => whyNotRestorable({ kind: 'time', atMs: BEGIN + ms }, LOOK);

describe('the wish', () => {
  it('may be a moment of the window, the end, or a backup', () => {
    expect([at(1_000), at(3_598_000)]).toEqual([null, null]);
    expect(whyNotRestorable({ kind: 'latest' }, LOOK)).toBeNull();
    expect(whyNotRestorable({ kind: 'backup', label: '20260131-045900F' }, LOOK)).toBeNull();
  });

  it('is refused outside of the window, which is named', () => {
    const window = 'from 2026-01-31 05:00:01.000+00 to 2026-01-31 05:59:58.000+00';
    expect(at(0)).toContain(window);
    expect(at(3_599_000)).toContain(`${window}; while the old stack runs`);
  });

  it('is refused when no backup is called so, and there is none', () => {
    expect(whyNotRestorable({ kind: 'backup', label: '20250101-000000F' }, LOOK)).toContain(
      'There are: 20260131-045900F',
    );
    expect(whyNotRestorable({ kind: 'latest' }, { ...LOOK, backups: [] })).toContain('no backup yet');
  });

  it('needs room for each node', () => {
    expect(whyNoRoom(LOOK, 3)).toBeNull();
    expect(whyNoRoom(LOOK, 4)).toContain('5200000000 bytes for 4 nodes, and 4000000000 are free');
  });
});

describe('the new stack', () => {
  it('has a name of its own', () => {
    const now = new Date(2026, 0, 31, 12, 5);
    expect(freeName('shop', now, ['shop'])).toBe('shop-restore-202601311205');
    expect(freeName('shop', now, ['shop-restore-202601311205'])).toBe('shop-restore-202601311205-2');
    expect(prefixOf('shop-restore-202601311205')).toBe('shop-restore-202601311205-');
    expect(prefixOf('A.Long_Name.of-a.shop-restore-202601311205')).toMatch(/^[a-z0-9][a-z0-9_-]{0,28}-$/);
  });

  it('has ports that are all free', async () => {
    const taken = new Set([5534, 8208]);
    const ports = await freePorts(PORT_KEYS, async (port) => !taken.has(port));
    expect(ports).toMatchObject({ writePort: 5734, monitorPort: 8308 });
    expect(await freePorts(PORT_KEYS, async () => false)).toBeNull();
  });

  it('has a subnet that overlaps no other', () => {
    expect(freeSubnet(['10.201.43.0/24', '10.201.44.0/22'])).toBe('10.201.48.0/24');
    expect(freeSubnet(['10.0.0.0/8'])).toBeNull();
  });

  it('takes over the config of the old one, on loopback and without the parts that are no database', () => {
    const old = {
      encryptionsalt: 'v1:x',
      config: {
        'postgres-failover:backup': 'true',
        'postgres-failover:backupFolder': '/backups',
        'postgres-failover:backupS3': { bucket: 'b', path: '/p', secret: { secure: 'v1:z' } },
        'postgres-failover:bindAddress': '0.0.0.0',
        'postgres-failover:clientNetworks': '192.0.2.0/24',
        'postgres-failover:databasePassword': { secure: 'v1:y' },
        'postgres-failover:notifyWebhook': 'https://example.com',
        'postgres-failover:replicationPort': 5442,
        'docker:host': 'unix:///run/docker.sock',
      },
    };
    const ports: Ports = { ...PORT_KEYS, writePort: 5534 };
    const file = newStackFile(
      old,
      'postgres-failover',
      { name: 'n', prefix: 'n-', ports, subnet: '10.201.44.0/24' },
      FROM,
    );
    expect(file).toMatchObject({
      encryptionsalt: 'v1:x',
      config: {
        'postgres-failover:backup': 'true',
        'postgres-failover:bindAddress': '127.0.0.1',
        'postgres-failover:backend': 'false',
        'postgres-failover:databasePassword': { secure: 'v1:y' },
        'postgres-failover:namePrefix': 'n-',
        'postgres-failover:restoreFrom': FROM,
        'postgres-failover:writePort': 5534,
        'docker:host': 'unix:///run/docker.sock',
      },
    });
    const config = file.config as Record<string, unknown>;
    const own = Object.entries(config).filter(
      ([key, value]) => key.startsWith('postgres-failover:') && typeof value !== 'object',
    );
    const raw = own.map(([key, value]) => [key.slice('postgres-failover:'.length), String(value)]);
    expect(checkConfig(Object.fromEntries(raw)).problems).toEqual([]);
    expect(Object.keys(config).join()).not.toMatch(
      /backupFolder|backupS3|clientNetworks|notifyWebhook|replicationPort/,
    );
  });

  it('has as many replicas as the old one, or as are asked for, also when the old one has more of them for reports', () => {
    const config = { 'postgres-failover:replicas': 3, 'postgres-failover:reportReplicas': '2' };
    const made = (replicas?: number) => {
      const stack = { name: 'n', prefix: 'n-', ports: PORT_KEYS, subnet: '10.201.44.0/24', replicas };
      const { config: own } = newStackFile({ config }, 'postgres-failover', stack, FROM);
      const { 'postgres-failover:replicas': all, 'postgres-failover:reportReplicas': reports } = own as typeof config;
      const checked = checkConfig({ replicas: String(all), reportReplicas: String(reports) });
      return [Number(all), Number(reports), checked.problems.length];
    };
    expect([made(), made(3), made(1), made(0)]).toEqual([
      [3, 2, 0],
      [3, 2, 0],
      [1, 0, 0],
      [0, 0, 0],
    ]);
    expect([replicasOf('0'), replicasOf('8')]).toEqual([0, 8]);
    expect(() => replicasOf('-1')).toThrow('--replicas: "-1" is refused; must be a whole number from 0 to 8');
  });
});
