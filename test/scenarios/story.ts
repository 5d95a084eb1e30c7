/** Plays a scenario on a simulated cluster and writes its story: the steps, and the monitor's decisions. */
import type { Answer } from '../../failover/contract/api';
import type { Status } from '../../failover/contract/messages';
import { type Policy, planOf } from '../../failover/core/state/cluster';
import type { Request as Asked } from '../../failover/core/state/observation';
import { ask, connect } from '../../simulator/clients';
import { Process } from '../../simulator/engine';
import type { ProxySession } from '../../simulator/haproxy-model';
import type { StoreDisk } from '../../simulator/monitor-container';
import type { SimNode } from '../../simulator/node';
import type { Reply, Request } from '../../simulator/postgres';
import { World } from '../../simulator/world';

const BUILD_LIMIT_MS = 60_000;
/** After this time a new cluster is steady: the monitor reports nothing of its creation any more, ms. */
const SETTLED_MS = 1_500;
/** Limit for an answer to a client, ms. */
const ANSWER_LIMIT_MS = 30_000;
/** Limit for the monitor's answer to a request, ms. The monitor itself answers each request earlier. */
const REQUEST_LIMIT_MS = 100_000;

export interface Scenario {
  /** The rules of docs/safety.md that the scenario shows. */
  rules: string;
  title: string;
  replicas?: number;
  policy?: Partial<Policy>;
  clients?: number;
  /** Lines of the monitor's log that the story shows beside the decisions: those whose `CODE message` has this form. */
  logs?: RegExp;
  /** The steps: sentences for {@link Tale.plays}, or a function for steps that no sentence can say. */
  play: readonly string[] | ((tale: Tale) => Promise<void>);
}

/** The steps that a scenario is written with. Each one adds its line to the story. */
export class Tale {
  constructor(
    readonly world: World,
    /** The story so far. */
    readonly lines: string[] = [],
    /** The monitor's log since the cluster was built. Each line is `<level> <node or monitor> <code> <message>`. */
    readonly log: readonly string[] = [],
  ) {}

  node(name: string): SimNode {
    const node = this.world.node(name);
    if (node === undefined) throw new Error(`there is no ${name}`);
    return node;
  }

  /** The node dies, and its volume is removed. */
  wipe(name: string): void {
    this.node(name).kill();
    this.node(name).wipe();
  }

  slow(name: string, slowness: number): void {
    this.node(name).disk.slowness = slowness;
  }

  /** A step that takes effect at once. */
  async event(text: string, run: () => void): Promise<void> {
    this.lines.push(`- ${text}`);
    run();
    await this.world.engine.run(this.world.engine.nowMs + 1);
  }

  /**
   * Plays sentences that are separated by `; `. Each sentence is a line of the story, and its step is in {@link PLAIN}.
   * @throws Error for a sentence that has no step
   */
  async plays(text: string): Promise<void> {
    for (const sentence of text.split('; ')) {
      const found = PLAIN.map(([form, step]) => ({ match: form.exec(sentence), step })).find((one) => one.match);
      if (found === undefined) throw new Error(`"${sentence}" has no step`);
      await found.step(this, sentence, ...(found.match ?? []).slice(1));
    }
  }

  async passes(ms: number): Promise<void> {
    await this.world.engine.run(this.world.engine.nowMs + ms);
  }

  /**
   * Waits until `holds` is true and writes `text`.
   * @throws Error at the limit, with the story and the newest lines of the log
   */
  async until(text: string, holds: () => boolean, limitMs = 60_000): Promise<void> {
    const { engine } = this.world;
    if (!(await engine.run(engine.nowMs + limitMs, holds))) {
      const last = [...this.lines, ...this.log.slice(-25), this.world.sentence];
      throw new Error(`NOT: ${text}\n${last.join('\n')}`);
    }
    this.lines.push(`- ${text}`);
  }

  /** A person's request to the monitor. The answer is a line of the story. */
  asks(request: Asked): void {
    this.world.monitor?.ask(request, (answer) => this.lines.push(`    answer: ${answer.message}`));
  }

  /** Sends a person's request to the monitor and returns the answer. */
  answer(request: Asked): Promise<Answer> {
    const answer = new Promise<Answer>((resolve) => this.world.monitor?.ask(request, resolve));
    return this.settled(answer, REQUEST_LIMIT_MS);
  }

  /** The monitor is killed, and another one starts on this volume. */
  restartMonitor(disk: StoreDisk = this.world.disk): void {
    this.world.monitor?.process.kill();
    this.world.startMonitor('monitor', disk);
  }

