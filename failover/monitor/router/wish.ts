/**
 * What the loop wants of HAProxy. A new wish is made when the loop wants another write route or forgets what it wanted.
 */
import { CLOSED_PORT, isSlot, openSlots, type ServerState } from './haproxy-socket';
import type { Look } from './workers';

export class Wish {
  constructor(
    /**
     * The wanted address of the write slot (null: closed), and the address whose sessions stay (null: none). Null when
     * nothing is wanted.
     */
    public write: { slot: string | null; keep: string | null } | null = null,
    /**
     * The wanted addresses of the read slots, sorted, and the addresses whose slots are closed while their sessions
     * stay. Null when nothing is wanted.
     */
    public read: { open: readonly string[]; stay: readonly string[] } | null = null,
    /** True when the read slots were seen right, without sessions that have to go. */
    public readSettled = false,
  ) {}

  get keep(): string | null {
    return this.write?.keep ?? null;
  }

  /**
   * Called when another program moved the write slot. It is not moved back until the loop knows whether another monitor
   * is at work (S11).
   */
  giveWay(): void {
    this.write = null;
  }

  /**
   * Address that a worker's write backend leads to; null when it is closed. If it leads to several addresses: one that
   * is not wanted.
   */
  slotOf({ servers }: Look): string | null {
    const open = openSlots(servers, 'write').filter((row) => row.port !== CLOSED_PORT);
    return (open.find((row) => row.address !== this.write?.slot) ?? open[0])?.address ?? null;
  }

  /**
   * True when the sessions of this slot have to go: on the write port those that are not kept, on the read port those
   * on addresses that are neither wanted nor may stay.
   */
  mustGo(slot: ServerState): boolean {
    if (!isSlot(slot)) return false;
    if (slot.backend === 'write') return this.write !== null && slot.address !== this.write.keep;
    if (slot.backend !== 'read' || this.read === null) return false;
    return !this.read.open.includes(slot.address) && !this.read.stay.includes(slot.address);
  }

  /**
   * True when sessions that wait in an old worker would be connected to a wrong node: its write slot leads to another
   * node, and the slots of an old worker cannot be changed. Such sessions have to end, too, which takes at most
   * `holdTimeout`.
   */
  misleadsWaiting(look: Look): boolean {
    const slot = this.slotOf(look);
    return look.worker > 0 && this.write !== null && slot !== null && slot !== this.write.keep;
  }
}
