/** The replication slots that people made on this node; see keeper/client-slots.ts. */
import { CLIENT_SLOTS_MAX, type ClientSlot } from '../../contract/client-slots';
import type { NodeSettings } from '../../contract/messages';
import { ARCHIVE_SLOT, copySlotName, isNodeSlot, slotName } from '../../contract/naming';
import type { ClientSlotTool } from '../ports';
import type { OwnSessions } from './own-sessions';
import { literal } from './session';
import { dropSlot } from './slots';

/** Limit for one look. The failover's own slots are among the rows: two for each node, and one for the archive. */
const ROWS_MAX = 4 * CLIENT_SLOTS_MAX;

const SLOTS = `
SELECT slot_name AS name, slot_type AS type, plugin, database, failover, active, restart_lsn::text AS lsn,
  coalesce(invalidation_reason, CASE WHEN wal_status = 'lost' THEN 'wal_removed' END) AS invalidation
FROM pg_replication_slots WHERE NOT temporary ORDER BY slot_name LIMIT ${ROWS_MAX}`;

/** Names of the slots that the failover makes on this stack's nodes. */
export function ownSlots(settings: Pick<NodeSettings, 'nodes'> | null): string[] {
  const nodes = settings?.nodes.map(({ name }) => name) ?? [];
  return [ARCHIVE_SLOT, ...nodes.flatMap((name) => [slotName(name), copySlotName(name)])];
}

export class NodeClientSlots implements ClientSlotTool {
  constructor(
    private readonly node: string,
    private readonly sessions: OwnSessions,
    private readonly settings: () => NodeSettings | null,
  ) {}

  async look(): Promise<{ slots: ClientSlot[]; more: boolean }> {
    const session = await this.sessions.common();
    const all = (await session.ask<ClientSlot>('client slots', SLOTS)).filter(({ name }) => !this.isOwn(name));
    return { slots: all.slice(0, CLIENT_SLOTS_MAX), more: all.length > CLIENT_SLOTS_MAX };
  }

  async make(name: string, reserve: boolean): Promise<string | null> {
    this.refuseOwn(name);
    const session = await this.sessions.common();
    const { lsn } = await session.askOne<{ lsn: string | null }>(
      'make client slot',
      'SELECT lsn::text AS lsn FROM pg_create_physical_replication_slot($1, $2)',
      [name, reserve],
    );
    return lsn;
  }

  async advance(name: string, lsn: string): Promise<void> {
    this.refuseOwn(name);
    // PostgreSQL moves it no further than to what this node has replayed.
    const session = await this.sessions.common();
    await session.query(`SELECT pg_replication_slot_advance(${literal(name)}, ${literal(lsn)})`);
  }

  async drop(name: string): Promise<void> {
    this.refuseOwn(name);
    await dropSlot(await this.sessions.common(), name);
  }

  private isOwn(name: string): boolean {
    return ownSlots(this.settings()).includes(name) || isNodeSlot(name, this.node);
  }

  private refuseOwn(name: string): void {
    if (this.isOwn(name)) throw new Error(`the replication slot ${name} belongs to the failover`);
  }
}
