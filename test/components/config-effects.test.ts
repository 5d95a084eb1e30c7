/** stack/keys.ts says of every key what a change of it does to a running stack: compared with the program's resources. */
import { describe, expect, it } from 'vitest';
import { MonitorConfig } from '../../failover/contract/inputs';
import { KEY_NAMES, KEYS, type KeyName } from '../../stack/keys';
import { settledProblems } from '../../stack/preflight-data';
import { VERIFIER } from '../rig/verifier';
import { find, makeCluster, type Registered, register, topologyOf } from './mocks';

const BEFORE: Record<string, string> = {
  ...{ replicas: '2', databasePassword: 'old', monitoring: 'true', pgadmin: 'true' },
  ...{ tlsCertificate: '/before/c.pem', tlsKey: '/before/k.pem' },
  pooler: 'true',
};
/** Another value for each key; what is not named here is derived from the default. */
const OTHER: Record<string, string> = {
  replicas: '3',
  tls: 'require',
  tlsNames: 'db.example.com',
  tlsCertificate: '/after/c.pem',
  tlsKey: '/after/k.pem',
  writePort: '6434',
  bindAddress: '0.0.0.0',
  clientNetworks: '192.0.2.0/24',
  monitoring: 'false',
  subnet: '10.202.0.0/24',
  databasePassword: 'new',
  syncMode: 'asynchronous',
  onNoReplica: 'block',
  maxLag: '1GB',
  failoverMode: 'observe',
  backupQueue: '4GB',
  backupFolder: '/srv/backups',
  backupCheckEvery: 'off',
  backupS3: '{"endpoint": "s3.example.com", "bucket": "backups", "key": "K", "secret": "S"}',
  logFormat: 'json',
  logSize: '20MB',
  notifyWebhook: 'https://example.com/hook',
  postgresSettings: '{"work_mem": "8MB"}',
  pgadmin: 'false',
  pooler: 'false',
  extraPackages: 'postgresql-17-pgvector',
  locales: 'de_DE.UTF-8',
  sharedMemory: '2GB',
  nodeMemory: '4GB',
  poolRoles: JSON.stringify({ report: VERIFIER }),
  replicaFrom: 'backup',
  restoreFrom: JSON.stringify({ volume: 'b', stanza: 'c1', passphrase: 'p', timeline: 1, to: 'latest' }),
};
/** What else is set for a key whose effects depend on it; its effects are those in any of these. */
const WITH: Partial<Record<KeyName, readonly Record<string, string>[]>> = {
  bindAddress: [{}, { tls: 'on' }],
  backupQueue: [{ backup: 'true' }],
  backupKeep: [{ backup: 'true' }],
  replicaFrom: [{ backup: 'true' }],
  backupS3: [{ backup: 'true' }],
  clientNetworks: [{ bindAddress: '192.0.2.9', tls: 'on' }],
};
const DATA = {
  name: 'postgres-primary-data',
  labels: {
    'postgres-failover.stack': 'postgres-failover/test',
    'postgres-failover.role': 'postgres-data',
    'postgres-failover.database': 'app',
    'postgres-failover.owner': 'app',
  },
};

function otherValue(key: KeyName): string {
  const fallback = KEYS[key].default;
  if (OTHER[key] !== undefined) return OTHER[key];
  if (typeof fallback === 'boolean') return String(!fallback);
  if (typeof fallback === 'number') return String(fallback + 1);
  if (typeof fallback !== 'string') throw new Error(`OTHER needs a value for ${key}`);
  return /^\d+[smd]$/.test(fallback) ? `${Number.parseInt(fallback, 10) + 1}${fallback.slice(-1)}` : `other${fallback}`;
}

function cluster(raw: Record<string, string>): Promise<Registered[]> {
  const { databasePassword, ...rest } = { ...BEFORE, ...raw };
  return register(() => {
    makeCluster(rest, { databasePassword });
  });
}

const idOf = ({ type, name }: Registered): string => `${type.split(':').at(-1)} ${name}`;
const ROLE = /^Container (postgres-|backend)/;

/** The PostgreSQL settings in the file that the monitor gets: it hands them to the keepers. */
function settingsOf(all: readonly Registered[]): string {
  const { uploads } = find(all, 'Container', 'failover-monitor').inputs as { uploads: { content: string }[] };
  return JSON.stringify(MonitorConfig.parse(JSON.parse(uploads[0]?.content ?? '')).settings.postgresSettings);
}

/** What the difference between two clusters means for a running stack, in the words of the page. */
function effectsOf(before: readonly Registered[], after: readonly Registered[]): string[] {
  const [old, now] = [before, after].map((all) => new Map(all.map((one) => [idOf(one), JSON.stringify(one.inputs)])));
  const all = [...new Set([...(old?.keys() ?? []), ...(now?.keys() ?? [])])];
  const changed = all.filter((id) => old?.get(id) !== now?.get(id));
  const comesOrGoes = (id: string) => old?.has(id) !== now?.has(id);
  const effects = changed.flatMap((id) => {
    if (id.startsWith('Network ')) return 'all replaced';
    if (id === 'Image postgres-image' && !changed.includes('Image haproxy-image')) return 'nodes replaced';
    if (id.startsWith('Image ')) return comesOrGoes(id) ? null : 'images built';
    if (id === 'Container haproxy') return 'HAProxy replaced';
    if (id === 'Container failover-monitor')
      return ['monitor replaced', ...(settingsOf(before) === settingsOf(after) ? [] : ['settings rolled out'])];
    if (id === 'Container prometheus') return `Prometheus ${comesOrGoes(id) ? 'comes or goes' : 'replaced'}`;
    if (id === 'Container pgadmin') return `pgAdmin ${comesOrGoes(id) ? 'comes or goes' : 'replaced'}`;
    if (id === 'Container pooler') return `pooler ${comesOrGoes(id) ? 'comes or goes' : 'replaced'}`;
    if (id === 'Container backup-check') return `backup check ${comesOrGoes(id) ? 'comes or goes' : 'replaced'}`;
    if (id === 'Command haproxy-apply-config') return 'reload';
    const role = ROLE.exec(id)?.[1];
    if (role !== undefined)
      return `${role === 'backend' ? 'backends' : 'nodes'} ${comesOrGoes(id) ? 'come or go' : 'replaced'}`;
    if (id.startsWith('Volume ') && !comesOrGoes(id)) return 'volume replaced';
    return null;
  });
  return [...new Set(effects.filter((effect) => effect !== null))].sort();
}

describe('the table of what a change of a key does', () => {
  it.each(KEY_NAMES)('says of %s what the program does', async (key) => {
    const effects = new Set<string>();
    for (const more of WITH[key] ?? [{}]) {
      const raw = { ...more, [key]: otherValue(key) };
      const problems = settledProblems(topologyOf({ ...BEFORE, ...raw }), [DATA]);
      if (problems.some((problem) => problem.startsWith(`${key}: `))) effects.add('refused');
      else for (const effect of effectsOf(await cluster(more), await cluster(raw))) effects.add(effect);
    }
    expect([...KEYS[key].effects].sort()).toEqual([...effects].sort());
  });
});
