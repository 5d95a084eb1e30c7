/** The supervisor's connection to the monitor: proves the key in both directions, and reconnects after a short rest. */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { onFrames, sendFrames } from '../contract/frames';
import { type FromPooler, POOLER_NAME, POOLER_PROTOCOL, type PoolerConfig, ToPooler } from '../contract/pooler';
import { proof, sameProof } from '../contract/proof';

const HANDSHAKE_LIMIT_MS = 2_000;
/** The monitor sends something at least every second. */
const SILENCE_LIMIT_MS = 5_000;
const REST_MIN_MS = 50;
const REST_MAX_MS = 500;

export interface LinkEvents {
  connected(): void;
  receive(frame: ToPooler): void;
  log(message: string): void;
}

export class MonitorLink {
  private socket: Socket | null = null;
  private ready = false;
  private ended = false;

  constructor(private readonly config: Pick<PoolerConfig, 'monitor' | 'key'>) {}

  send(frame: FromPooler): void {
    if (this.ready) this.write(frame);
  }

  /** Connects again and again until {@link close}. Never throws. */
  async run(events: LinkEvents): Promise<void> {
    let restMs = REST_MIN_MS;
    let told = '';
    while (!this.ended) {
      const reason = await this.once(events, () => {
        restMs = REST_MIN_MS;
        told = '';
      });
      if (this.ended) return;
      if (reason !== told) events.log(`no connection to the monitor: ${reason}`);
      told = reason;
      await delay(restMs);
      restMs = Math.min(REST_MAX_MS, 2 * restMs);
    }
  }

  close(): void {
    this.ended = true;
    this.socket?.destroy();
  }

  /** One connection, from connecting to its end. Resolves with the reason why it ended. */
  private once(events: LinkEvents, welcomed: () => void): Promise<string> {
    return new Promise((resolve) => {
      const { monitor, key } = this.config;
      const socket = connect({ ...monitor, noDelay: true });
      this.socket = socket;
      let reason = 'it was closed';
      const end = (why: string) => {
        reason = why;
        socket.destroy();
      };
      let limit = setTimeout(() => end('it did not answer in time'), HANDSHAKE_LIMIT_MS);
      const nonce = randomBytes(32).toString('hex');
      let theirs: string | null = null;
      const greet = (frame: ToPooler) => {
        if (frame.type === 'challenge' && theirs === null) {
          theirs = frame.nonce;
          const mac = proof(key, 'pooler', theirs, nonce, POOLER_NAME);
          return this.write({ type: 'hello', version: POOLER_PROTOCOL, nonce, mac, takesCertificate: true });
        }
        if (frame.type !== 'welcome' || theirs === null) return end(`${frame.type} came before the handshake was over`);
        if (!sameProof(frame.mac, proof(key, 'monitor', nonce, theirs, POOLER_NAME)))
          return end('the monitor does not know the key');
        this.ready = true;
        clearTimeout(limit);
        limit = setTimeout(() => end('the monitor fell silent'), SILENCE_LIMIT_MS);
        welcomed();
        events.connected();
      };
      const receive = (frame: ToPooler) => {
        if (!this.ready) return greet(frame);
        limit.refresh();
        events.receive(frame);
      };
      onFrames(socket, ToPooler, receive, end);
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

  private write(frame: FromPooler): void {
    const { socket } = this;
    if (socket === null || socket.destroyed) return;
    if (!sendFrames(socket, [frame])) socket.destroy();
  }
}
