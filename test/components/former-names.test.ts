/**
 * Every resource of a stack of an earlier release keeps its place in Pulumi's state: under its own name or by an alias.
 */
import type * as pulumi from '@pulumi/pulumi';
import { expect, it } from 'vitest';
import { formerNames } from '../../components/former-names';
import { PostgresCluster } from '../../components/postgres-cluster';
import former from '../fixtures/urns-0.1.0.json';
import { register, topologyOf } from './mocks';

/** A stack that has every part. */
const ALL = {
  ...{ replicas: '2', backendReplicas: '2', monitoring: 'true', pgadmin: 'true' },
  postgresSettings: '{"work_mem":"8MB"}',
};

/** Parts that came after 0.1.0. */
const ADDED = [
  ...['backup-check', 'backup-check', 'backup-check-config', 'backup-check-scratch'],
  ...['certificate-authority', 'password-salt'],
  ...['postgres-backup', 'postgres-primary-ready', 'postgres-replica-1-ready', 'postgres-replica-2-ready'],
];

/** Of each resource the places that Pulumi looks for it: `types of its parents$its type::name`. */
async function places(transformations: pulumi.ResourceTransformation[]): Promise<string[][]> {
  const chains = new Map<pulumi.Resource, string>();
  const found: string[][] = [];
  const record: pulumi.ResourceTransformation = ({ resource, type, name, props, opts }) => {
    const parent = opts.parent === undefined ? undefined : chains.get(opts.parent);
    const chain = parent === undefined ? type : `${parent}$${type}`;
    chains.set(resource, chain);
    const aliases = (opts.aliases ?? []).map((alias) => String((alias as pulumi.Alias).name));
    found.push([name, ...aliases].map((one) => `${chain}::${one}`));
    return { props, opts };
  };
  await register(() => {
    new PostgresCluster(
      'cluster',
      { settings: topologyOf(ALL).settings, platform: 'linux/amd64' },
      { transformations: [...transformations, record] },
    );
  });
  return found;
}

it('finds every resource of 0.1.0, each for one of today', async () => {
  const today = await places([formerNames('cluster')]);
  const finders = (urn: string) => today.filter((urns) => urns.includes(urn)).length;
  expect(former.filter((urn) => finders(urn) !== 1)).toEqual([]);
  const added = today.filter((urns) => !urns.some((urn) => former.includes(urn)));
  const names = added.map(([urn]) => urn?.split('::').at(-1)).sort();
  expect(names).toEqual(ADDED.map((name) => `cluster-${name}`));
});

it('finds none but the cluster itself without the former names', async () => {
  const today = (await places([])).flat();
  expect(former.filter((urn) => today.includes(urn))).toEqual(['postgres-failover:index:PostgresCluster::cluster']);
});

it('lets two clusters in one program have parts of their own', async () => {
  const resources = await register(() => {
    for (const name of ['one', 'two']) {
      new PostgresCluster(name, { settings: topologyOf(ALL).settings, platform: 'linux/amd64' });
    }
  });
  const urns = resources.map(({ type, name }) => `${type}::${name}`);
  expect(new Set(urns).size).toBe(urns.length);
  expect(urns.length).toBe(2 * (former.length + ADDED.length));
});
