/** All nodes at once, HAProxy, and what a person does by hand ("manual restore") in several orders. */
import { setTimeout as sleep } from 'node:timers/promises';
import { docker } from '../../rig/docker';
import { untilView } from '../../rig/view';
import { crashProcess, kill, mainPid, pause, restart, start, stop, unpause } from '../lib/docker';
import { type Scene, untilNamed } from '../lib/scene';
import { HAPROXY, STACK } from '../lib/stack';
import { crash, type Fault, fault, outage } from '../lib/trial';

const TAKEOVER_LIMIT_MS = 120_000;
const HAPROXY_FROZEN_MS = 5_000;

const leaderFirst = ({ leader, standbys }: Scene) => [leader, ...standbys];
const leaderLast = (scene: Scene) => leaderFirst(scene).reverse();

/** All nodes are killed and started one after the other, `restMs` apart. */
function killAll(name: string, about: string, restMs: number, order: (scene: Scene) => readonly string[]): Fault {
  return crash(name, about, async (scene) => {
    await kill(...scene.nodes);
    for (const node of order(scene)) {
      await start(node);
      await sleep(restMs);
    }
  });
}

/** Steps of the "manual restore": the old primary is off, the replica leads alone. */
type Step = 'stop the new leader' | 'start the old leader' | 'restart HAProxy';

function manual(name: string, steps: readonly Step[]): Fault {
  return fault(
    `manual-${name}`,
    `old leader off, new one leads alone; then: ${steps.join(', ')}; what is newest is off until it is named`,
    async (scene) => {
      const old = scene.leader;
      await kill(old);
      // An acknowledgement alone may still be the old leader's.
      const next = await untilView(STACK, 'another leader', TAKEOVER_LIMIT_MS, (v) => v.serving && v.leader !== old);
      const now = next.leader ?? '';
      // Rows that only the new leader has.
      await scene.alone(TAKEOVER_LIMIT_MS);
      await scene.acknowledged(TAKEOVER_LIMIT_MS);
      for (const step of steps) {
        if (step === 'stop the new leader') await stop(now);
        else if (step === 'start the old leader') await start(old);
        else await restart(HAPROXY);
      }
      await restored(scene, steps, now);
    },
  );
}

/** Where the newest node is off, writes wait and it is named; once it runs, all is well. */
async function restored(scene: Scene, steps: readonly Step[], newest: string): Promise<void> {
  const backFirst = steps.indexOf('start the old leader') < steps.indexOf('stop the new leader');
  if (backFirst) {
    // The old leader may have caught up before the other was stopped: then it leads, and nothing is missing.
    await Promise.race([scene.acknowledged(TAKEOVER_LIMIT_MS), untilNamed(newest, TAKEOVER_LIMIT_MS)]);
  } else {
    await untilNamed(newest, TAKEOVER_LIMIT_MS);
    const says = new RegExp(`writes wait.*start ${newest}|start ${newest}.*writes wait`);
    scene.expect(says.test(scene.log.text()), `the log does not name ${newest} as the node to start`);
  }
  scene.over();
  await start(newest);
  await scene.acknowledged(TAKEOVER_LIMIT_MS);
}

export const RESTART_FAULTS: readonly Fault[] = [
  crash('restart-all', 'docker restart of all nodes at once', (scene) => restart(...scene.nodes)),
  crash('crash-all', 'all nodes, HAProxy and the monitor crash at once; Docker restarts them', async (scene) => {
    const names = [...scene.nodes, HAPROXY, `${STACK.prefix}failover-monitor`];
    const pids = await Promise.all(names.map(mainPid));
    for (const pid of pids) process.kill(pid, 'SIGKILL');
  }),
  crash('restart-each', 'docker restart of one node after the other, without a wait in between', async (scene) => {
    for (const node of leaderFirst(scene)) await restart(node);
  }),
  killAll('kill-all-leader-first', 'all nodes killed, the leader is started first', 3_000, leaderFirst),
  killAll('kill-all-leader-last', 'all nodes killed, the leader is started last', 3_000, leaderLast),
  killAll('kill-all-leader-late', 'all nodes killed, the leader is started after startGrace', 12_000, leaderLast),
  manual('stop-start-haproxy', ['stop the new leader', 'start the old leader', 'restart HAProxy']),
  manual('start-stop-haproxy', ['start the old leader', 'stop the new leader', 'restart HAProxy']),
  manual('haproxy-stop-start', ['restart HAProxy', 'stop the new leader', 'start the old leader']),
  manual('stop-haproxy-start', ['stop the new leader', 'restart HAProxy', 'start the old leader']),
  crash('haproxy-crash', "HAProxy's processes crash; the container's first process starts them again", () =>
    docker('exec', HAPROXY, 'sh', '-c', 'kill -KILL $(pidof haproxy)'),
  ),
  crash('haproxy-kill', 'the container of HAProxy dies; Docker restarts it', () => crashProcess(mainPid(HAPROXY))),
  fault('haproxy-pause', 'HAProxy is frozen for 5 s', async (scene) => {
    await pause(HAPROXY);
    await sleep(HAPROXY_FROZEN_MS);
    scene.over();
    await unpause(HAPROXY);
    await scene.acknowledged(TAKEOVER_LIMIT_MS);
  }),
  outage(
    'haproxy-pause-kill',
    'leader killed while HAProxy is frozen, which wakes after the promotion',
    async (scene) => {
      await pause(HAPROXY);
      // Listened for from before: it may be over when `docker kill` returns.
      await Promise.all([scene.promoted(scene.standbys, TAKEOVER_LIMIT_MS), kill(scene.leader)]);
      await sleep(1_000);
      await unpause(HAPROXY);
    },
    (scene) => start(scene.leader),
  ),
];
