/** Further checks of a change. Each returns sentences about what is wrong; empty when nothing is. */
import { docker } from '../rig/docker';
import type { Facts } from './measure';

const replica = ({ stack }: Facts, index: number): string => `${stack.prefix}postgres-replica-${index}`;
/** Name of a node's replication slot, as the keeper makes it. */
const slotOf = (node: string): string => node.replaceAll(/[^a-z0-9_]/g, '_');

/** When a removed replica's container stopped, the replica was no longer counted and had no replication slot. */
export function removedFirst(facts: Facts, indices: readonly number[]): string[] {
  return indices.flatMap((index) => {
    const node = replica(facts, index);
    const stopped = facts.events.find(({ name, what }) => name === node && what === 'die');
    if (stopped === undefined) return [`${node} was not stopped`];
    const before = facts.samples.filter(({ atMs }) => atMs < stopped.atMs).at(-1);
    if (before === undefined) return [`nothing was seen before ${node} stopped`];
    return [
      ...(before.names.includes(node) ? [`${node} was stopped while it was a sync member`] : []),
      ...(before.slots.includes(slotOf(node)) ? [`${node} was stopped while it had a replication slot`] : []),
    ];
  });
}

/** The data volumes of removed replicas still exist. */
export async function dataVolume(facts: Facts, indices: readonly number[]): Promise<string[]> {
  const volumes = (await docker('volume', 'ls', '--format', '{{.Name}}')).split('\n');
  return indices
    .map((index) => `${replica(facts, index)}-data`)
    .filter((volume) => !volumes.includes(volume))
    .map((volume) => `${volume} does not exist any more`);
}

/** When a node was stopped, every other node had carried out its order and was the leader or counted. */
export function oneAtATime(facts: Facts): string[] {
  const isNode = (name: string) => /postgres-(primary|replica-\d)$/.test(name);
  const stops = facts.events.filter(({ name, what }) => isNode(name) && what === 'kill');
  const firsts = stops.filter((stop, i) => stops.findIndex(({ name }) => name === stop.name) === i);
  const nodes = facts.views[0]?.view.nodes.map(({ name }) => name) ?? [];
  const missing = nodes.filter((node) => firsts.every(({ name }) => name !== node));
  const wrong = firsts.flatMap(({ name, atMs }) => {
    const seen = facts.views.filter((v) => v.atMs < atMs).at(-1)?.view;
    if (seen === undefined) return [`nothing was seen before ${name} was told to stop`];
    return seen.nodes
      .filter((node) => node.name !== name)
      .filter((node) => !node.done || !(node.name === seen.leader || seen.sync?.members.includes(node.name)))
      .map((node) => `${name} was told to stop while ${node.name} was ${node.role}, not counted or not done`);
  });
  return [...missing.map((node) => `${node} was not replaced`), ...wrong];
}

/** Of the stack's containers only the monitor's was stopped. The container of the settings check is not one of them. */
export function noneReplaced({ events, stack }: Facts): string[] {
  const own = events.filter(({ name, what }) => what === 'die' && name.startsWith(stack.prefix));
  return own.filter(({ name }) => name !== `${stack.prefix}failover-monitor`).map(({ name }) => `${name} was stopped`);
}
