/**
 * The changes that are tested: config before and after, and what must hold beside "no request failed, nothing lost".
 */
import type { ImageName } from '../../stack/naming';
import type { Config } from '../rig/stack';
import { dataVolume, noneReplaced, oneAtATime, removedFirst } from './checks';
import type { Facts } from './measure';

type PostgresSettings = Readonly<Record<string, string | number>>;

export interface Change {
  name: string;
  /**
   * Kind of the change, a column of the results: 1 number of replicas, 2 settings of PostgreSQL, 3 images, 4 monitor,
   * HAProxy's config and password, 5 upgrade.
   */
  point: number;
  title: string;
  before: Config;
  after: Config;
  /** Images that are built again with other content. */
  images?: ImageName[];
  /**
   * True when sessions that are open before the change must survive it. Not when a node is replaced: its sessions end.
   */
  keepsSessions: boolean;
  /** True when HAProxy's container is replaced. Then requests may fail, and the length of the gap is measured. */
  replacesHaproxy?: boolean;
  /** A further check; returns what is wrong. */
  check?: (facts: Facts) => Promise<string[]>;
}

/** The config outside of the changes. */
export const BASE: Config = {
  replicas: 1,
  // Long enough that a busy machine does not cause a failover (S28): only the change is measured.
  hangTimeout: '10s',
  holdTimeout: '30s',
  databasePassword: 'the first one',
  postgresSettings: {},
};

const image = (name: string, of: ImageName, title: string, rest: Partial<Change>): Change => ({
  ...{ name, title, point: 3, before: {}, after: {}, images: [of], keepsSessions: true },
  ...rest,
});

/** A change of `postgresSettings` from `before` to `after`; a side that is left out has none. */
const settings = (
  name: string,
  title: string,
  {
    before = {},
    after = {},
    keepsSessions = false,
  }: Partial<Record<'before' | 'after', PostgresSettings>> & { keepsSessions?: boolean },
): Change => ({
  ...{ name: `settings-${name}`, point: 2, title: `postgresSettings: ${title}`, keepsSessions },
  ...{ before: { postgresSettings: before }, after: { postgresSettings: after } },
  check: async (facts) => noneReplaced(facts),
});

export const CHANGES: readonly Change[] = [
  {
    ...{ name: 'replicas-1-4', point: 1, title: 'replicas 1 → 4', keepsSessions: true },
    before: { replicas: 1 },
    after: { replicas: 4 },
  },
  {
    ...{ name: 'replicas-4-1', point: 1, title: 'replicas 4 → 1', keepsSessions: true },
    before: { replicas: 4 },
    after: { replicas: 1 },
    check: async (facts) => [...removedFirst(facts, [2, 3, 4]), ...(await dataVolume(facts, [2, 3, 4]))],
  },
  settings('reload', 'work_mem (a reload)', { after: { work_mem: '8MB' }, keepsSessions: true }),
  settings('restart', 'max_connections raised to 250 (a rolling restart)', { after: { max_connections: 250 } }),
  settings('lower', 'max_connections lowered (the leader restarts in place)', { before: { max_connections: 250 } }),
  {
    ...{ name: 'policy', point: 4, title: 'hangTimeout 10s → 11s', keepsSessions: true },
    before: {},
    after: { hangTimeout: '11s' },
  },
  image('monitor-image', 'monitor', 'the monitor’s image', { point: 4 }),
  {
    ...{ name: 'haproxy-config', point: 4, title: 'holdTimeout 30s → 40s (HAProxy’s config)', keepsSessions: true },
    before: {},
    after: { holdTimeout: '40s' },
  },
  image('backend-image', 'backend', 'the backend’s image (two backends)', {}),
  image('postgres-image', 'postgres', 'PostgreSQL’s image, one replica', {
    keepsSessions: false,
    check: async (facts) => oneAtATime(facts),
  }),
  image('postgres-image-2', 'postgres', 'PostgreSQL’s image, two replicas', {
    before: { replicas: 2 },
    after: { replicas: 2 },
    keepsSessions: false,
    check: async (facts) => oneAtATime(facts),
  }),
  {
    ...{ name: 'upgrade', point: 5, title: 'an upgrade: all images but HAProxy’s at once' },
    before: {},
    after: {},
    images: ['monitor', 'postgres', 'backend'],
    keepsSessions: false,
    check: async (facts) => oneAtATime(facts),
  },
  {
    ...{ name: 'password', point: 4, title: 'databasePassword', keepsSessions: true },
    before: {},
    after: { databasePassword: 'the second one' },
  },
  image('haproxy-image', 'haproxy', 'HAProxy’s image (the one exception)', {
    keepsSessions: false,
    replacesHaproxy: true,
  }),
];
