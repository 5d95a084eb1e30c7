/** Too many connections, and a clock that jumps. */
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { docker, dockerWithin } from '../../rig/docker';
import { Program, script } from '../../rig/program';
import { view } from '../../rig/view';
import { within } from '../../rig/wait';
import { giveLead, kill, local, mainPid, restart, start } from '../lib/docker';
import type { Scene } from '../lib/scene';
import { addressOf, FOLDER, HAPROXY, STACK } from '../lib/stack';
import { type Fault, fault, type Preparation } from '../lib/trial';

const HELD_MS = 8_000;
const LIMIT_MS = 120_000;
/** More than `max_connections` (200) leaves to ordinary roles. */
const CONNECTIONS = 200;
const HOUR_SECONDS = 3_600;

/**
 * Takes every connection that ordinary roles can have, from HAProxy's own address and past its limits. Resolves with
 * how to let go when no more are given.
 */
async function exhaust(node: string): Promise<() => Promise<void>> {
  const args = ['-t', String(await mainPid(HAPROXY)), '-n'];
  const [command, own] = script('test/chaos/actors/exhaust.ts', [addressOf(node), String(CONNECTIONS)]);
  const program = new Program('nsenter', [...args, command, ...own]);
  await within('all connections to be taken', LIMIT_MS, program.firstLine).catch(async (error) => {
    await program.stop();
    throw error;
  });
  return () => program.stop();
}

async function exhausted(scene: Scene): Promise<() => Promise<void>> {
  const release = await exhaust(scene.leader);
  scene.afterwards(release);
  const clients = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
  const [count = ''] = await local(scene.leader, clients);
  scene.notes.push(`${count} connections on ${scene.leader}`);
  return release;
}

/**
 * Puts libfaketime before PostgreSQL on the first standby, whose offset is then read from a file, and makes it the
 * leader.
 */
async function withMovableClock({ standby, undo }: Preparation): Promise<void> {
  const helper = `${STACK.prefix}faketime`;
  const library = `${FOLDER}/libfaketime.so.1`;
  const install =
    'apt-get update -q && apt-get install -yq --no-install-recommends libfaketime && cp /usr/lib/*/faketime/libfaketime.so.1 /tmp';
  await docker('rm', '-f', helper).catch(() => undefined);
  await dockerWithin(4 * LIMIT_MS, 'run', '--name', helper, 'debian:trixie-slim', 'sh', '-c', install);
  await docker('cp', `${helper}:/tmp/libfaketime.so.1`, library);
  await docker('rm', '-f', helper);
  const bin = '/usr/lib/postgresql/17/bin';
  const wrapper = [
    '#!/bin/bash',
    'export LD_PRELOAD=/usr/local/lib/libfaketime.so.1 FAKETIME_TIMESTAMP_FILE=/usr/local/lib/offset',
    'export FAKETIME_CACHE_DURATION=1 FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_RESET=1',
    `exec -a "$0" ${bin}/postgres.real "$@"`,
  ];
  writeFileSync(`${FOLDER}/postgres-wrapper`, `${wrapper.join('\n')}\n`, { mode: 0o755 });
  await docker('cp', library, `${standby}:/usr/local/lib/libfaketime.so.1`);
  await moveClock(standby, 0);
  await docker('exec', '-u', '0', standby, 'sh', '-c', `cp -n ${bin}/postgres ${bin}/postgres.real`);
  await docker('cp', `${FOLDER}/postgres-wrapper`, `${standby}:${bin}/postgres.new`);
  await docker('exec', '-u', '0', standby, 'mv', '-f', `${bin}/postgres.new`, `${bin}/postgres`);
  undo(async () => {
    await docker('exec', '-u', '0', standby, 'mv', '-f', `${bin}/postgres.real`, `${bin}/postgres`);
    await restart(standby);
  });
  await restart(standby);
  await giveLead(standby, LIMIT_MS);
}

async function moveClock(node: string, seconds: number): Promise<void> {
  const file = `${FOLDER}/offset`;
  writeFileSync(file, `${seconds < 0 ? '' : '+'}${seconds}\n`, { mode: 0o644 });
  await docker('cp', file, `${node}:/usr/local/lib/offset`);
}

async function clockAheadSeconds(node: string): Promise<number> {
  const [told = '0'] = await local(node, 'SELECT extract(epoch from clock_timestamp())::bigint');
  return Math.round(Number(told) - Date.now() / 1000);
}

export const LOAD_FAULTS: readonly Fault[] = [
  fault(
    'connections-exhausted',
    'all connections are taken for 8 s: no failover, held clients go on',
    async (scene) => {
      const release = await exhausted(scene);
      await scene.acknowledged(LIMIT_MS, ['held']);
      await sleep(HELD_MS);
      scene.over();
      await release();
      await scene.acknowledged(LIMIT_MS);
      scene.expect((await view(STACK)).leader === scene.leader, 'the lead moved although the leader could write');
    },
  ),
  fault('connections-exhausted-kill', 'the leader is killed while every connection is taken', async (scene) => {
    await exhausted(scene);
    await kill(scene.leader);
    await scene.acknowledged(LIMIT_MS);
    scene.over();
    await start(scene.leader);
  }),
  {
    name: 'clock-jumps',
    about: "the clock of the leader's PostgreSQL jumps an hour ahead and back (libfaketime)",
    prepare: withMovableClock,
    run: async (scene) => {
      for (const seconds of [HOUR_SECONDS, 0, -HOUR_SECONDS, 0]) {
        await moveClock(scene.leader, seconds);
        await sleep(HELD_MS / 2);
        const ahead = await clockAheadSeconds(scene.leader);
        const words = `the clock of ${scene.leader} is ${ahead} s ahead, not ${seconds} s`;
        scene.expect(Math.abs(ahead - seconds) < 60, words);
        await scene.acknowledged(LIMIT_MS);
      }
      scene.over();
    },
  },
];
