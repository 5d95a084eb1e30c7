/** What the pings say of the slots that people made: what the monitor remembers, with the newest positions. */
import type { ClientSlotsRecord, ClientSlotsView, SlotOrder } from '../../contract/client-slots';

/** The opened leader. */
interface Leader {
  readonly node: string;
  readonly term: number;
  readonly slots?: ClientSlotsRecord;
}

export class SlotOrders {
  /** The last report of an opened leader; null: none came since this start of the monitor. */
  private last: { by: string; view: ClientSlotsView } | null = null;

  /** Takes a node's report. */
  reported(node: string, leader: Leader | null, view: ClientSlotsView | undefined): void {
    if (view !== undefined && node === leader?.node && view.term === leader.term) this.last = { by: node, view };
  }

  /**
   * The order for a node. The positions of the former leader are only for the new one: write-ahead log that a reader had
   * got, and no standby, is no longer part of the history, and copies must not move past the place where it was left.
   */
  orderFor(node: string, { node: leader, term, slots }: Leader): SlotOrder {
    const { last } = this;
    const counts = last !== null && (last.view.term === term || node === leader);
    const lsns = new Map(counts ? last.view.slots.map(({ name, lsn }) => [name, lsn]) : []);
    const keep = (slots?.known ?? []).map(({ name, type }) => {
      const lsn = lsns.get(name);
      return { name, type, ...(lsn !== undefined && { lsn }) };
    });
    return { term, ...(counts && { by: last.by }), keep, gone: slots?.gone ?? [] };
  }
}
