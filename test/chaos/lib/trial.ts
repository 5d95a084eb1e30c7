/**
 * One run of one fault: wait until healthy, start clients, make the fault, wait until healthy again, check all results.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterStatus } from '../../../failover/contract/api';
import { messageOf } from '../../../failover/contract/errors';
import { ask } from '../../../failover/monitor/router/haproxy-socket';
import { say } from '../../../scripts/lib/terminal';
import { docker } from '../../rig/docker';
import { sessionsIn } from '../../rig/haproxy-sessions';
import { loadAverage } from '../../rig/progress';
import { doubleRoutes, twoPrimariesMs } from '../../rig/reigns';
import { healthy, untilView } from '../../rig/view';
import { epochMs, waitFor } from '../../rig/wait';
import { longestPauseMs } from '../../rig/writer';
import { Actors, WRITERS } from './actors';
import { judge } from './checks';
import { heal } from './docker';
import type { Checker } from './linearizability';
import type { Result } from './progress';
import { Scene } from './scene';
import { HAPROXY, MONITOR, STACK } from './stack';
import { checksumWithout, differences, makeTables, rowsOf } from './tables';

/** Recovery may include a new copy of a node, ms. */
const HEALTHY_LIMIT_MS = 180_000;
const WRITE_LIMIT_MS = 180_000;
const LOOKS_MAX = 5;
const SETTLE_MS = 1_000;
/** A little longer than HAProxy keeps half-closed sessions (`timeout client-fin`), ms. */
const SESSIONS_LIMIT_MS = 20_000;
const SOCKETS = `${STACK.prefix}haproxy-sockets`;
/** Limit for the median time between two looks of the poller at one source, ms. */
const LOOK_LIMIT_MS = 100;

/** Roles of the nodes when a fault is prepared. */
export interface Preparation {
  leader: string;
  standby: string;
  /** Adds a step that is done after all checks, also when the trial fails. The last step is done first. */
  undo: (step: () => Promise<void>) => void;
}

export interface Fault {
  name: string;
  about: string;
  /** Called before the clients start. */
  prepare?: (who: Preparation) => Promise<void>;
  run: (scene: Scene) => Promise<void>;
}

type Step = (scene: Scene) => unknown;

export function fault(name: string, about: string, run: Fault['run']): Fault {
  return { name, about, run };
}

/** A fault whose cause lasts until clients write again. Then `undo` ends it, unless it ends by itself. */
export function outage(name: string, about: string, act: Step, undo: Step = () => undefined): Fault {
  return fault(name, about, async (scene) => {
    await act(scene);
    await scene.acknowledged(WRITE_LIMIT_MS);
    scene.over();
    await undo(scene);
  });
}

/** A fault whose cause ends at once, like a crash. Then clients have to write again. */
export function crash(name: string, about: string, act: Step): Fault {
  return fault(name, about, async (scene) => {
    await act(scene);
    scene.over();
    await scene.acknowledged(WRITE_LIMIT_MS);
  });
}

export interface TrialOptions {
  fault: Fault;
  /** Name of this run, for its rows and its evidence. */
  run: string;
  nodes: readonly string[];
  folder: string;
  checker: Checker;
}

/** Runs the fault and checks the results. It never throws: an exception becomes a violation in the result. */
export async function trial(options: TrialOptions): Promise<Result> {
  const { fault, run, folder } = options;
  const startMs = epochMs();
  const undo: (() => Promise<void>)[] = [];
  try {
    await heal();
    const { leader } = await healthy(STACK, HEALTHY_LIMIT_MS);
    const standby = options.nodes.find((n) => n !== leader) ?? '';
    await fault.prepare?.({ leader: leader ?? '', standby, undo: (step) => undo.push(step) });
    return await attempt(options);
  } catch (error) {
    await keepLogs(options.nodes, folder).catch(() => undefined);
    return {
      ...{ name: fault.name, run, date: new Date(startMs).toISOString() },
      ...{ heldMs: 0, freshMs: 0, recoveredMs: 0, failovers: 0 },
      ...{ acknowledged: 0, failed: 0, unknown: 0, lost: 0, operations: 0 },
      ...{ twoPrimariesMs: 0, vanishedOnRead: 0, load: loadAverage() },
      ...{ violations: [messageOf(error)], notes: [] },
    };
  } finally {
    for (let step = undo.pop(); step !== undefined; step = undo.pop())
      await step().catch((error: unknown) => say(`could not undo a step of ${fault.name}: ${String(error)}`));
  }
}

