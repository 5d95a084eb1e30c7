/** A model of the keeper: the next step of a node under its order. The real one is failover/keeper/pursue.ts. */
import type { Status } from '../../failover/core/state/cluster';
import { fits, length, NAMES, type Name, type Node, same, streams, type World } from './world';

/** Writes are letters, in the order in which they happened. */
export const LETTER_A = 65;

export function put(world: World, name: Name, part: Partial<Node>): World {
  return { ...world, nodes: { ...world.nodes, [name]: { ...world.nodes[name], ...part } } };
}

/** PostgreSQL does not run. */
export const DOWN: Partial<Node> = {
  role: 'stopped',
  held: false,
  leadTerm: null,
  shown: null,
  inForce: null,
  upstream: null,
};

/** The world after the next step of this node's keeper; null when nothing is left to do. */
export function act(world: World, name: Name): World | null {
  const node = world.nodes[name];
  const { target } = node.accepted;
  if (!node.up || !node.ordered) return null;
  switch (target.kind) {
    case 'lead':
      return lead(world, name);
    case 'follow':
      return follow(world, name, target.leader as Name, target.method, target.replaces);
    case 'freeze':
      if (node.role === 'standby' && node.upstream === null) return null;
      return put(node.role === 'primary' ? shutDown(world, name) : world, name, { role: 'standby', upstream: null });
    case 'stop':
      return node.role === 'stopped' ? null : shutDown(world, name);
    case 'wait':
      return node.byHand && node.role === 'primary' ? shutDown(world, name) : null;
    case 'bootstrap':
    case 'restore':
      return null;
  }
}

/** A leader's clean shutdown ends when its standbys have everything. A standby's shutdown depends on no other node. */
function shutDown(world: World, name: Name): World {
  let next = world;
  if (world.nodes[name].role === 'primary') {
    for (const other of NAMES) {
      if (world.nodes[other].upstream === name && streams(world, other)) next = receive(next, other);
    }
  }
  return put({ ...next, sessions: next.sessions.filter((s) => s !== name) }, name, { ...DOWN, clean: true });
}

/** True when the data was already promoted in this term: leading again needs a new term (S3). */
export function mustNotLead(node: Node): boolean {
  return node.role !== 'primary' && node.promotedTerm >= node.accepted.term;
}

function lead(world: World, name: Name): World | null {
  const node = world.nodes[name];
  const { term, target } = node.accepted;
  if (target.kind !== 'lead' || mustNotLead(node)) return null;
  if (node.role !== 'primary') {
    return put(world, name, {
      role: 'primary',
      upstream: null,
      promotingTerm: term,
      leadTerm: term,
      history: [...node.history, [node.timeline, length(node)]],
      timeline: node.timeline + 1,
      held: false,
      confirmed: {},
      shown: null,
      inForce: null,
    });
  }
  if (node.leadTerm !== term) return put(world, name, { leadTerm: term });
  if (node.promotedTerm !== term || node.promotingTerm !== null) {
    return put(world, name, { promotedTerm: term, promotingTerm: null, byHand: false, joined: '' });
  }
  if (!same(node.shown, target.sync)) return put(world, name, { shown: target.sync });
  if (same(node.inForce, target.sync)) return null;
  return put(world, name, { inForce: target.sync, countsFrom: length(node) });
}

/**
 * `pg_promote()` by a person. It is like the promotion of an order, but the ledger does not know it. The keeper stores
 * that it happened, unless it `forgets` (S3).
 */
export function promoteByHand(world: World, name: Name, forgets: boolean): World {
  const node = world.nodes[name];
  // The promotion writes a record of its own, which the exhaustive search does not see.
  const record = String.fromCharCode(LETTER_A + world.writes);
  return put({ ...world, writes: world.writes + 1 }, name, {
    role: 'primary',
    upstream: null,
    held: false,
    history: [...node.history, [node.timeline, length(node)]],
    timeline: node.timeline + 1,
    log: node.log + record,
    byHand: !forgets,
    confirmed: {},
    shown: null,
    inForce: null,
  });
}

/** The failure that the keeper reports when only a copy helps; it starts no copy without an order. Null: no failure. */
export function mustBeCopied(world: World, name: Name): Status['failure'] {
  const node = world.nodes[name];
  const { target } = node.accepted;
  if (target.kind !== 'follow') return null;
  const isWild = node.promotingTerm !== null && target.method !== 'rewind';
  if (node.byHand || isWild) return { code: 'MUST_COPY', message: 'its history is its own' };
  const source = world.nodes[target.leader as Name];
  const asks = node.role === 'standby' && node.upstream === target.leader && source.up && source.role === 'primary';
  return asks && !fits(node, source) ? { code: 'STREAM_IMPOSSIBLE', message: 'the leader refuses' } : null;
}

function follow(
  world: World,
  name: Name,
  leader: Name,
  method: 'stream' | 'rewind' | 'copy',
  replaces: string | undefined,
): World | null {
  const node = world.nodes[name];
  const source = world.nodes[leader];
  const key = `${leader}.${node.accepted.term}`;
  if (node.role === 'primary') return shutDown(world, name);
  const there = source.up && source.role === 'primary';
  const failure = mustBeCopied(world, name);
  if (method === 'copy') {
    const wanted = node.joined !== key || failure !== null || replaces === `1:${name}${node.directory}`;
    if (wanted) return there ? copy(world, name, source, key) : null;
  } else if (failure?.code === 'MUST_COPY') {
    return node.role === 'stopped' ? null : shutDown(world, name);
  } else if (method === 'rewind' && node.joined !== key) {
    return there ? rewind(world, name, source, key) : null;
  }
  return node.role === 'stopped' || node.upstream !== leader
    ? put(world, name, { role: 'standby', upstream: leader })
    : null;
}

function copy(world: World, name: Name, source: Node, joined: string): World {
  const { log, timeline, history } = source;
  const directory = world.nodes[name].directory + 1;
  const taken = { log, timeline, history, directory, joined, promotingTerm: null, promotedTerm: 0 };
  return put(world, name, { ...DOWN, ...taken, byHand: false, clean: true });
}

/** `pg_rewind` compares only timeline numbers. With the same number it says "no rewind required" (S3). */
function rewind(world: World, name: Name, source: Node, joined: string): World {
  const node = world.nodes[name];
  const done = { joined, promotingTerm: null, promotedTerm: 0, clean: true };
  if (node.timeline === source.timeline) return put(world, name, { ...DOWN, ...done });
  const own = new Map<number, number>([...node.history, [node.timeline, length(node)]]);
  const common = [...source.history, [source.timeline, length(source)] as const].filter(([t]) => own.has(t)).at(-1);
  const fork = common === undefined ? 0 : Math.min(common[1], own.get(common[0]) ?? 0);
  const log = node.log.slice(0, fork) + source.log.slice(fork);
  return put(world, name, { ...DOWN, ...done, log, timeline: source.timeline, history: source.history });
}

/** A standby writes its leader's WAL to its disk and confirms it. */
export function receive(world: World, name: Name): World {
  const node = world.nodes[name];
  const leader = node.upstream;
  if (leader === null || !streams(world, name)) return world;
  const source = world.nodes[leader];
  const log = node.log + source.log.slice(length(node));
  const { timeline, history } = source;
  const next = put(world, name, { log, timeline, history });
  return put(next, leader, { confirmed: { ...source.confirmed, [name]: log.length } });
}
