/** The leader is cut off from others, pair by pair, by packet filter rules between the containers' addresses. */
import { setTimeout as sleep } from 'node:timers/promises';
import { addRules, removeRules } from '../../rig/packet-rules';
import { view } from '../../rig/view';
import { start } from '../lib/docker';
import type { Scene } from '../lib/scene';
import { addressOf, HAPROXY, MONITOR, STACK } from '../lib/stack';
import { type Fault, fault } from '../lib/trial';

/** Longer than the default `hangTimeout` (2 s), a walsender's timeout (10 s) and what follows. */
const CUT_MS = 14_000;
const AFTER_LIMIT_MS = 120_000;
/** Both clients write through the open route in this time, or it was held. */
const HOLD_LIMIT_MS = 3_000;

type Pair = readonly [string, string];

/** Drops everything between the pairs of containers, both ways, until it is mended; mending twice does no harm. */
async function cut(scene: Scene, pairs: readonly Pair[]): Promise<() => Promise<void>> {
  const mend = () => removeRules(STACK.name);
  scene.afterwards(mend);
  const ends = pairs.map(([a, b]) => [addressOf(a), addressOf(b)] as const);
  await addRules(STACK.name, ends, ['-j', 'DROP']);
  return mend;
}

type Others = 'monitor' | 'replicas' | 'haproxy';

function pairs(scene: Scene, others: readonly Others[]): Pair[] {
  const names = { monitor: [MONITOR], replicas: scene.standbys, haproxy: [HAPROXY] };
  return others.flatMap((other) => names[other].map((name): Pair => [scene.leader, name]));
}

/** @param meanwhile what must hold while the cut lasts. */
function apart(others: readonly Others[], about: string, meanwhile: (scene: Scene) => Promise<void>): Fault {
  return fault(
    `cut-${others.join('-')}`,
    `the leader is cut off from ${others.join(' and ')} for ${CUT_MS / 1000} s: ${about}`,
    async (scene) => {
      const mend = await cut(scene, pairs(scene, others));
      await sleep(CUT_MS);
      await meanwhile(scene);
      scene.over();
      await mend();
      await scene.acknowledged(AFTER_LIMIT_MS);
    },
  );
}

async function leaderStays(scene: Scene): Promise<void> {
  const now = await view(STACK);
  scene.expect(now.leader === scene.leader, `${now.leader} leads although ${scene.leader} serves (S21)`);
}

const serves = (scene: Scene) => scene.acknowledged(AFTER_LIMIT_MS);

async function movedAndServes(scene: Scene): Promise<void> {
  await serves(scene);
  const { leader } = await view(STACK);
  scene.expect(leader !== scene.leader, `${scene.leader} leads still although it cannot be reached`);
}

async function nothing(): Promise<void> {}

export const NETWORK_FAULTS: readonly Fault[] = [
  apart(['monitor'], 'it serves on and no failover is made on the monitor’s word alone (S21)', leaderStays),
  apart(['replicas'], 'it goes on alone', serves),
  apart(['haproxy'], 'the lead moves to a node that HAProxy reaches', movedAndServes),
  apart(['monitor', 'replicas'], 'it could serve on, so it is cut off from clients first', movedAndServes),
  apart(['monitor', 'haproxy'], 'it is not seen to be needed', nothing),
  apart(['replicas', 'haproxy'], 'nobody else has its last rows for sure', nothing),
  apart(['monitor', 'replicas', 'haproxy'], 'another one takes over', movedAndServes),
  fault('cut-monitor-from-all', 'the monitor is cut off from every node; the leader serves on', async (scene) => {
    const { term } = await view(STACK);
    const all = scene.nodes.map((node): Pair => [MONITOR, node]);
    const mend = await cut(scene, all);
    await sleep(CUT_MS);
    await scene.acknowledged(HOLD_LIMIT_MS);
    scene.over();
    await mend();
    await scene.acknowledged(AFTER_LIMIT_MS);
    await leaderStays(scene);
    const isSame = (await view(STACK)).term === term;
    scene.expect(isSame, 'the lead was given anew although nobody but the monitor was away');
  }),
  fault('cut-kill', 'leader cut off from its replicas, alone, killed: what lacks rows must not lead', async (scene) => {
    const mend = await cut(scene, pairs(scene, ['replicas']));
    await scene.alone(AFTER_LIMIT_MS);
    await scene.acknowledged(AFTER_LIMIT_MS);
    await scene.killAndAwaitName(AFTER_LIMIT_MS);
    await mend();
    scene.over();
    await start(scene.leader);
    await scene.acknowledged(AFTER_LIMIT_MS);
  }),
];
