/**
 * The hosts, and the packets between them: latency and one-way partitions. A connection keeps the order of its packets
 * and repeats lost ones, so a partition only holds messages back.
 */
import type { Engine, Process } from './engine';

export class Links {
  /** Address → host. */
  readonly hosts = new Map<string, string>();
  readonly down = new Set<string>();
  /** Latency of one message, ms. */
  latencyMs = 0.3;
  /** Probability that an order arrives twice, the second time late. */
  doubled = 0;
  /** Shortest time until the second arrival, ms. */
  doubledAfterMs = 5;
  /** Every message is late by up to this time, ms. */
  jitterMs = 0;
  /** Part of the messages that are lost. TCP sends them again, which takes a while. */
  loss = 0;
  /** Additional latency from one host to another, ms, for a distant replica. */
  readonly far = new Map<string, number>();
  /** Time when packets last got through again, ms. Messages that waited for that may take a moment longer. */
  healedMs = Number.NEGATIVE_INFINITY;
  /** How many times a host lost its sent messages. */
  private readonly losses = new Map<string, number>();
  private readonly blocked = new Set<string>();
  private readonly stuck = new Set<Channel>();

  constructor(readonly engine: Engine) {}

  hostOf(address: string): string {
    return this.hosts.get(address) ?? address;
  }

  block(from: string, to: string): void {
    this.blocked.add(`${from}>${to}`);
  }

  /** Like {@link block}, in both directions. */
  cut(a: string, b: string): void {
    this.block(a, b);
    this.block(b, a);
  }

  /** From now on packets between the two hosts take this much longer, ms. */
  between(a: string, b: string, ms: number): void {
    this.far.set(`${a}>${b}`, ms);
    this.far.set(`${b}>${a}`, ms);
  }

  heal(): void {
    if (this.blocked.size > 0) this.healedMs = this.engine.nowMs;
    this.blocked.clear();
    for (const channel of [...this.stuck]) {
      this.stuck.delete(channel);
      // Retransmissions back off while no packet gets through.
      this.engine.after(this.engine.random.between(1, 400), null, () => channel.flush());
    }
  }

  /** Messages take as long as usual, and none arrives twice. */
  calm(): void {
    this.latencyMs = 0.3;
    this.doubled = 0;
  }

  hold(channel: Channel): void {
    this.stuck.add(channel);
  }

  passes(from: string, to: string): boolean {
    return from === to || (!this.blocked.has(`${from}>${to}`) && !this.down.has(to));
  }

  reaches(from: string, to: string): boolean {
    return this.passes(from, to) && this.passes(to, from);
  }

  latency(from: string, to: string): number {
    if (from === to) return 0.05;
    const { random } = this.engine;
    const ms = random.delay(this.latencyMs, 0.01) + (this.far.get(`${from}>${to}`) ?? 0);
    if (this.jitterMs === 0 && this.loss === 0) return ms;
    return ms + random.between(0, this.jitterMs) + (random.chance(this.loss) ? random.between(200, 1_200) : 0);
  }

  /** Messages that are under way from that host get lost, because its network is removed with its container. */
  lose(host: string): void {
    this.losses.set(host, this.lossesOf(host) + 1);
  }

  lossesOf(host: string): number {
    return this.losses.get(host) ?? 0;
  }
}

/** One direction of a connection, in order. */
export class Channel {
  private lastMs = 0;
  private readonly held: { owner: Process; run: () => void; losses: number }[] = [];

  constructor(
    private readonly network: Links,
    readonly from: string,
    readonly to: string,
  ) {}

  /** `losses`: how many times the sender had lost its messages when this message was written. */
  send(owner: Process, run: () => void, losses = this.network.lossesOf(this.from)): void {
    if (this.held.length > 0 || !this.network.passes(this.from, this.to)) {
      this.held.push({ owner, run, losses });
      this.network.hold(this);
      return;
    }
    const { engine } = this.network;
    const atMs = Math.max(this.lastMs, engine.nowMs + this.network.latency(this.from, this.to));
    this.lastMs = atMs;
    engine.after(atMs - engine.nowMs, owner, () => {
      if (losses === this.network.lossesOf(this.from)) run();
    });
  }

  flush(): void {
    if (!this.network.passes(this.from, this.to)) {
      if (this.held.length > 0) this.network.hold(this);
      return;
    }
    for (const { owner, run, losses } of this.held.splice(0)) this.send(owner, run, losses);
  }
}
