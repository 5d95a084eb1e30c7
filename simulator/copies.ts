/**
 * An oracle over base backups: data that fits what its leader sends is not replaced, unless a person or the ledger wants
 * it. What fits is known here record by record, not by anybody's words.
 */
import { standbyWorkOf } from '../failover/core/state/cluster';
import type { AcceptedOrder } from '../failover/keeper/keeper-state';
import type { SimNode } from './node';
import { endOf } from './wal';
import type { World } from './world';

/** Crashes of one data directory in this time after which it is rightly taken for broken, ms, and how many. */
const CRASH_WINDOW_MS = 180_000;
const CRASHES_MAX = 3;

export class Copies {
  private readonly world: World;
  /** The last order to stream that each node has accepted, and the data that it had then. */
  private readonly streams = new Map<string, { term: number; leader: string; directory: string | null }>();
  private readonly streamed = new Set<string>();
  private readonly crashes = new Map<string, number[]>();
  /** Nodes whose order to copy was right by what was known then; what becomes known later does not change that. */
  private readonly due = new Set<string>();

  constructor(world: World) {
    this.world = world;
  }

  accepted({ name, volume }: SimNode, { term, target }: AcceptedOrder, directory: string | null): void {
    const isCopy = target.kind === 'follow' && target.method === 'copy';
    const isRebuilt = this.world.monitor?.seen?.decision.state.rebuild[name] !== undefined;
    if (!isCopy) this.due.delete(name);
    else if (volume.state.rewinding || isRebuilt) this.due.add(name);
    if (target.kind !== 'follow') this.streams.delete(name);
    else if (target.method === 'stream') {
      this.streams.set(name, { term, leader: target.leader, directory });
      this.streamed.add(`${name} ${directory}`);
    }
  }

  /** It is no part of the cluster any more: when it comes back it is copied. */
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
    const told = method === 'copy' ? this.hasProvedItself(node) : method === 'stream' && this.hasToStream(node, from);
    // A rewind or copy of this very order is done: from then on it only has to stream.
    const joined = joinedTo?.leader === from && joinedTo.term === accepted.term;
    if ((!told && !joined) || !this.fits(node, from)) return;
    const since = world.engine.nowMs - CRASH_WINDOW_MS;
    if ((this.crashes.get(dataOf(node)) ?? []).filter((at) => at > since).length >= CRASHES_MAX) return;
    const state = world.monitor?.seen?.decision.state;
    if (
      state === undefined ||
      this.due.has(name) ||
      state.rebuild[name] !== undefined ||
      standbyWorkOf(state)?.node === name
    )
      return;
    // Recorded as a leader and never opened: what it may have written has a namesake (S3).
    const own = state.ledger.findLast((e) => e.node === name && e.dataId.endsWith(`:${volume.state.directoryId}`));
    if (own?.opened === false) return;
    world.fail(`NEEDLESS COPY: ${name} is copied from ${from}, although its data fits and only had to stream`);
  }

  private hasToStream({ name, volume }: SimNode, from: string): boolean {
    const { accepted, directoryId } = volume.state;
    const told = this.streams.get(name);
    return told?.leader === from && told.term === accepted?.term && told.directory === directoryId;
  }

  /**
   * This very directory streamed once, and every promotion of it that is not rewound was opened; nor was it recorded as a
   * candidate since that was not opened: such data is copied in any case (S3).
   */
  private hasProvedItself({ name, volume }: SimNode): boolean {
    const { directoryId, promoted } = volume.state;
    const { ledger } = this.world.monitor?.seen?.decision.state ?? { ledger: [] };
    const own = ledger.findLast((e) => e.node === name && e.dataId.endsWith(`:${directoryId}`));
    if (own?.opened === false) return false;
    if (!this.streamed.has(`${name} ${directoryId}`)) return false;
    return promoted === null || this.world.isOpened(promoted.term, name, directoryId ?? '');
  }

  /** Record by record the beginning of what the other one has, with nothing missing between. */
  private fits({ volume }: SimNode, from: string): boolean {
    const source = this.world.nodes.find((n) => n.name === from)?.volume.data;
    const { data } = volume;
    if (data === null || source === null || source === undefined || data.broken) return false;
    const position = data.wal.length;
    const fork = endOf(source.history, data.timeline);
    if (data.systemId !== source.systemId || fork === null || fork < position || position < source.oldest) return false;
    return data.wal.every((record, i) => source.wal[i]?.id === record.id);
  }
}

/** A copy is other data: what came of the data before says nothing of it. */
function dataOf({ name, volume }: SimNode): string {
  return `${name} ${volume.state.directoryId}`;
}
