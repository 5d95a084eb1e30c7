/** A supervisor's connection to the monitor: proves the key in both directions, and reconnects after a short rest. */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { z } from 'zod';
import { onFrames, sendFrames } from '../contract/frames';
import {
  type Frame,
  HANDSHAKE_LIMIT_MS,
  isChallenge,
  isWelcome,
  NONCE_BYTES,
  SILENCE_LIMIT_MS,
  type Speech,
} from '../contract/handshake';
import { proof, sameProof } from '../contract/proof';

const REST_MIN_MS = 50;
const REST_MAX_MS = 500;

export interface CallerEvents<To> {
  connected(): void;
  receive(frame: To): void;
  log(message: string): void;
}

/** Where the monitor is, and the key of this connection. */
export interface CallerConfig {
  readonly monitor: { readonly host: string; readonly port: number };
  readonly key: string;
}

/** `To`: what the monitor sends. `From`: what the supervisor sends. */
export class Caller<To extends Frame, From extends object> {
  private socket: Socket | null = null;
  private ready = false;
  private ended = false;

  constructor(
    private readonly config: CallerConfig,
    private readonly speech: Speech & {
      /** Of all that the monitor sends, the handshake included. */
      readonly frames: z.ZodType<To>;
      /** What the hello says beside the proof. */
      readonly more?: object;
    },
  ) {}

  /** Does nothing while the connection is not proven. */
  send(frame: From): void {
    if (this.ready) this.write(frame);
  }

  /** Connects again and again until {@link close}. Never throws. */
  async run(events: CallerEvents<To>): Promise<void> {
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
  private once(events: CallerEvents<To>, welcomed: () => void): Promise<string> {
    return new Promise((resolve) => {
      const { monitor, key } = this.config;
      const { role, name, version, frames, more } = this.speech;
      const socket = connect({ ...monitor, noDelay: true });
      this.socket = socket;
      let reason = 'it was closed';
      const end = (why: string) => {
        reason = why;
        socket.destroy();
      };
      let limit = setTimeout(() => end('it did not answer in time'), HANDSHAKE_LIMIT_MS);
      const nonce = randomBytes(NONCE_BYTES).toString('hex');
      let theirs: string | null = null;
      const greet = (frame: Frame) => {
        if (isChallenge(frame) && theirs === null) {
          theirs = frame.nonce;
          const mac = proof(key, role, theirs, nonce, name);
          return this.write({ type: 'hello', version, nonce, mac, ...more });
        }
        if (!isWelcome(frame) || theirs === null) return end(`${frame.type} came before the handshake was over`);
        if (!sameProof(frame.mac, proof(key, 'monitor', nonce, theirs, name)))
          return end('the monitor does not know the key');
        this.ready = true;
        clearTimeout(limit);
        limit = setTimeout(() => end('the monitor fell silent'), SILENCE_LIMIT_MS);
        welcomed();
        events.connected();
      };
      const receive = (frame: To) => {
        if (!this.ready) return greet(frame);
        limit.refresh();
        events.receive(frame);
      };
      onFrames(socket, frames, receive, end);
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

  private write(frame: object): void {
    const { socket } = this;
    if (socket === null || socket.destroyed) return;
    if (!sendFrames(socket, [frame])) socket.destroy();
  }
}
