/** The monitor is killed in the middle of a failover, at each of its steps, and frozen. */
import { setTimeout as sleep } from 'node:timers/promises';
import { view } from '../../rig/view';
import { kill, mainPid, pause, start, unpause } from '../lib/docker';
import type { Scene } from '../lib/scene';
import { MONITOR, STACK } from '../lib/stack';
import { type Fault, fault } from '../lib/trial';

const STEP_LIMIT_MS = 60_000;
const TAKEOVER_LIMIT_MS = 120_000;
const FROZEN_MS = 30_000;

/** Codes that the monitor logs once it has stored that it will promote somebody. */
const RECORDED = /LEADER_DEAD|LEADER_DOWN|ELECTED/;

/** Kills the leader and, at the given step of the failover, the monitor, which Docker starts again after its crash. */
function atStep(step: string, about: string, wait: (scene: Scene) => Promise<void>): Fault {
  return fault(`monitor-${step}`, `leader killed; the monitor crashes ${about}; Docker restarts it`, async (scene) => {
    // By process id, because `docker kill` takes longer than the step that is to be met.
    const monitor = await mainPid(MONITOR);
    const reached = wait(scene);
    await Promise.all([kill(scene.leader), reached.then(() => process.kill(monitor, 'SIGKILL'))]);
    scene.notes.push(`last line before the crash: ${scene.log.text().trimEnd().split('\n').at(-1) ?? 'none'}`);
    await scene.acknowledged(TAKEOVER_LIMIT_MS);
    scene.over();
    await start(scene.leader);
  });
}

export const MONITOR_FAULTS: readonly Fault[] = [
  fault('monitor-before-record', 'leader and monitor crash at the same moment; Docker restarts both', async (scene) => {
    const [monitor, leader] = [await mainPid(MONITOR), await mainPid(scene.leader)];
    process.kill(monitor, 'SIGKILL');
    process.kill(leader, 'SIGKILL');
    await scene.acknowledged(TAKEOVER_LIMIT_MS);
    scene.over();
  }),
  atStep('recorded', 'right after it has stored the new term', async (scene) => {
    await scene.log.line(RECORDED, STEP_LIMIT_MS);
  }),
  atStep('closed', 'right after the slot was closed', (scene) => scene.closed(STEP_LIMIT_MS)),
  atStep('promoted', 'right after the candidate is out of recovery', (scene) =>
    scene.promoted(scene.standbys, STEP_LIMIT_MS),
  ),
  atStep('opened', 'right after the slot was opened', (scene) => scene.opened(scene.standbys, STEP_LIMIT_MS)),
  fault('monitor-off', 'the monitor is off, the leader is killed, the monitor is started 3 s later', async (scene) => {
    await kill(MONITOR);
    await kill(scene.leader);
    await sleep(3_000);
    await start(MONITOR);
    await scene.acknowledged(TAKEOVER_LIMIT_MS);
    scene.over();
    await start(scene.leader);
  }),
  fault('monitor-pause', 'the monitor is frozen for 30 s: nothing fails over, nobody notices', async (scene) => {
    await pause(MONITOR);
    await sleep(FROZEN_MS);
    scene.over();
    await unpause(MONITOR);
    await sleep(1_000);
    scene.expect((await view(STACK)).leader === scene.leader, 'the lead moved although nothing was wrong with it');
  }),
  fault('monitor-pause-kill', 'leader killed while the monitor is frozen, which wakes 3 s later', async (scene) => {
    await pause(MONITOR);
    await kill(scene.leader);
    await sleep(3_000);
    await unpause(MONITOR);
    await scene.acknowledged(TAKEOVER_LIMIT_MS);
    scene.over();
    await start(scene.leader);
  }),
];
