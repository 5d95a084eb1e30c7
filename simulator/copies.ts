/**
 * Checks that no base backup is made without need. Data that fits what its leader sends must not be replaced, unless a
 * person or the ledger demands it. The check compares the WAL records themselves, so it depends on no process's report.
 */
import { type ClusterState, standbyWorkOf } from '../failover/core/state/cluster';
import type { AcceptedOrder } from '../failover/keeper/keeper-state';
import type { Machine } from './machine';
import type { SimNode } from './node';
import { endOf } from './wal';

/** A data directory with {@link CRASHES_MAX} crashes within this time, ms, may be replaced. */
const CRASH_WINDOW_MS = 180_000;
const CRASHES_MAX = 3;

/** What the check has to know of the cluster. */
interface Cluster extends Machine {
  readonly state: ClusterState | undefined;
  node: (name: string) => SimNode | undefined;
  isOpened: (term: number, node: string, directory: string) => boolean;
}

export class Copies {
  /** The last order to stream that each node accepted, and the data that the node had then. */
  private readonly streams = new Map<string, { term: number; leader: string; directory: string | null }>();
  private readonly streamed = new Set<string>();
  private readonly crashes = new Map<string, number[]>();
  /** Nodes whose order to copy was right when it was given, whatever became known later. */
  private readonly due = new Set<string>();

  constructor(private readonly world: Cluster) {}

  accepted({ name, volume }: SimNode, { term, target }: AcceptedOrder, directory: string | null): void {
    const isCopy = target.kind === 'follow' && target.method === 'copy';
    const isRebuilt = this.world.state?.rebuild[name] !== undefined;
    if (!isCopy) this.due.delete(name);
    else if (volume.state.rewinding || isRebuilt) this.due.add(name);
    if (target.kind !== 'follow') this.streams.delete(name);
    else if (target.method === 'stream') {
      this.streams.set(name, { term, leader: target.leader, directory });
      this.streamed.add(`${name} ${directory}`);
    }
  }

  /** The node is no longer a part of the cluster. It is copied when it comes back. */
  forget({ name }: SimNode): void {
    this.streams.delete(name);
    for (const known of this.streamed) if (known.startsWith(`${name} `)) this.streamed.delete(known);
  }

  crashed(node: SimNode): void {
    const data = dataOf(node);
    this.crashes.set(data, [...(this.crashes.get(data) ?? []), this.world.engine.nowMs]);
  }

  begin(node: SimNode, from: string): void {
    const { world } = this;
    const { name, volume } = node;
    const { accepted, rewinding, promotingTerm, joined: joinedTo } = volume.state;
    if (accepted?.target.kind !== 'follow' || rewinding || promotingTerm !== null) return;
    const { method } = accepted.target;
    const isSound =
      method === 'copy' ? this.hasProvedItself(node) : method === 'stream' && this.hasToStream(node, from);
    // The rewind or copy of this order is done, so the node only has to stream from then on.
    const joined = joinedTo?.leader === from && joinedTo.term === accepted.term;
    if ((!isSound && !joined) || !this.fits(node, from)) return;
    const since = world.engine.nowMs - CRASH_WINDOW_MS;
    if ((this.crashes.get(dataOf(node)) ?? []).filter((at) => at > since).length >= CRASHES_MAX) return;
    const { state } = world;
    // After a restore in place every other node is copied, even if its data happen to fit.
    const isLeft = state?.restores !== undefined && state.members[name] === undefined;
    if (
      state === undefined ||
      isLeft ||
      this.due.has(name) ||
      state.rebuild[name] !== undefined ||
      standbyWorkOf(state)?.node === name
    )
      return;
    // The ledger records this data as a leader that was never opened. Another history may have the same timeline number
    // (S3).
    const own = state.ledger.findLast((e) => e.node === name && e.dataId.endsWith(`:${volume.state.directoryId}`));
    if (own?.opened === false) return;
    world.fail(`NEEDLESS COPY: ${name} is copied from ${from}, although its data fits and only had to stream`);
  }

  private hasToStream({ name, volume }: SimNode, from: string): boolean {
    const { accepted, directoryId } = volume.state;
    const order = this.streams.get(name);
    return order?.leader === from && order.term === accepted?.term && order.directory === directoryId;
  }

  /**
   * True when this directory has streamed, when each of its promotions was opened or rewound, and when the ledger has
   * no later unopened entry of it as a candidate. Data without these conditions is copied in any case (S3).
   */
  private hasProvedItself({ name, volume }: SimNode): boolean {
    const { directoryId, promoted } = volume.state;
    const own = this.world.state?.ledger.findLast((e) => e.node === name && e.dataId.endsWith(`:${directoryId}`));
    if (own?.opened === false) return false;
    if (!this.streamed.has(`${name} ${directoryId}`)) return false;
    return promoted === null || this.world.isOpened(promoted.term, name, directoryId ?? '');
  }

  /** True when this node's records are the beginning of the other node's, record by record and without a gap. */
  private fits({ volume }: SimNode, from: string): boolean {
    const source = this.world.node(from)?.volume.data;
    const { data } = volume;
    if (data === null || source === null || source === undefined || data.broken) return false;
    const position = data.wal.length;
    const fork = endOf(source.history, data.timeline);
    if (data.systemId !== source.systemId || fork === null || fork < position || position < source.oldest) return false;
    return data.wal.every((record, i) => source.wal[i]?.id === record.id);
  }
}

/** Identifies the data. A copy is different data, and what happened to the earlier data says nothing about it. */
function dataOf({ name, volume }: SimNode): string {
  return `${name} ${volume.state.directoryId}`;
}