  /** Calls `then` once, when the monitor has stored a state that is in this step, and before it acts on the state. */
  atStep(step: string, then: () => void): void {
    const { world } = this;
    world.onStored = (state) => {
      if ((planOf(state)?.stage ?? state.activity.kind) !== step) return;
      world.onStored = () => undefined;
      then();
    };
  }

  well(): boolean {
    return this.world.healthy() !== null;
  }

  /** The node that HAProxy's write slot is open to; null when no slot is open. */
  open(): string | null {
    const [address] = this.world.haproxy.current?.routes() ?? [];
    return address === undefined ? null : this.world.network.hostOf(address);
  }

  /** A client of the write or the read port; null when its connection is refused, or ends before it reaches a node. */
  connect(port: 'write' | 'read'): Promise<ProxySession | null> {
    const person = new Process(this.world.engine, 'a person', 'client');
    return this.settled(connect(this.world, port, person, ANSWER_LIMIT_MS));
  }

  /** Sends a request. Null when there is no answer within the limit, or when the connection broke. */
  async ask(session: ProxySession | null, request: Request, limitMs = ANSWER_LIMIT_MS): Promise<Reply | null> {
    return session === null ? null : this.settled(ask(session, request, limitMs));
  }

  /** Lets the simulated time go on until the answer comes. The request itself has a limit, which is not longer. */
  private async settled<T>(answer: Promise<T>, limitMs = ANSWER_LIMIT_MS): Promise<T> {
    const { engine } = this.world;
    let over = false;
    const end = answer.finally(() => {
      over = true;
    });
    if (!(await engine.run(engine.nowMs + limitMs, () => over))) throw new Error('there is no answer');
    return end;
  }

  /** Rows that a read through a port shows. */
  async rows(port: 'write' | 'read'): Promise<readonly number[]> {
    const session = await this.connect(port);
    const reply = await this.ask(session, { kind: 'read' });
    session?.leave();
    if (reply?.ok !== true || reply.kind !== 'read') throw new Error(`the ${port} port does not answer`);
    return reply.rows.slice(0, reply.count);
  }

  code(): string {
    return this.world.decision?.code ?? '';
  }

  reason(): string {
    return this.world.decision?.reason ?? '';
  }

  /** The newest status of the node that the monitor has; null when it has none. */
  status(name: string): Status | null {
    return this.world.monitor?.seen?.observation.nodes[name]?.status ?? null;
  }

  /** The nodes that were copied since the cluster was built: one entry for each copy, in their order. */
  copied(): string[] {
    return this.subjects('COPY_DONE');
  }

  /** As {@link copied}, and then the nodes that were rewound. */
  replaced(): string[] {
    return [...this.copied(), ...this.subjects('REWIND_DONE')];
  }

  private subjects(code: string): string[] {
    return this.log.map((line) => line.split(' ')).flatMap(([, node = '', its]) => (its === code ? [node] : []));
  }

  fact(text: string): void {
    this.lines.push(`- ${text}`);
  }

  /**
   * Starts the nodes that are down, and the clients end. Then all nodes must have the same data, with every
   * acknowledged write.
   * @returns the violations that the oracles of the simulator found
   */
  async end(): Promise<readonly string[]> {
    const { world } = this;
    for (const node of world.members) node.start();
    world.clientsEnd = true;
    await this.until('all nodes have the same data', () => world.identical());
    world.checkIdentical();
    world.history.checkPhantoms();
    return world.violations;
  }
}

type Step = (t: Tale, sentence: string, ...parts: string[]) => Promise<void>;

const NODE = '(primary|replica-\\d)';
const form = (text: string) => new RegExp(`^${text.replace('NODE', NODE)}$`);
const event =
  (act: (t: Tale, ...parts: string[]) => unknown): Step =>
  (t, sentence, ...parts) =>
    t.event(sentence, () => void act(t, ...parts));
const until =
  (holds: (t: Tale, ...parts: string[]) => boolean): Step =>
  (t, sentence, ...parts) =>
    t.until(sentence, () => holds(t, ...parts));

/** A question: only its answer is a line of the story. */
const answer =
  (text: (t: Tale) => string): Step =>
  async (t) =>
    t.fact(text(t));

/** The request for a pause; without a number of seconds it lasts until a person resumes. */
function pauseFor(t: Tale, seconds: string | undefined): Asked {
  const sinceWallMs = t.world.wallMs();
  const untilWallMs = seconds === undefined ? null : sinceWallMs + 1_000 * Number(seconds);
  return { kind: 'pause', pause: { reason: 'new disks', sinceWallMs, untilWallMs } };
}

const open = (t: Tale, otherwise = 'no node') => t.open() ?? otherwise;

