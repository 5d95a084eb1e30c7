/** Faults of the nodes: killed, stopped, frozen, crashed inside. */
import { setTimeout as sleep } from 'node:timers/promises';
import { crashProcess, kill, pause, postmaster, processes, start, stop, unpause } from '../lib/docker';
import type { Scene } from '../lib/scene';
import { type Fault, fault, outage } from '../lib/trial';

const TAKEOVER_LIMIT_MS = 120_000;
/** Longer than the default `hangTimeout` (2 s) and everything that follows. */
const HANG_MS = 6_000;

/** Ends a postmaster's backend that serves a client. */
async function killBackend(node: string): Promise<void> {
  const serving = (await processes(node)).find((p) => /postgres: .* blink_user blink_db /.test(p.title));
  if (serving === undefined) throw new Error(`${node} serves no client`);
  process.kill(serving.pid, 'SIGKILL');
}

async function takenOver(scene: Scene): Promise<void> {
  await scene.acknowledged(TAKEOVER_LIMIT_MS);
}

export const NODE_FAULTS: readonly Fault[] = [
  outage(
    'kill',
    'docker kill of the leader; started again when another one serves',
    (s) => kill(s.leader),
    (s) => start(s.leader),
  ),
  outage(
    'stop',
    'docker stop of the leader, which hands over first; started again',
    (s) => stop(s.leader),
    (s) => start(s.leader),
  ),
  fault('pause', 'the leader is frozen, another one takes over, the old one wakes', async (scene) => {
    await pause(scene.leader);
    await scene.promoted(scene.standbys, TAKEOVER_LIMIT_MS);
    await takenOver(scene);
    await sleep(HANG_MS / 3);
    scene.over();
    await unpause(scene.leader);
  }),
  outage(
    'crash-backend',
    'kill -9 of one backend of the leader: PostgreSQL ends itself and must not come back as primary (S8)',
    (scene) => killBackend(scene.leader),
  ),
  outage('crash-postmaster', "kill -9 of the leader's postmaster inside its living container", (scene) =>
    crashProcess(postmaster(scene.leader)),
  ),
  fault(
    'sigstop-postmaster',
    'SIGSTOP of the postmaster alone: old sessions work, new ones hang (S27)',
    async (scene) => {
      const pid = await postmaster(scene.leader);
      scene.afterwards(async () => {
        resume(pid);
      });
      process.kill(pid, 'SIGSTOP');
      await scene.acknowledged(TAKEOVER_LIMIT_MS, ['fresh']);
      await sleep(HANG_MS / 3);
      scene.over();
      resume(pid);
    },
  ),
  outage(
    'replica-kill',
    'docker kill of the replica; the leader goes on alone; started again',
    (s) => kill(s.standby),
    (s) => start(s.standby),
  ),
  fault('replica-pause', 'the replica is frozen and wakes', async (scene) => {
    await pause(scene.standby);
    await takenOver(scene);
    await sleep(HANG_MS);
    scene.over();
    await unpause(scene.standby);
  }),
  fault('replica-flaps', 'the replica is killed and started three times; in between the leader is killed', flapping),
  fault(
    'two-failures',
    'the leader is killed, and the new one as soon as the old one is a counted standby again',
    async (scene) => {
      await kill(scene.leader);
      await takenOver(scene);
      const term = (await scene.view()).term;
      await start(scene.leader);
      await scene.counted(scene.leader, TAKEOVER_LIMIT_MS);
      const second = (await scene.view()).leader ?? '';
      scene.expect(second !== scene.leader, `${scene.leader} led at once without a fault (term ${term})`);
      await kill(second);
      await takenOver(scene);
      scene.over();
      await start(second);
    },
  ),
  fault(
    'two-at-once',
    'the leader is killed, and the candidate while it is being promoted; both are started again',
    async (scene) => {
      await kill(scene.leader);
      await kill(scene.standby);
      await sleep(1_000);
      scene.over();
      await start(scene.standby, scene.leader);
    },
  ),
];

function resume(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT');
  } catch {
    // It has ended: the keeper killed what hung.
  }
}

/** The kill of the leader falls at a different point of the replica's return each time. */
async function flapping(scene: Scene): Promise<void> {
  const { leader, standby } = scene;
  for (const restMs of [300, 900]) {
    await kill(standby);
    await sleep(restMs);
    await start(standby);
    await sleep(restMs);
  }
  await kill(standby);
  await scene.acknowledged(TAKEOVER_LIMIT_MS);
  await start(standby);
  const restMs = Math.floor(Math.random() * 4_000);
  await sleep(restMs);
  // From before the kill on: the node is named sooner than `docker kill` returns.
  const named = namedInWait(scene, leader);
  named.catch(() => undefined);
  await kill(leader);
  scene.note(`leader killed ${restMs} ms after the replica was started`);
  // Whoever has all rows takes over; where nobody else has, writes wait and the right node is named.
  await Promise.race([scene.acknowledged(10_000), named]);
  scene.over();
  await start(leader);
}

/** Resolves when the monitor says that writes wait for this very node. */
async function namedInWait(scene: Scene, node: string): Promise<void> {
  await scene.logged(new RegExp(`NO_CANDIDATE.*writes wait.*${node}`), 10_000);
  scene.note(`writes waited until ${node} was started again`);
}
