/** Tells a scenario: steps on a simulated cluster, and what the monitor decided, as text that a person reads. */
import type { Policy } from '../../failover/core/types';
import type { SimNode } from '../sim/node';
import { World } from '../sim/world';

const BUILD_LIMIT_MS = 60_000;

export interface Scenario {
  /** File name of the golden text. */
  name: string;
  /** Rules of SAFETY.md that it shows. */
  rules: string;
  title: string;
  replicas?: number;
  policy?: Partial<Policy>;
  clients?: number;
  play: (tale: Tale) => Promise<void>;
}

/** What a scenario's steps are written with. */
export class Tale {
  readonly world: World;
  readonly lines: string[] = [];

  constructor(world: World) {
    this.world = world;
  }

  node(name: string): SimNode {
    const node = this.world.nodes.find((n) => n.name === name);
    if (node === undefined) throw new Error(`there is no ${name}`);
    return node;
  }

  /** Something happens. */
  async event(words: string, run: () => void): Promise<void> {
    this.lines.push(`- ${words}`);
    run();
    await this.world.engine.run(this.world.engine.nowMs + 1);
  }

  async passes(ms: number): Promise<void> {
    await this.world.engine.run(this.world.engine.nowMs + ms);
  }

  /** Waits until something holds and says so; at the limit says that it does not. */
  async until(words: string, holds: () => boolean, limitMs = 60_000): Promise<void> {
    const held = await this.world.engine.run(this.world.engine.nowMs + limitMs, holds);
    this.lines.push(`- ${held ? words : `NOT: ${words}`}`);
  }

  well(): boolean {
    return this.world.healthy() !== null;
  }

  /** The leader that is open, by the slot. */
  open(): string | null {
    const slot = this.world.haproxy.current?.leader;
    return slot === undefined || slot.port === 1 ? null : (this.world.nodeAt(slot.address)?.name ?? null);
  }

  code(): string {
    return this.world.monitor?.seen?.decision.code ?? '';
  }

  reason(): string {
    return this.world.monitor?.seen?.decision.reason ?? '';
  }

  fact(words: string): void {
    this.lines.push(`- ${words}`);
  }
}

/** Plays a scenario and gives its text. Times and counts are left out: they are not what it tells. */
export async function tell(scenario: Scenario): Promise<string> {
  const world = new World({
    seed: 7,
    replicas: scenario.replicas ?? 1,
    policy: scenario.policy,
    thinkMs: 60,
    cancels: 0,
    calm: true,
  });
  const tale = new Tale(world);
  world.onDecision = (code, reason) => {
    const line = `    ${code}: ${reason.replaceAll(/\d+ ms/g, '… ms').replaceAll(/seq \d+/g, 'seq …')}`;
    if (!QUIET.has(code) && tale.lines.findLast((l) => l.startsWith('    ')) !== line) tale.lines.push(line);
  };
  world.startAll();
  world.startClients(scenario.clients ?? 2, 1);
  const built = await world.engine.run(BUILD_LIMIT_MS, () => world.healthy() !== null);
  if (!built) throw new Error('the cluster was not built');
  await tale.passes(1_500);
  tale.lines.length = 0;
  await scenario.play(tale);
  world.history.checkPhantoms();
  const names = world.nodes.map((n) => n.name).join(', ');
  const verdict =
    world.violations.length === 0 ? 'Nothing acknowledged was lost, never two routes.' : world.violations.join('\n');
  return [`# ${scenario.title}`, '', `${scenario.rules}. Nodes: ${names}.`, '', ...tale.lines, '', verdict, ''].join(
    '\n',
  );
}

/** Decisions that only fill time. */
const QUIET: ReadonlySet<string> = new Set(['PROMOTING', 'STEADY', 'REOPENING', 'ELECTING', 'LEADER_AWAITED']);