const DOCKER = ['kill', 'start', 'stop', 'pause', 'unpause'] as const;

/** The step for each form of sentence. The first form that fits a sentence is used. */
const PLAIN: readonly (readonly [RegExp, Step])[] = [
  [form('(\\d+) ms pass'), (t, _sentence, ms) => t.passes(Number(ms))],
  ...DOCKER.map((command): readonly [RegExp, Step] => [
    // A remark may follow.
    form(`docker ${command} NODE(?:(?::|, the|, which) .*)?`),
    event((t, node = '') => t.node(node)[command]()),
  ]),
  [form('docker restart NODE'), event((t, node = '') => t.node(node).stop())],
  [form('NODE is up again'), event((t, node = '') => t.node(node).start())],
  [form('docker kill haproxy'), event(({ world }) => world.haproxy.kill())],
  [form('docker start haproxy'), event(({ world }) => world.haproxy.start())],
  [form('docker pause haproxy'), event(({ world }) => world.haproxy.process.pause())],
  [form('docker unpause haproxy'), event(({ world }) => world.haproxy.process.resume())],
  [form('docker kill failover-monitor'), event(({ world }) => world.monitor?.process.kill())],
  [form('docker restart failover-monitor'), event((t) => t.restartMonitor())],
  [form('docker start failover-monitor'), event(({ world }) => world.startMonitor())],
  [form('docker pause failover-monitor'), event(({ world }) => world.monitor?.process.pause())],
  [form('docker unpause failover-monitor'), event(({ world }) => world.monitor?.process.resume())],
  [form('docker kill NODE, and its volume is removed'), event((t, node = '') => t.wipe(node))],
  [form('the disk of NODE is frozen'), event((t, node = '') => t.slow(node, Number.POSITIVE_INFINITY))],
  [form('the disk of NODE is well again'), event((t, node = '') => t.slow(node, 1))],
  [form('haproxy is reloaded'), event(({ world }) => world.haproxy.reload())],
  [
    form('packets between (monitor|haproxy) and NODE are lost'),
    event(({ world }, a = '', b = '') => world.network.cut(a, b)),
  ],
  [form('pause(?: for (\\d+) s)?, "new disks"'), event((t, seconds) => t.asks(pauseFor(t, seconds)))],
  [form('resume'), event((t) => t.asks({ kind: 'resume', by: 'person' }))],
  [form('promote NODE'), event((t, to = '') => t.asks({ kind: 'promote', to, acceptDataLoss: false }))],
  [form('the network is whole again'), event(({ world }) => world.network.heal())],
  [form('what is open\\?'), answer((t) => `open: ${open(t)}`)],
  [form('what is open, or held\\?'), answer((t) => `open: ${open(t, 'nobody, new connections are held')}`)],
  [form('what is open, and why\\?'), answer((t) => `open: ${open(t)}; ${t.reason()}`)],
  [form('why\\?'), answer((t) => t.reason())],
  [form('where do writes go\\?'), answer((t) => `writes go to ${open(t)}`)],
  [
    form('where do writes go, and in which term\\?'),
    answer((t) => `writes go to ${open(t)}, term ${t.world.state?.term}`),
  ],
  [form('which term is it\\?'), answer((t) => `term ${t.world.state?.term}`)],
  [form('it is said who could take over'), until((t) => t.code() === 'PAUSED')],
  [form('it is said what would be done'), until((t) => t.code() === 'OBSERVED')],
  [form('writes go to NODE'), until((t, node) => t.open() === node)],
  [
    form('writes go to NODE, within a second'),
    (t, sentence, node) => t.until(sentence, () => t.open() === node, 1_000),
  ],
  [form('(?:writes go to )?NODE(?: leads)? again'), until((t, node) => t.open() === node && t.well())],
  [
    form('writes are acknowledged'),
    (t, sentence) => {
      const sinceMs = t.world.engine.nowMs;
      return t.until(sentence, () => t.world.servedSince(sinceMs));
    },
  ],
  [
    form('the leader is alone, recorded and in force'),
    until(({ world }) => world.state?.joint.length === 1 && world.state.joint[0]?.k === 0),
  ],
  [form('no node can take over'), until((t) => t.code() === 'NO_CANDIDATE')],
  [form('the monitor knows the position of NODE'), until((t, node = '') => t.status(node)?.postgres.lsn != null)],
  [form('a leader is open'), until((t) => t.open() !== null)],
  [form('a new leader is open'), until((t) => t.open() !== null && t.open() !== 'primary')],
  [form('NODE is down'), until((t, node = '') => !t.node(node).up)],
  [form('(?:all is well|all nodes are together again|all nodes are counted)'), until((t) => t.well())],
  [form('(?:NODE|it|both replicas) (?:is|are) counted(?: again)?'), until((t) => t.well())],
  [form('NODE follows (?:replica-1|the new leader)(?: and is counted again)?'), until((t) => t.well())],
  [form('NODE serves reads only when it streams'), until((t) => t.well())],
];

