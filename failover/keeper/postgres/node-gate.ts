/** This node's way in for clients of replication: the gate, and what it has to know of PostgreSQL. */
import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { createSecureContext, type SecureContext } from 'node:tls';
import { PORTS } from '../../contract/layout';
import type { NodeSettings, SlotView } from '../../contract/messages';
import { isNodeSlot } from '../../contract/naming';
import type { ClientGate } from '../ports';
import type { TlsFiles } from './certificate-files';
import { ownSlots } from './client-slots';
import type { Configuration } from './configuration';
import type { Warning } from './data-folder';
import { refusalOf } from './gate/commands';
import { Gate, type GateTls } from './gate/gate';
import type { Place } from './place';
import type { RoleList } from './role-list';
import type { Session } from './session';

export class NodeGate implements ClientGate {
  /** The stack's settings; null: none came yet. */
  settings: NodeSettings | null = null;
  /** The replication slots as last seen; undefined: they were not seen yet. */
  slots: readonly SlotView[] | undefined;
  private readonly gate: Gate;
  private certificate: { files: TlsFiles; context: SecureContext } | null = null;

  constructor(
    private readonly place: Place,
    private readonly files: Configuration,
    private readonly roles: RoleList,
    warning: Warning,
  ) {
    this.gate = new Gate({
      ...{ port: PORTS.gate, postgresPort: place.port },
      haproxyAddress: () => this.settings?.haproxyAddress ?? null,
      tls: () => this.tls(),
      refusal: (command) => this.refusal(command),
      failed: (error) => {
        warning.text = `clients of replication are not let in: ${error.message}`;
      },
    });
  }

  readonly bootMs = () => uptime() * 1_000;
  readonly open = () => this.gate.open();
  readonly shut = () => this.gate.shut();

  /** Writes the list of the roles before a start: pg_hba.conf may name it. */
  async begin(settings: NodeSettings): Promise<void> {
    this.settings = settings;
    await this.roles.begin('');
  }

  /** Compares the list of the roles with the catalog. Never throws. */
  async look(session: Session): Promise<void> {
    if (this.settings?.replication !== undefined) await this.roles.look(session, false);
  }

  private refusal(command: string): string | null {
    const { slots = [], place, settings } = this;
    const known = ownSlots(settings);
    const isOwn = (name: string) => known.includes(name) || isNodeSlot(name, place.node);
    const names = slots.map(({ name }) => name);
    return refusalOf(command, [...known, ...names.filter(isOwn)], names.filter((name) => !isOwn(name)).length);
  }

  /** TLS with the certificate that PostgreSQL has. */
  private tls(): GateTls {
    const { files, settings } = this;
    const required = settings?.tls?.mode === 'require';
    const { tls } = files;
    if (tls === null) return { required, context: null };
    if (this.certificate?.files.certificate !== tls.certificate) {
      const [cert, key] = [readFileSync(tls.certificate), readFileSync(tls.key)];
      this.certificate = { files: tls, context: createSecureContext({ cert, key, minVersion: 'TLSv1.2' }) };
    }
    return { required, context: this.certificate.context };
  }
}
