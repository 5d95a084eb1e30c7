/** The monitor's process: reads its configuration, wires the pieces, and ends when told to. No logic of its own. */

import { readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import type { LogEvent } from '../contract/api';
import type { LogCode } from '../contract/codes';
import { MonitorConfig } from '../contract/inputs';
import { PATHS, PORTS } from '../contract/layout';
import type { Level } from '../contract/log-line';
import { formatJson, formatLine, localTime, oneLine, shortened } from '../contract/log-line';
import { derivedPassword } from '../contract/proof';
import { VERSION } from '../contract/version';
import { runsPostgres } from '../core/facts/view';
import { retiringLeader } from '../core/procedures/members';
import type { Decision, Observation } from '../core/state/cluster';
import { isChanging } from '../core/state/cluster';
import { parseState } from '../core/state/stored';
import { promoteCommand, switchoverCommand } from './commands/command';
import { waitServing } from './commands/wait-serving';
import { FileStore } from './coordination/store';
import { FileLog } from './log';
import { Loop } from './loop';
import { KeeperServer } from './nodes/keepers';
import { OpeningChecks } from './nodes/opening';
import { Feed, SAMPLE_EVERY_MS } from './outside/feed';
import { httpApp, listenHttp } from './outside/http';
import { Listeners } from './outside/listeners';
import { Metrics } from './outside/metrics';
import { Notifier } from './outside/notify';
import { readPage } from './outside/page-routes';
import { clusterStatus, isServing, Sampler } from './outside/status-view';
import type { Log } from './ports';
import { Haproxy } from './router/haproxy';

const LOG_BYTES_MAX = 10 * 1024 * 1024;
const LOG_FILES = 5;
/** The loop counts as alive when it made a cycle within this time, ms. */
const ALIVE_MS = 5_000;

function configPath(): string {
  return process.env.MONITOR_CONFIG ?? PATHS.monitorConfig;
}

function readConfig(path: string): MonitorConfig {
  const parsed = MonitorConfig.safeParse(JSON.parse(readFileSync(path, 'utf8')));
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`);
  throw new Error(`${path} does not fit: ${issues.join('; ')}`);
}

type Told = Omit<LogEvent, 'id'> & { code: LogCode };

/** Writes to the log and hands each line to whoever reads the API. */
class ToldLog implements Log {
  private readonly log: Log;
  private readonly told: (event: Told) => void;

  constructor(log: Log, told: (event: Told) => void) {
    this.log = log;
    this.told = told;
  }

  write(level: Level, subject: string, code: LogCode, message: string): void {
    this.log.write(level, subject, code, message);
    this.told({ at: localTime(new Date()), level, subject, code, message: shortened(message) });
  }
}

/** Tells of changes in a folder, where the machine has a watcher left: a new worker is found by the regular look, too. */
function watchFolder(folder: string, changed: () => void): void {
  try {
    watch(folder, changed).on('error', () => undefined);
  } catch {
    // The kernel's limit of watchers is reached: inotify(7), /proc/sys/fs/inotify.
  }
}

async function main(): Promise<void> {
  const config = readConfig(configPath());
  const clock = { nowMs: () => performance.now() };
  const file = new FileLog({
    file: join(PATHS.logFolder, 'failover.log'),
    format: config.logFormat === 'json' ? formatJson : formatLine,
    bytesMax: config.logBytes ?? LOG_BYTES_MAX,
    keep: LOG_FILES,
    stdout: (line) => process.stdout.write(`${line}\n`),
    now: () => new Date(),
  });
  const listeners = new Listeners();
  const feed = new Feed({
    status: () => status(),
    busy: () => seen !== null && isChanging(seen.decision.state),
    failovers: () => loop.failovers(),
    listeners,
    nowMs: clock.nowMs,
  });
  const metrics = new Metrics(VERSION, clock, () => {
    const words = status();
    if (seen === null || words === null) return null;
    const { haproxy: routes, nodes: all } = words;
    return { ...seen, nodes: all, readNames: routes.read, writeName: routes.write, policy: config.policy };
  });
  const log = new ToldLog(file, (event) => {
    feed.log(event);
    metrics.event(event.code, event.subject);
  });
  const { notifyWebhook, stack } = config;
  const notifier = notifyWebhook === undefined ? null : new Notifier({ url: notifyWebhook, stack, log });
  const store = await FileStore.open(PATHS.monitorVolume);
  log.write('INFO', 'monitor', 'STARTED', `start ${store.incarnation} of the monitor for stack ${config.stack}`);

  const stored = store.loaded === null ? null : parseState(store.loaded);
  const retiring = retiringLeader(stored, config.nodes);
  const nodes = retiring === null ? config.nodes : [...config.nodes, retiring];

  let seen: { decision: Decision; observation: Observation } | null = null;
  let cycleAtMs = clock.nowMs();
  const sampler = new Sampler();
  const haproxy: Haproxy = new Haproxy({
    sockets: PATHS.haproxySockets,
    port: PORTS.postgres,
    addresses: nodes.map((n) => n.address),
    clock,
    log,
    onChange: () => loop.wake(),
    stalls: () => loop.countStalls(),
  });
  const keepers = new KeeperServer({
    address: config.listenAddress,
    port: PORTS.keepers,
    clusterKey: config.clusterKey,
    settings: {
      nodes,
      haproxyAddress: config.haproxyAddress,
      monitorAddress: config.listenAddress,
      subnet: config.subnet,
      databaseName: config.databaseName,
      databaseUser: config.databaseUser,
      databasePassword: config.databasePassword,
      postgresSettings: config.postgresSettings,
      rebuildInPlace: config.rebuildInPlace,
    },
    incarnation: store.incarnation,
    hangTimeoutMs: config.policy.hangTimeoutMs,
    clock,
    log,
    wake: () => loop.wake(),
    advanced: () => loop.advanced(),
    onIncarnation: (incarnation) => loop.outranked(incarnation),
  });
  const opening = new OpeningChecks({
    nodes,
    clusterKey: config.clusterKey,
    log,
    onCertified: (node, term) => loop.certified(node, term),
    onBroken: (node) => keepers.probe(node),
    isRunning: (node) => runsPostgres(seen?.observation, node),
  });
  const loop: Loop = new Loop({
    nodes,
    retiring: retiring?.name,
    policy: config.policy,
    keepers,
    router: haproxy,
    opening,
    store,
    clock,
    log,
    onDecision: (decision, observation) => {
      seen = { decision, observation };
      cycleAtMs = clock.nowMs();
      metrics.cycle(decision, observation);
      sampler.note(decision, observation, cycleAtMs);
      feed.tick();
    },
    onFailover: (failover) => {
      feed.failover(failover);
      metrics.failover(failover);
      notifier?.failover(failover);
    },
  });
  const status = () =>
    seen === null
      ? null
      : clusterStatus({
          ...seen,
          stack,
          version: VERSION,
          policy: config.policy,
          readAddresses: haproxy.readView(),
          lastFailover: loop.failovers().at(-1) ?? null,
          events: [],
          nowMs: clock.nowMs(),
          wallMs: Date.now(),
        });

  await keepers.listen();
  const http = await listenHttp(
    httpApp({
      page: readPage(PATHS.page),
      feed,
      listeners,
      version: VERSION,
      nowMs: clock.nowMs,
      healthy: () => clock.nowMs() - cycleAtMs < ALIVE_MS,
      unready: () => {
        if (seen === null) return 'the monitor is starting';
        return isServing(seen.decision.state, seen.observation) ? null : seen.decision.reason;
      },
      hostNames: config.hostNames ?? [],
      metrics: () => metrics.text(),
      commands: {
        token: derivedPassword(config.clusterKey, 'admin'),
        ask: (request) => loop.ask(request),
        dryRun: (request) => loop.dryRun(request),
        wallMs: Date.now,
      },
    }),
    '0.0.0.0',
    PORTS.monitorHttp,
  );
  opening.start();
  const sampling = setInterval(() => {
    if (seen === null) return;
    const sample = sampler.sample(seen.decision, seen.observation, clock.nowMs(), Date.now());
    feed.sample(sample);
    metrics.sample(sample);
  }, SAMPLE_EVERY_MS);
  const end = (signal: string) => {
    log.write('INFO', 'monitor', 'STOPPED', `stopped by ${signal}; the leader serves on, nothing fails over meanwhile`);
    loop.stop();
    haproxy.stop();
    opening.stop();
    clearInterval(sampling);
    listeners.close();
    http.close();
    Promise.all([store.close(), file.flush()])
      .catch(() => undefined)
      .finally(() => process.exit(0));
  };
  watchFolder(PATHS.haproxySockets, () => haproxy.poke());
  process.once('SIGTERM', () => end('SIGTERM'));
  process.once('SIGINT', () => end('SIGINT'));
  await Promise.all([loop.run(), haproxy.run()]);
}

function fail(error: unknown): void {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}

/** The process's name of a command, or none: the monitor itself. */
function command(name: string | undefined, args: readonly string[]): Promise<number> | null {
  const print = (line: string) => process.stdout.write(`${oneLine(line)}\n`);
  if (name === 'wait-serving') return waitServing(readConfig(configPath()), args[0], print);
  if (name === 'switchover') return switchoverCommand(readConfig(configPath()), args, print);
  if (name === 'promote') return promoteCommand(readConfig(configPath()), args, print);
  return null;
}

const asked = command(process.argv[2], process.argv.slice(3));
if (asked === null) main().catch(fail);
else asked.then((code) => process.exit(code)).catch(fail);
