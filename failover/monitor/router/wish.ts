/** What the loop wants of HAProxy. A new one is made whenever the loop wants another route, or nothing that it wanted counts. */
import { isSlot, type ServerState } from './haproxy-socket';

export class Wish {
  /** Address of the write slot (null: closed), and the one whose sessions stay (null: none). Null: nothing is wanted. */
  write: { slot: string | null; keep: string | null } | null;
  /** Addresses of the read slots, sorted; null: nothing is wanted. */
  read: readonly string[] | null;
  /** The read slots were seen right, without sessions that have to go. */
  readSettled: boolean;

  constructor(write: Wish['write'] = null, read: Wish['read'] = null, readSettled = false) {
    this.write = write;
    this.read = read;
    this.readSettled = readSettled;
  }

  get keep(): string | null {
    return this.write?.keep ?? null;
  }

  /** A new worker starts closed and stays so until the loop has made its checks again (S15). */
  startClosed(): void {
    if (this.write !== null) this.write.slot = null;
  }

  /** Another program moved the slot: it is not moved back until the loop has found out whether another monitor works (S11). */
  giveWay(): void {
    this.write = null;
  }

  /** The sessions of this slot have to go: those of the write port that are not kept, those of the read port that are not wanted. */
  mustGo(slot: ServerState): boolean {
    if (!isSlot(slot)) return false;
    if (slot.backend === 'write') return this.write !== null && slot.address !== this.write.keep;
    return slot.backend === 'read' && this.read !== null && !this.read.includes(slot.address);
  }

  /**
   * The slots of an old worker cannot be moved any more. Where its write slot leads to another node, sessions that still wait
   * in that worker would get there: they are waited for, too (at most `holdTimeout`).
   */
  isTrap(worker: number, slot: string | null): boolean {
    return worker > 0 && this.write !== null && slot !== null && slot !== this.write.keep;
  }
}
