/** Packs a state into a few integers, because the search keeps millions of states. Equal states have equal integers. */
import type { ClusterState } from '../../failover/core/state/cluster';
import type { Certificate } from '../../failover/core/state/observation';
import type { Ids } from './ids';
import { LETTER_A } from './keeper';
import type { Monitor } from './monitor';
import type { State } from './steps';
import { type Given, NAMES, type Name, type Node } from './world';

/** Number of integers per state. */
export const INTS = 13;

const LETTERS_MAX = 26;
/** Number of bits per count. */
const COUNT_BITS = 5;
const COUNTS = 6;
/** Position of the bit above route, sessions and silent nodes, which take six bits each. */
const LOST_BIT = 18;
const ROUTE_MASK = 63;
const COUNT_MAX = (1 << COUNT_BITS) - 1;

function digitOf(name: Name | null): number {
  return name === null ? 0 : NAMES.indexOf(name) + 1;
}

function nameOf(digit: number): Name | null {
  return NAMES[(digit & 3) - 1] ?? null;
}

/** Decodes a list of names, two bits each, in order. */
function listOf(digits: number): Name[] {
  const names: Name[] = [];
  for (let rest = digits; rest > 0; rest >>= 2) {
    const name = nameOf(rest);
    if (name !== null) names.push(name);
  }
  return names;
}

function digitsOf(names: readonly Name[]): number {
  return names.reduceRight((digits, name) => (digits << 2) | digitOf(name), 0);
}

function lettersOf(bits: number): string {
  let text = '';
  for (let i = 0; i < LETTERS_MAX; i++) if ((bits >> i) & 1) text += String.fromCharCode(LETTER_A + i);
  return text;
}

function bitsOf(letters: string): number {
  return [...letters].reduce((bits, letter) => bits | (1 << (letter.charCodeAt(0) - LETTER_A)), 0);
}

export class Packer {
  constructor(private readonly ids: Ids) {}

  /** Throws RangeError when the bounds of the world exceed the largest count. */
  write({ world, monitor }: State, into: Int32Array, at: number): void {
    const { ids } = this;
    const { nodes, sent, slot, sessions, wanted } = world;
    NAMES.forEach((name, i) => {
      into[at + i] = ids.ofNode(nodes[name]);
      into[at + 3 + i] = ids.ofOrders(sent[name]);
    });
    into[at + 6] = ids.of(monitor.check);
    into[at + 7] = ids.of(monitor.state);
    into[at + 8] = ids.of(monitor.last);
    into[at + 9] = ids.of(monitor.certificate);
    into[at + 10] = bitsOf(world.acknowledged);
    const counts = [world.writes, world.crashes, world.cuts, world.starts, monitor.changes, world.hands];
    if (counts.some((n) => n > COUNT_MAX)) throw new RangeError(`more than ${COUNT_MAX} of a kind`);
    into[at + 11] = counts.reduce((all, n) => (all << COUNT_BITS) | n, 0);
    const route = [digitOf(slot), digitOf(wanted.slot), digitOf(wanted.keep)].reduce((all, d) => (all << 2) | d, 0);
    into[at + 12] =
      (world.lost ? 1 << LOST_BIT : 0) | (((route << 6) | digitsOf(sessions)) << 6) | digitsOf(monitor.silent);
  }

  read(from: Int32Array, at: number): State {
    const { ids } = this;
    const int = (i: number) => from[at + i] ?? 0;
    const count = (i: number) => (int(11) >> (COUNT_BITS * (COUNTS - 1 - i))) & COUNT_MAX;
    const node = (i: number) => ids.get<Node>(int(i));
    const orders = (i: number) => ids.get<readonly Given[]>(int(3 + i));
    const route = (int(12) >> 12) & ROUTE_MASK;
    return {
      world: {
        nodes: { p: node(0), a: node(1), b: node(2) },
        sent: { p: orders(0), a: orders(1), b: orders(2) },
        slot: nameOf(route >> 4),
        sessions: listOf((int(12) >> 6) & 63),
        wanted: { slot: nameOf(route >> 2), keep: nameOf(route) },
        acknowledged: lettersOf(int(10)),
        writes: count(0),
        crashes: count(1),
        cuts: count(2),
        starts: count(3),
        hands: count(5),
        lost: ((int(12) >> LOST_BIT) & 1) === 1,
      },
      monitor: {
        state: ids.get<ClusterState>(int(7)),
        last: ids.get<Monitor['last']>(int(8)),
        silent: listOf(int(12) & 63),
        certificate: ids.get<Certificate | null>(int(9)),
        check: ids.get<Monitor['check']>(int(6)),
        changes: count(4),
      },
    };
  }
}