async function attempt({ fault, run, nodes, folder, checker }: TrialOptions): Promise<Result> {
  const leader = (await healthy(STACK, HEALTHY_LIMIT_MS)).leader ?? '';
  await makeTables(leader);
  const others = await checksumWithout(leader, run);
  const socket = `${await docker('volume', 'inspect', '--format', '{{.Mountpoint}}', SOCKETS)}/admin.sock`;
  const actors = new Actors(run, nodes, socket, folder);
  const scene = new Scene(actors, nodes);
  const { termBefore, recoveredMs, failures } = await play(fault, scene);
  const { term, rows, wrong } = await lookAtTables(run, nodes, others);
  const reigns = actors.events.filter((e) => e.what === 'reign');
  const reads = actors.events.filter((e) => e.what === 'read');
  const writes = actors.writes();
  const { violations, ...counts } = judge({ writes, reads, rows });
  const history = await checker(actors.registers());
  const double = doubleRoutes(reigns);
  const found = [
    ...failures,
    ...violations,
    ...double.map((d) => `${d.nodes.join(' and ')} were both writable routes for ${Math.round(d.toMs - d.fromMs)} ms`),
    ...(history.verdict === 'linearizable' ? [] : [`registers: ${history.message}`]),
    ...wrong,
    ...(await sessionsLeft(socket, folder)),
    ...rarelyWatched(actors, nodes),
  ];
  if (found.length > 0) await keepLogs(nodes, folder);
  writeFileSync(join(folder, 'log.txt'), scene.log.text());
  return {
    ...{ name: fault.name, run, date: new Date(scene.sinceMs).toISOString() },
    heldMs: longestPauseMs(writes, scene.sinceMs, 'held'),
    freshMs: longestPauseMs(writes, scene.sinceMs, 'fresh'),
    ...{ recoveredMs, failovers: term - termBefore, ...counts },
    ...{ operations: actors.registers().length, twoPrimariesMs: twoPrimariesMs(reigns), load: loadAverage() },
    ...{ violations: found, notes: scene.notes },
  };
}

/** Makes the fault under load and waits until the cluster is healthy and every client writes again. */
async function play(fault: Fault, scene: Scene) {
  const failures: string[] = [];
  let recoveredMs = 0;
  /** Term before the fault. */
  let termBefore = 0;
  const attempted = async (step: () => Promise<unknown>) => {
    await step().catch((error: unknown) => failures.push(messageOf(error)));
  };
  try {
    await scene.actors.acknowledged(0, WRITE_LIMIT_MS, WRITERS);
    await scene.actors.watching(scene.nodes, WRITE_LIMIT_MS);
    await sleep(SETTLE_MS);
    const { leader, term } = await healthy(STACK, HEALTHY_LIMIT_MS);
    termBefore = term;
    scene.begins(leader ?? '');
    await attempted(() => fault.run(scene));
    await attempted(() => scene.undoAll());
    const endedMs = scene.endedMs ?? epochMs();
    await attempted(async () => {
      await heal();
      await healthy(STACK, HEALTHY_LIMIT_MS);
      recoveredMs = Math.round(epochMs() - endedMs);
      await scene.acknowledged(WRITE_LIMIT_MS, WRITERS);
    });
    await sleep(SETTLE_MS);
  } finally {
    await scene.actors.stop();
  }
  return { termBefore, recoveredMs, failures };
}

/**
 * Reads the tables on all nodes. On a busy machine the lead may move or a node may restart meanwhile. Then the tables
 * are read again, because only their content is checked here.
 */
async function lookAtTables(run: string, nodes: readonly string[], others: string) {
  const hasLeader = (now: ClusterStatus) => now.serving && now.leader !== null;
  for (let tries = 1; ; tries++) {
    const { leader, term } = await untilView(STACK, 'a leader', HEALTHY_LIMIT_MS, hasLeader);
    const now = leader ?? '';
    try {
      const rows = await rowsOf(now, run);
      const changed = others === (await checksumWithout(now, run)) ? [] : ['rows of earlier runs have changed'];
      return { term, rows, wrong: [...changed, ...(await differences(now, nodes))] };
    } catch (error) {
      if (tries >= LOOKS_MAX) throw error;
      await healthy(STACK, HEALTHY_LIMIT_MS);
    }
  }
}

/** Waits for the end of all sessions in HAProxy. A session that stays is a violation; the list is kept as evidence. */
async function sessionsLeft(socket: string, folder: string): Promise<string[]> {
  let answer = '';
  const none = async () => {
    answer = await ask(socket, 'show sess', SESSIONS_LIMIT_MS);
    return sessionsIn(answer).length === 0;
  };
  const ended = await waitFor('the end of all sessions', SESSIONS_LIMIT_MS, none).catch(() => false);
  if (ended) return [];
  writeFileSync(join(folder, 'sessions.txt'), answer);
  const sessions = sessionsIn(answer).map((s) => `${s.backend} ${s.state}`);
  return [`HAProxy keeps ${sessions.length} sessions: ${sessions.join(', ')}`];
}

/** Sources that the poller looked at too rarely. Without its looks a double route would not be noticed. */
function rarelyWatched(actors: Actors, nodes: readonly string[]): string[] {
  const coverage = actors.events.filter((e) => e.what === 'coverage');
  return [...nodes, 'haproxy'].flatMap((source) => {
    const found = coverage.find((c) => c.source === source);
    if (found !== undefined && found.looks > 10 && found.medianMs <= LOOK_LIMIT_MS) return [];
    return [`the poller looked at ${source} too rarely: ${JSON.stringify(found ?? 'never')}`];
  });
}

/** Keeps the last five minutes of the containers' logs as evidence. */
async function keepLogs(nodes: readonly string[], folder: string): Promise<void> {
  for (const name of [...nodes, HAPROXY, MONITOR])
    writeFileSync(join(folder, `${name}.log`), await docker('logs', '--since', '5m', name).catch(String));
}
