/**
 * A state as a short text, because the search keeps millions of states: the numbers of the objects that it consists of.
 * Equal states have equal texts, and other states have other texts.
 */
import type { ClusterState } from '../../failover/core/state/cluster';
import type { Certificate } from '../../failover/core/state/observation';
import type { Ids } from './ids';
import type { Monitor } from './monitor';
import type { State } from './steps';
import type { Given, Node, World } from './world';

/** The parts of a state that are small and differ in most states. */
interface Rest {
  world: Omit<World, 'nodes' | 'sent'>;
  monitor: Omit<Monitor, 'state' | 'last' | 'certificate' | 'check'>;
}

export class Packer {
  constructor(private readonly ids: Ids) {}

  pack(state: State): string {
    const { ids } = this;
    const { nodes, sent, ...world } = state.world;
    const { state: decided, last, certificate, check, ...monitor } = state.monitor;
    const rest: Rest = { world, monitor };
    const own = `${ids.ofNode(nodes.p)},${ids.ofNode(nodes.a)},${ids.ofNode(nodes.b)}`;
    const orders = `${ids.ofOrders(sent.p)},${ids.ofOrders(sent.a)},${ids.ofOrders(sent.b)}`;
    const known = `${ids.of(decided)},${ids.of(last)},${ids.of(certificate)},${ids.of(check)}`;
    return `${own},${orders},${known},${ids.of(rest)}`;
  }

  unpack(text: string): State {
    const numbers = text.split(',').map(Number);
    const part = <T extends object | null>(i: number) => this.ids.get<T>(numbers[i] ?? 0);
    const { world, monitor } = part<Rest>(10);
    return {
      world: {
        nodes: { p: part<Node>(0), a: part<Node>(1), b: part<Node>(2) },
        sent: { p: part<readonly Given[]>(3), a: part<readonly Given[]>(4), b: part<readonly Given[]>(5) },
        ...world,
      },
      monitor: {
        state: part<ClusterState>(6),
        last: part<Monitor['last']>(7),
        certificate: part<Certificate | null>(8),
        check: part<Monitor['check']>(9),
        ...monitor,
      },
    };
  }
}
