/** Faults of the nodes: killed, stopped, frozen, crashed inside. */
import { setTimeout as sleep } from 'node:timers/promises';
import { view } from '../../rig/view';
import { crashProcess, kill, pause, postmaster, processes, start, stop, unpause } from '../lib/docker';
import type { Scene } from '../lib/scene';
import { STACK } from '../lib/stack';
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

/** A node is ended, and started when clients write again. */
function stopped(name: string, about: string, end: typeof kill, who: 'leader' | 'standby'): Fault {
  return outage(
    name,
    about,
    (scene) => end(scene[who]),
    (scene) => start(scene[who]),
  );
}

export const NODE_FAULTS: readonly Fault[] = [
  stopped('kill', 'docker kill of the leader; started again when another one serves', kill, 'leader'),
  stopped('stop', 'docker stop of the leader, which hands over first; started again', stop, 'leader'),
  fault('pause', 'the leader is frozen, another one takes over, the old one wakes', async (scene) => {
    await pause(scene.leader);
    await scene.promoted(scene.standbys, TAKEOVER_LIMIT_MS);
    await scene.acknowledged(TAKEOVER_LIMIT_MS);
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
  fault('sigstop-postmaster', 'SIGSTOP of the postmaster: old sessions work, new ones hang (S27)', async (scene) => {
    const pid = await postmaster(scene.leader);
    scene.afterwards(async () => resume(pid));
    process.kill(pid, 'SIGSTOP');
    await scene.acknowledged(TAKEOVER_LIMIT_MS, ['fresh']);
    await sleep(HANG_MS / 3);
    scene.over();
    resume(pid);
  }),
  stopped('replica-kill', 'docker kill of the replica; the leader goes on alone; started again', kill, 'standby'),
  fault('replica-pause', 'the replica is frozen and wakes', async (scene) => {
    await pause(scene.standby);
    await scene.acknowledged(TAKEOVER_LIMIT_MS);
    await sleep(HANG_MS);
    scene.over();
    await unpause(scene.standby);
  }),
  fault('replica-flaps', 'the replica is killed and started three times; in between the leader is killed', flapping),
  fault('two-failures', 'leader killed; the new one killed once the old one is counted again', async (scene) => {
    await kill(scene.leader);
    await scene.acknowledged(TAKEOVER_LIMIT_MS);
    const term = (await view(STACK)).term;
    await start(scene.leader);
    await scene.counted(scene.leader, TAKEOVER_LIMIT_MS);
    const second = (await view(STACK)).leader ?? '';
    scene.expect(second !== scene.leader, `${scene.leader} led at once without a fault (term ${term})`);
    await kill(second);
    await scene.acknowledged(TAKEOVER_LIMIT_MS);
    scene.over();
    await start(second);
  }),
  fault('two-at-once', 'leader killed, the candidate killed during its promotion; both start again', async (scene) => {
    await kill(scene.leader);
    await kill(scene.standby);
    await sleep(1_000);
    scene.over();
    await start(scene.standby, scene.leader);
  }),
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
  const named = scene.log.line(new RegExp(`NO_CANDIDATE.*writes wait.*${leader}`), 10_000);
  const noted = named.then(() => scene.notes.push(`writes waited until ${leader} was started again`));
  noted.catch(() => undefined);
  await kill(leader);
  scene.notes.push(`leader killed ${restMs} ms after the replica was started`);
  // Whoever has all rows takes over; where nobody else has, writes wait and the right node is named.
  await Promise.race([scene.acknowledged(10_000), noted]);
  scene.over();
  await start(leader);
}
