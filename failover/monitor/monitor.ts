/** Builds the monitor for the process, the simulator and the tests alike. */
import { randomUUID } from 'node:crypto';
import type { Failover } from '../contract/api';
import { PORTS } from '../contract/layout';
import type { NodeSettings } from '../contract/messages';
import { runsPostgres } from '../core/facts/view';
import { retiringLeader } from '../core/procedures/members';
import { type Decision, type DeclaredNode, emptyState, type Policy } from '../core/state/cluster';
import type { Observation } from '../core/state/observation';
import { parseState } from '../core/state/stored';
import { Executor } from './executor';
import { Loop } from './loop';
import { KeeperServer, type KeeperServerOptions } from './nodes/keepers';
import { OpeningChecks, type OpeningOptions } from './nodes/opening';
import { Observer } from './observer';
import { Pacer } from './pacer';
import type { Clock, Inside, Keepers, Log, Opening, Router, Seen, Store } from './ports';
import { Reporter } from './reporter';
import { Requests } from './requests';
import { Haproxy, type HaproxyOptions } from './router/haproxy';
import { StallGuard } from './stall';
import { Timeline } from './timeline';

/** What the monitor needs from the world, and the events that it reports. */
interface MonitorPorts {
  /** The declared nodes in order of preference. */
  nodes: readonly DeclaredNode[];
  policy: Policy;
  clusterKey: string;
  /** The settings that every keeper is sent, without the nodes. */
  settings: Omit<NodeSettings, 'nodes'>;
  /** Address at which the keepers connect. */
  listen: { address: string; port: number };
  /** The folder with HAProxy's sockets. */
  sockets: string;
  store: Store;
  clock: Clock;
  log: Log;
  /** Wall clock, ms. Used only to end a pause. @default Date.now */
  wallMs?: () => number;
  /** A new id for a person's request. @default a random UUID */
  newId?: () => string;
  /** Called after each cycle. */
  onDecision: (decision: Decision, observation: Observation) => void;
  /** Called with each finished change of leader, and again when its former leader follows. */
  onFailover?: (failover: Failover) => void;
  /** The quick connect to a PostgreSQL. @default probePostgres */
  probe?: KeeperServerOptions['probe'];
  /** Models that replace shipped parts, for tests. Each gets the events by which the part reports what it sees. */
  models?: {
    keepers?: (events: Pick<KeeperServerOptions, 'wake' | 'advanced' | 'onIncarnation'>) => Keepers;
    router?: (events: Pick<HaproxyOptions, 'onChange' | 'stalls'>) => Router;
    opening?: (events: Pick<OpeningOptions, 'onCertified' | 'onBroken' | 'isRunning'>) => Opening;
  };
}

/** A monitor that is built but does not run yet. The process need not wait for `close`: the kernel closes as well. */
export interface Monitor extends Inside, Pick<Keepers, 'listen' | 'port' | 'close'>, Pick<Router, 'poke'> {
  /** Runs until {@link stop}. */
  run(): Promise<void>;
  stop(): void;
}

/** Builds a monitor on the stored state. */
export function createMonitor(ports: MonitorPorts): Monitor {
  const { clock, log, policy, store, clusterKey, sockets, models = {} } = ports;
  const state = (store.loaded === null ? null : parseState(store.loaded)) ?? emptyState();
  const retiring = retiringLeader(state, ports.nodes);
  const nodes = retiring === null ? ports.nodes : [...ports.nodes, retiring];
  let seen: Seen | null = null;

  const wake = () => loop.wake();
  const guard = new StallGuard(clock, log, (nowMs) => loop.stoodStill(nowMs));
  const stalls = () => {
    guard.notice();
    return guard.count;
  };
  const routerEvents = { onChange: wake, stalls };
  const addresses = nodes.map((n) => n.address);
  const haproxy = { sockets, port: PORTS.postgres, addresses, clock, log, ...routerEvents };
  const router = models.router?.(routerEvents) ?? new Haproxy(haproxy);
  const keeperEvents = {
    wake,
    advanced: () => loop.advanced(),
    onIncarnation: (incarnation: number) => loop.outranked(incarnation),
  };
  const keepers =
    models.keepers?.(keeperEvents) ??
    new KeeperServer({
      ...{ ...ports.listen, clusterKey, clock, log, probe: ports.probe, ...keeperEvents },
      settings: { ...ports.settings, nodes: [...nodes] },
      incarnation: store.incarnation,
      hangTimeoutMs: policy.hangTimeoutMs,
    });
  const openingEvents = {
    onCertified: (node: string, term: number) => loop.certified(node, term),
    onBroken: (node: string) => keepers.probe(node),
    isRunning: (node: string) => runsPostgres(seen?.observation, node),
  };
  const opening = models.opening?.(openingEvents) ?? new OpeningChecks({ nodes, clusterKey, log, ...openingEvents });
  const timeline = new Timeline(clock, log, ports.onFailover);
  const requests = new Requests({ clock, policy, newId: ports.newId ?? randomUUID, wake });
  const loop: Loop = new Loop({
    ...{ state, policy, keepers, router, store, clock, log, guard, requests, timeline },
    pacer: new Pacer({ guard, ping: (n) => keepers.ping(n), wake }),
    observer: new Observer({ nodes, retiring: retiring?.name, policy, keepers, router }, clock.nowMs()),
    reporter: new Reporter(log),
    executor: new Executor({ keepers, router, opening, store, onClosed: () => timeline.mark('closed') }),
    wallMs: ports.wallMs ?? Date.now,
    onDecision: (decision, observation) => {
      seen = { decision, observation };
      ports.onDecision(decision, observation);
    },
  });

  return {
    listen: () => keepers.listen(),
    port: () => keepers.port(),
    run: async () => {
      opening.start();
      await Promise.all([loop.run(), router.run()]);
    },
    stop: () => {
      for (const part of [loop, router, opening]) part.stop();
    },
    close: () => keepers.close(),
    poke: () => router.poke(),
    seen: () => seen,
    readAddresses: () => router.readView(),
    failovers: () => timeline.finished,
    ask: (request) => requests.ask(request),
    dryRun: (request) => requests.dryRun(request),
  };
}
