/** docs/config.md says for every key what a change of it does to a running stack: compared with the program's resources. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { PostgresCluster } from '../../components/postgres-cluster';
import { MonitorConfig } from '../../failover/contract/inputs';
import { KEYS } from '../../stack/config';
import { settledProblems } from '../../stack/preflight-data';
import { find, type Registered, register, topologyOf } from './mocks';

const PAGE = readFileSync(join(__dirname, '..', '..', 'docs', 'config.md'), 'utf8');
const BEFORE: Record<string, string> = {
  ...{ replicas: '1', databasePassword: 'old', monitoring: 'true', pgadmin: 'true' },
};
/** Another value for each key; what is not named here is derived from the default. */
const OTHER: Record<string, string> = {
  writePort: '6434',
  bindAddress: '0.0.0.0',
  monitoring: 'false',
  subnet: '10.202.0.0/24',
  databasePassword: 'new',
  syncMode: 'asynchronous',
  onNoReplica: 'block',
  maxLag: '1GB',
  failoverMode: 'observe',
  logFormat: 'json',
  logSize: '20MB',
  notifyWebhook: 'https://example.com/hook',
  postgresSettings: '{"work_mem": "8MB"}',
  pgadmin: 'false',
};
/** What cannot be done without a time in which nobody gets in. */
const GAPS = ['HAProxy replaced', 'images built', 'all replaced'];
const DATA = {
  name: 'postgres-primary-data',
  labels: {
    'postgres-failover.stack': 'postgres-failover/test',
    'postgres-failover.role': 'postgres-data',
    'postgres-failover.database': 'app',
    'postgres-failover.owner': 'app',
  },
};

interface Row {
  effects: string[];
  gap: string;
}

/** The rows of the table of keys. */
function rows(): Map<string, Row> {
  const lines = PAGE.split('\n').filter((line) => /^\| `\w+` \|/.test(line));
  return new Map(
    lines.map((line) => {
      const [, key = '', effects = '', gap = ''] = line.split('|').map((cell) => cell.trim());
      return [key.replaceAll('`', ''), { effects: effects.split(', ').sort(), gap }];
    }),
  );
}

function otherValue(key: string): string {
  const fallback = KEYS[key as keyof typeof KEYS].default;
  if (OTHER[key] !== undefined) return OTHER[key];
  if (typeof fallback === 'boolean') return String(!fallback);
  if (typeof fallback === 'number') return String(fallback + 1);
  if (typeof fallback !== 'string') throw new Error(`OTHER needs a value for ${key}`);
  return /^\d+s$/.test(fallback) ? `${Number.parseInt(fallback, 10) + 1}s` : `other${fallback}`;
}

function cluster(raw: Record<string, string>): Promise<Registered[]> {
  const { databasePassword, ...rest } = { ...BEFORE, ...raw };
  return register(() => {
    new PostgresCluster('cluster', { topology: topologyOf(rest), platform: 'linux/arm64', databasePassword });
  });
}

const idOf = ({ type, name }: Registered): string => `${type.split(':').at(-1)} ${name}`;
const ROLE = /^Container (postgres-|backend)/;

/** The PostgreSQL settings in the file that the monitor gets: it hands them to the keepers. */
function settingsOf(all: readonly Registered[]): string {
  const { uploads } = find(all, 'Container', 'failover-monitor').inputs as { uploads: { content: string }[] };
  return JSON.stringify(MonitorConfig.parse(JSON.parse(uploads[0]?.content ?? '')).postgresSettings);
}

/** What the difference between two clusters means for a running stack, in the words of the page. */
function effectsOf(before: readonly Registered[], after: readonly Registered[]): string[] {
  const [old, now] = [before, after].map((all) => new Map(all.map((one) => [idOf(one), JSON.stringify(one.inputs)])));
  const all = [...new Set([...(old?.keys() ?? []), ...(now?.keys() ?? [])])];
  const changed = all.filter((id) => old?.get(id) !== now?.get(id));
  const comesOrGoes = (id: string) => old?.has(id) !== now?.has(id);
  const effects = changed.flatMap((id) => {
    if (id.startsWith('Network ')) return 'all replaced';
    if (id.startsWith('Image ')) return comesOrGoes(id) ? null : 'images built';
    if (id === 'Container haproxy') return 'HAProxy replaced';
    if (id === 'Container failover-monitor')
      return ['monitor replaced', ...(settingsOf(before) === settingsOf(after) ? [] : ['settings rolled out'])];
    if (id === 'Container prometheus') return `Prometheus ${comesOrGoes(id) ? 'comes or goes' : 'replaced'}`;
    if (id === 'Container pgadmin') return `pgAdmin ${comesOrGoes(id) ? 'comes or goes' : 'replaced'}`;
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
  let before: Registered[];
  beforeAll(async () => {
    before = await cluster({});
  });

  it('has a row for every key and no other', () => {
    expect([...rows().keys()].sort()).toEqual(Object.keys(KEYS).sort());
  });

  it.each(Object.keys(KEYS))('says of %s what the program does', async (key) => {
    const row = rows().get(key);
    const raw = { ...BEFORE, [key]: otherValue(key) };
    const isRefused = settledProblems(topologyOf(raw), [DATA]).some((problem) => problem.startsWith(`${key}: `));
    const effects = isRefused ? ['refused'] : effectsOf(before, await cluster({ [key]: otherValue(key) }));
    expect(row?.effects).toEqual(effects);
    expect(row?.gap).toBe(effects.some((effect) => GAPS.includes(effect)) ? 'yes' : 'no');
  });
});
