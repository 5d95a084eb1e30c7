/**
 * Gathers doctor's facts in parallel, each with a deadline. It does not ask what an earlier failure makes pointless.
 */
import { existsSync, statfsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { messageOf } from '../../failover/contract/errors';
import { slotName } from '../../failover/contract/naming';
import { engineState } from '../../scripts/lib/docker';
import { PATHS } from '../../scripts/lib/paths';
import { updatesOf } from '../../scripts/lib/updates';
import { checkConfig } from '../../stack/config';
import { KEY_NAMES } from '../../stack/keys';
import { buildTopology, LOG_FILE, type Topology } from '../../stack/topology';
import { Client } from '../client';
import { EXIT, Failed } from '../exit';
import { logIn } from '../login';
import type { Target } from '../target';
import { fetchTrusting } from '../trusting';
import { lookAtBackend, lookAtHaproxy, lookAtPassfile } from './client-side';
import { lookAtContainers } from './containers';
import type { ContainerFact, Facts, UpdatesFact } from './facts';
import { lookAtNode, queryFor } from './nodes';

const MONITOR_MS = 3_000;
/** Limit for the archive's answer, ms. */
const UPDATES_MS = 30_000;

/** @param options `updates`: also asks Debian's archive, which may take half a minute */
export async function look(target: Target, options: { updates?: boolean } = {}): Promise<Facts> {
  const topology = topologyOf(target);
  const engine = await engineState();
  const { databaseUser: user, databaseName: database } = topology.settings;
  const none: Facts = {
    stack: target.stack,
    engine,
    containers: [],
    ports: [],
    monitor: { cluster: null, healthy: false, message: '' },
    application: { user, database },
    nodes: [],
    log: logFact(topology),
    clockMs: null,
    slotOf: slotName,
  };
  if (engine.kind !== 'answers') return none;
  const { containers, ports } = await lookAtContainers(topology);
  const running = (role: string) =>
    containers.filter((one) => one.role === role && one.state === 'running' && !one.foreign);
  const haproxyRuns = running('haproxy').length > 0;
  const query = queryFor(user, database);
  const [monitor, haproxy, login, backend, passfile, nodes, updates] = await Promise.all([
    lookAtMonitor(target),
    haproxyRuns ? lookAtHaproxy(target) : undefined,
    haproxyRuns ? logIn(target) : undefined,
    haproxyRuns && running('backend').length > 0 ? lookAtBackend(target) : undefined,
    lookAtPassfile(target),
    Promise.all(running('node').map(({ name }) => lookAtNode(name, query))),
    options.updates ? lookAtUpdates(containers) : undefined,
  ]);
  const { clockMs, ...heard } = monitor;
  return { ...none, containers, ports, monitor: heard, haproxy, login, backend, passfile, nodes, updates, clockMs };
}

/** Asks once for each image. */
function lookAtUpdates(containers: readonly ContainerFact[]): Promise<UpdatesFact[]> {
  const own = containers.filter(({ image, foreign }) => image !== '' && !foreign);
  const images = [...new Set(own.map(({ image }) => image))];
  return Promise.all(
    images.map(async (image) => ({
      containers: own.filter((one) => one.image === image).map(({ name }) => name),
      answer: await updatesOf(image, UPDATES_MS),
    })),
  );
}

function topologyOf(target: Target): Topology {
  const { info } = target;
  // Secrets are encrypted in the file, and doctor does not need them. They are absent here and count as empty.
  const raw = KEY_NAMES.map((key) => [key, info.value(key, '')] as const);
  const { settings, problems } = checkConfig(Object.fromEntries(raw.filter(([, value]) => value !== '')));
  if (settings === undefined)
    throw new Failed(EXIT.usage, [`The config of stack ${target.stack} is refused:`, ...problems].join('\n  - '));
  return buildTopology(settings, { project: info.project, stack: target.stack, projectRoot: PATHS.root });
}

async function lookAtMonitor(target: Target): Promise<Facts['monitor'] & { clockMs: number | null }> {
  const { monitorUrl: url, token, trust } = target;
  const client = new Client({ url, token, trust, readMs: MONITOR_MS });
  try {
    const [cluster, healthy] = await Promise.all([client.cluster(), isHealthy(target)]);
    return { cluster, healthy, message: '', clockMs: Date.now() - Date.parse(cluster.at) };
  } catch (error) {
    return { cluster: null, healthy: false, message: messageOf(error), clockMs: null };
  }
}

async function isHealthy({ monitorUrl, trust }: Target): Promise<boolean> {
  try {
    return (await fetchTrusting(`${monitorUrl}/health`, { limitMs: MONITOR_MS }, trust)).ok;
  } catch {
    return false;
  }
}

function logFact({ monitor }: Topology): Facts['log'] {
  const file = join(monitor.logFolder, LOG_FILE);
  const there = existsSync(file);
  return { file, there, freeBytes: there ? freeBytes(dirname(file)) : null };
}

function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}
