/**
 * What people do to containers by hand: signals, restarts in any order, networks that are taken away and given back.
 */
import { z } from 'zod';
import { docker } from '../../rig/docker';
import { view } from '../../rig/view';
import { host, restart } from '../lib/docker';
import type { Scene } from '../lib/scene';
import { HAPROXY, MONITOR, own, STACK } from '../lib/stack';
import { crash, type Fault, fault } from '../lib/trial';

const TAKEOVER_LIMIT_MS = 120_000;
const INNER = own.container('postgres-failover-inner');
const FRONT = own.container('postgres-failover-front');
/** These mean "look at your files again", or nothing at all. */
const HARMLESS = ['HUP', 'USR1', 'USR2', 'WINCH'];
/** A program ends on these, and Docker starts its container again. */
const ENDING = ['INT', 'QUIT'];

type Who = 'leader' | 'standby' | 'haproxy' | 'monitor';
const WHO: readonly Who[] = ['leader', 'standby', 'haproxy', 'monitor'];

function nameOf(scene: Scene, who: Who): string {
  return { leader: scene.leader, standby: scene.standby, haproxy: HAPROXY, monitor: MONITOR }[who];
}

async function send(name: string, signals: readonly string[]): Promise<void> {
  for (const signal of signals) await docker('kill', '--signal', signal, name);
}

const startedAt = (name: string) => docker('inspect', '--format', '{{.State.StartedAt}}', name);

/** Taken from the network, then connected again as doctor advises. */
function disconnected(who: Who, about: string, meanwhile: (scene: Scene) => Promise<void>): Fault {
  return fault(
    `disconnect-${who}`,
    `docker network disconnect of the ${who}: ${about}; doctor’s command mends it`,
    async (scene) => {
      const name = nameOf(scene, who);
      const network = who === 'haproxy' ? FRONT : INNER;
      await docker('network', 'disconnect', INNER, name);
      if (network !== INNER) await docker('network', 'disconnect', network, name);
      await meanwhile(scene);
      await asDoctorSays(scene, name, 'NETWORK_CUT', network === INNER ? 1 : 2);
      scene.over();
      await scene.acknowledged(TAKEOVER_LIMIT_MS);
    },
  );
}

/** Comes back to its network with an address that the engine chose. */
function moved(who: Who): Fault {
  return fault(
    `address-${who}`,
    `the ${who} comes back to its network with another address; doctor’s command mends it`,
    async (scene) => {
      const name = nameOf(scene, who);
      await docker('network', 'disconnect', INNER, name);
      await docker('network', 'connect', INNER, name);
      await asDoctorSays(scene, name, 'NETWORK_WRONG', 1);
      scene.over();
      await scene.acknowledged(TAKEOVER_LIMIT_MS);
    },
  );
}

const Answer = z.object({ findings: z.array(z.object({ code: z.string(), about: z.string(), next: z.string() })) });

/** Doctor names the container with this code so many times, and its commands are carried out as they stand there. */
async function asDoctorSays(scene: Scene, name: string, code: string, times: number): Promise<void> {
  const ask = `node scripts/start.mjs failover doctor --json --stack ${STACK.name} || true`;
  const { findings } = Answer.parse(JSON.parse(await host('sh', '-c', `cd '${process.cwd()}' && ${ask}`)));
  const found = findings.filter((one) => one.code === code && one.about === name);
  const said = JSON.stringify(findings.map((one) => [one.code, one.about, one.next]));
  scene.expect(found.length === times, `doctor does not name ${name} with ${code}: ${said}`);
  for (const { next } of found) await host('sh', '-c', next);
}

export const HAND_FAULTS: readonly Fault[] = [
  fault(
    'signals',
    `${HARMLESS.join(', ')} to nodes and monitor, USR2 and WINCH to HAProxy: nothing ends`,
    async (scene) => {
      const names = [...scene.nodes, HAPROXY, MONITOR];
      const before = await Promise.all(names.map(startedAt));
      for (const name of names) await send(name, name === HAPROXY ? ['USR2', 'WINCH'] : HARMLESS);
      scene.over();
      await scene.acknowledged(TAKEOVER_LIMIT_MS);
      const after = await Promise.all(names.map(startedAt));
      scene.expect(after.join() === before.join(), 'a container was started again');
      scene.expect((await view(STACK)).leader === scene.leader, 'the lead moved');
    },
  ),
  ...WHO.flatMap((who) =>
    ENDING.map((signal) =>
      crash(`signal-${who}-${signal.toLowerCase()}`, `${signal} to the ${who}: Docker starts it again`, (scene) =>
        send(nameOf(scene, who), [signal]),
      ),
    ),
  ),
  crash('signal-haproxy-hup', 'HUP to HAProxy, which ends it: Docker starts it again', () => send(HAPROXY, ['HUP'])),
  ...WHO.flatMap((first) =>
    WHO.filter((second) => second !== first).map((second) =>
      crash(
        `restart-${first}-${second}`,
        `docker restart of the ${first}, then at once of the ${second}`,
        async (scene) => {
          await restart(nameOf(scene, first));
          await restart(nameOf(scene, second));
        },
      ),
    ),
  ),
  disconnected('leader', 'another one leads', (scene) => scene.acknowledged(TAKEOVER_LIMIT_MS)),
  disconnected('standby', 'the leader goes on alone', (scene) => scene.acknowledged(TAKEOVER_LIMIT_MS)),
  disconnected('haproxy', 'no client gets in', async () => undefined),
  disconnected('monitor', 'the leader serves on', (scene) => scene.acknowledged(TAKEOVER_LIMIT_MS)),
  ...WHO.map(moved),
];
