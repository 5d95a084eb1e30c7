/**
 * The monitor's side of a supervisor's connection. A caller has to prove the key; the newest proven connection takes the
 * place of the one before.
 */
import { randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import type { z } from 'zod';
import { onFrames, sendFrames } from '../contract/frames';
import { type Frame, HANDSHAKE_LIMIT_MS, NONCE_BYTES, SILENCE_LIMIT_MS, type Speech } from '../contract/handshake';
import { proof, sameProof } from '../contract/proof';

/** Connections that have not proven the key. More are refused. */
const UNPROVEN_MAX = 8;
/** A refused caller is told of at most once in this time, ms. */
const REFUSAL_LOG_MS = 60_000;

interface Hello extends Frame {
  readonly type: 'hello';
  readonly nonce: string;
  readonly mac: string;
}
const isHello = (frame: Frame): frame is Hello => frame.type === 'hello';

export interface ListenerEvents<From> {
  /** A caller has proven the key. {@link Listener.send} reaches it. */
  begun(hello: From): void;
  /** A frame of the caller whose connection began last. */
  receive(frame: From): void;
  /** That connection broke. */
  ended(): void;
  /** A caller did not know the key; at most once a minute. */
  refused(address: string): void;
  /** The port cannot accept connections. */
  failed(message: string): void;
}

/** `To`: what the monitor sends. `From`: what the supervisor sends, its hello included. */
export class Listener<To extends object, From extends Frame> {
  private readonly server: Server;
  private readonly unproven = new Set<Socket>();
  private current: Socket | null = null;
  private refusedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly at: { readonly address: string; readonly port: number },
    private readonly key: string,
    private readonly speech: Speech & { readonly frames: z.ZodType<From> },
    private readonly nowMs: () => number,
    private readonly events: ListenerEvents<From>,
  ) {
    this.server = createServer({ noDelay: true }, (socket) => this.accept(socket));
  }

  /** Begins to accept connections. @throws when the address or port is not available */
  async listen(): Promise<void> {
    const { address, port } = this.at;
    await new Promise<void>((resolve, reject) => this.server.once('error', reject).listen(port, address, resolve));
    this.server.on('error', (error) => this.events.failed(error.message));
  }

  /** The port on which it listens. With port 0 the kernel chooses it. */
  port(): number {
    const address = this.server.address();
    return typeof address === 'object' && address !== null ? address.port : this.at.port;
  }

  async close(): Promise<void> {
    for (const socket of this.unproven) socket.destroy();
    this.current?.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  /** Does nothing without a proven connection. */
  send(frame: To): void {
    const { current } = this;
    if (current !== null && !sendFrames(current, [frame])) current.destroy();
  }

  private accept(socket: Socket): void {
    if (this.unproven.size >= UNPROVEN_MAX) {
      socket.destroy();
      return;
    }
    this.unproven.add(socket);
    const { role, name, version, frames } = this.speech;
    const nonce = randomBytes(NONCE_BYTES).toString('hex');
    let limit = setTimeout(() => socket.destroy(), HANDSHAKE_LIMIT_MS);
    let isProven = false;
    const receive = (frame: From) => {
      if (isProven) {
        limit.refresh();
        if (this.current === socket) this.events.receive(frame);
        return;
      }
      if (!isHello(frame) || !sameProof(frame.mac, proof(this.key, role, nonce, frame.nonce, name))) {
        this.refuse(socket.remoteAddress ?? 'an unknown address');
        socket.destroy();
        return;
      }
      isProven = true;
      clearTimeout(limit);
      limit = setTimeout(() => socket.destroy(), SILENCE_LIMIT_MS);
      this.unproven.delete(socket);
      sendFrames(socket, [{ type: 'welcome', mac: proof(this.key, 'monitor', frame.nonce, nonce, name) }]);
      const before = this.current;
      this.current = socket;
      before?.destroy();
      this.events.begun(frame);
    };
    onFrames(socket, frames, receive, () => socket.destroy());
    socket.on('error', () => undefined);
    socket.on('end', () => socket.destroy());
    socket.on('close', () => {
      clearTimeout(limit);
      this.unproven.delete(socket);
      if (this.current !== socket) return;
      this.current = null;
      this.events.ended();
    });
    sendFrames(socket, [{ type: 'challenge', version, nonce }]);
  }

  private refuse(address: string): void {
    const nowMs = this.nowMs();
    if (nowMs - this.refusedAtMs < REFUSAL_LOG_MS) return;
    this.refusedAtMs = nowMs;
    this.events.refused(address);
  }
}