/** A cluster without faults, with clients at both ports; resolves when it is healthy. */
export async function built(
  options: Omit<ConstructorParameters<typeof World>[0], 'calm' | 'cancels'>,
  clients: readonly [write: number, read: number],
  prepare: (world: World) => void = () => undefined,
): Promise<World> {
  const world = new World({ ...options, cancels: 0, calm: true });
  prepare(world);
  world.startAll();
  world.startClients(...clients);
  if (!(await world.engine.run(BUILD_LIMIT_MS, () => world.healthy() !== null)))
    throw new Error('the cluster was not built');
  return world;
}

/** The empty volume of a monitor that starts for the first time. */
export function newStore(): StoreDisk {
  return { incarnation: 0, state: null, full: false, moved: false };
}

/** A cluster for tests that check more than a story shows: with the monitor's log, and with one client at each port. */
export async function cluster(replicas: number, policy: Partial<Policy> = {}): Promise<Tale> {
  const log: string[] = [];
  const world = await built({ seed: 7, replicas, policy, thinkMs: 60 }, [1, 1], (made) => {
    made.onLog = (subject, code, message, level) => log.push(`${level} ${subject} ${code} ${message}`);
  });
  const tale = new Tale(world, [], log);
  await tale.passes(SETTLED_MS);
  log.length = 0;
  return tale;
}

/**
 * Plays a scenario and returns its story. Durations and counts are left out, because a story must not depend on them.
 */
export async function storyOf({
  title,
  rules,
  replicas = 1,
  policy,
  clients = 2,
  logs,
  play,
}: Scenario): Promise<string> {
  const lines: string[] = [];
  const world = await built({ seed: 7, replicas, policy, thinkMs: 60 }, [clients, Math.min(clients, 1)], (made) => {
    made.onDecision = (code, reason) => {
      const line = `    ${code}: ${reason.replaceAll(/\d+ ms/g, '… ms').replaceAll(/seq \d+/g, 'seq …')}`;
      if (!QUIET.has(code) && lines.findLast((l) => l.startsWith('    ')) !== line) lines.push(line);
    };
    made.onLog = (subject, code, message) => {
      const line = `    ${subject}: ${message.replaceAll(/\b\d+\.\d+\.\d+/g, '…')}`;
      if (logs?.test(`${code} ${message}`) === true && !lines.slice(-4).includes(line)) lines.push(line);
    };
  });
  const tale = new Tale(world, lines);
  await tale.passes(SETTLED_MS);
  lines.length = 0;
  if (typeof play === 'function') await play(tale);
  else await tale.plays(play.join('; '));
  world.history.checkPhantoms();
  const names = world.nodes.map((n) => n.name).join(', ');
  const verdict =
    world.violations.length === 0 ? 'Nothing acknowledged was lost, never two routes.' : world.violations.join('\n');
  return [`# ${title}`, '', `${rules}. Nodes: ${names}.`, '', ...lines, '', verdict, ''].join('\n');
}

/** Decisions that a story leaves out: the cluster waits, or nothing changes. */
const QUIET: ReadonlySet<string> = new Set(['PROMOTING', 'STEADY', 'REOPENING', 'ELECTING', 'LEADER_AWAITED']);

/** What has happened so far to clients that connected at the same moment. */
export interface Crowd {
  served: number;
  refused: number;
  /** Largest number of them that were connected at once. */
  most: number;
}

/** So many clients connect to the write port at once. Each inserts a row and leaves `staysMs` after the answer. */
export function crowd(world: World, count: number, staysMs = 0): Crowd {
  const seen = { served: 0, refused: 0, most: 0, inside: 0 };
  for (let i = 0; i < count; i++) {
    const client = new Process(world.engine, `client ${i}`, 'client');
    const refused = () => {
      seen.refused += 1;
    };
    world.haproxy.connect('write', client, (session) => {
      if (session === null) return refused();
      session.onClosed = refused;
      session.onConnected = () => {
        seen.inside += 1;
        seen.most = Math.max(seen.most, seen.inside);
        session.ask({ kind: 'row', row: world.nextRow() }, () => {
          session.onClosed = () => undefined;
          seen.served += 1;
          world.engine.after(staysMs, client, () => {
            seen.inside -= 1;
            session.leave();
          });
        });
      };
    });
  }
  return seen;
}
