/**
 * The real connection to the monitor. It connects, proves the cluster key in both directions, and reconnects after a
 * short, bounded back-off.
 */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { onFrames, sendFrames } from '../contract/frames';
import {
  type MonitorFrame as Frame,
  type KeeperFrame,
  type MonitorAddress,
  MonitorFrame,
  PROTOCOL_VERSION,
} from '../contract/messages';
import { proof, sameProof } from '../contract/proof';
import type { Link, LinkEvents } from './ports';

const CONNECT_LIMIT_MS = 1_000;
const HANDSHAKE_LIMIT_MS = 2_000;
/** The keeper reconnects when the monitor sends nothing for this long, ms. A monitor pings far more often. */
const SILENCE_LIMIT_MS = 10_000;
const BACKOFF_MIN_MS = 50;
const BACKOFF_MAX_MS = 500;

interface LinkOptions {
  node: string;
  clusterKey: string;
  /** The monitors to try now, in order; at least one. */
  contacts(): readonly MonitorAddress[];
}

export class MonitorLink implements Link {
  private socket: Socket | null = null;
  private ready = false;
  private ended = false;

  constructor(private readonly options: LinkOptions) {}

  get connected(): boolean {
    return this.ready;
  }

  send(...frames: readonly KeeperFrame[]): void {
    if (this.ready) this.write(...frames);
  }

  /**
   * Tries one contact after the other. After a connection that succeeded and ended, it begins again with the first
   * contact.
   */
  async run(events: LinkEvents): Promise<void> {
    let backoffMs = BACKOFF_MIN_MS;
    /** For each contact, why the last attempt to reach it failed. */
    const reasons = new Map<string, string>();
    for (let attempt = 0; !this.ended; attempt++) {
      const contacts = this.options.contacts();
      const contact = contacts[attempt % contacts.length];
      if (contact === undefined) throw new Error('no monitor is named');
      const at = `${contact.host}:${contact.port}`;
      const reason = await this.once(contact, events, () => {
        backoffMs = BACKOFF_MIN_MS;
        reasons.clear();
        attempt = -1;
      });
      if (this.ended) return;
      const place = contacts.length === 1 ? '' : ` at ${at}`;
      if (reason !== reasons.get(at)) events.log(`no connection to the monitor${place}: ${reason}`);
      reasons.set(at, reason);
      await delay(backoffMs);
      backoffMs = Math.min(BACKOFF_MAX_MS, backoffMs * 2);
    }
  }

  /** Sends the waiting frames and closes the connection for good, within the limit. */
  async close(limitMs: number): Promise<void> {
    this.ended = true;
    const { socket } = this;
    if (socket === null || socket.destroyed) return;
    await Promise.race([new Promise<void>((resolve) => socket.end(resolve)), delay(limitMs)]);
    socket.destroy();
  }

  /** Runs one connection from connecting to its end. Resolves with the reason why it ended. */
  private once({ host, port }: MonitorAddress, events: LinkEvents, welcomed: () => void): Promise<string> {
    return new Promise((resolve) => {
      const socket = connect({ host, port, noDelay: true });
      this.socket = socket;
      let reason = 'it was closed';
      const end = (why: string) => {
        reason = why;
        socket.destroy();
      };
      let limit = setTimeout(() => end('it did not answer in time'), CONNECT_LIMIT_MS);
      const restart = (ms: number, why: string) => {
        clearTimeout(limit);
        limit = setTimeout(() => end(why), ms);
      };
      const { clusterKey, node } = this.options;
      const nonce = randomBytes(32).toString('hex');
      let theirs: string | null = null;
      const receive = (frame: Frame) => {
        if (this.ready) {
          limit.refresh();
          return events.receive(frame);
        }
        if (frame.type === 'challenge' && theirs === null) {
          theirs = frame.nonce;
          const mac = proof(clusterKey, 'keeper', theirs, nonce, node);
          return this.write({ type: 'hello', version: PROTOCOL_VERSION, node, nonce, mac, takesVerifier: true });
        }
        if (frame.type !== 'welcome' || theirs === null) return end(`${frame.type} came before the handshake was over`);
        if (!sameProof(frame.mac, proof(clusterKey, 'monitor', nonce, theirs, node))) {
          return end('the monitor does not know the cluster key');
        }
        this.ready = true;
        welcomed();
        restart(SILENCE_LIMIT_MS, 'the monitor fell silent');
        events.connected();
      };
      socket.on('connect', () => restart(HANDSHAKE_LIMIT_MS, 'the handshake took too long'));
      onFrames(socket, MonitorFrame, receive, end);
      socket.on('error', (error) => {
        reason = error.message;
      });
      socket.on('close', () => {
        clearTimeout(limit);
        this.ready = false;
        resolve(reason);
      });
    });
  }

  private write(...frames: readonly KeeperFrame[]): void {
    const { socket } = this;
    if (socket === null || socket.destroyed) return;
    if (!sendFrames(socket, frames)) socket.destroy();
  }
}
