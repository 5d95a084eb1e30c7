/**
 * The leader's disk freezes or is full. The node's volume is put on a file system of its own for that (a loop device).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { docker } from '../../rig/docker';
import { giveLead, host, start, stop } from '../lib/docker';
import { FOLDER } from '../lib/stack';
import type { Fault, Preparation } from '../lib/trial';

const TAKEOVER_LIMIT_MS = 120_000;
const FROZEN_MS = 4_000;
const ROOM_FROZEN_MB = 600;
const ROOM_FULL_MB = 150;

/** Where Docker keeps a node's volume on this machine. */
async function mountPoint(node: string): Promise<string> {
  return docker('volume', 'inspect', '--format', '{{.Mountpoint}}', `${node}-data`);
}

/** Moves the first standby's volume to a loop device with `roomMb` of room and makes that node the leader. */
async function onLoopDevice({ standby, undo }: Preparation, roomMb: number): Promise<void> {
  const folder = await mountPoint(standby);
  const [image, aside] = [`${FOLDER}/disk.img`, `${FOLDER}/disk`];
  undo(() => start(standby));
  await stop(standby);
  const usedMb = Math.ceil(Number((await host('du', '-s', '--block-size=1M', folder)).split('\t')[0]));
  await host('rm', '-f', image);
  await host('truncate', '-s', `${usedMb + roomMb}M`, image);
  await host('mkfs.ext4', '-q', '-m', '0', image);
  await host('mkdir', '-p', aside);
  const [owner = ''] = (await host('stat', '-c', '%u:%g %a', folder)).split(' ');
  await host('mount', '-o', 'loop', image, aside);
  await host('cp', '-a', `${folder}/.`, aside);
  await host('chown', owner, aside);
  await host('umount', aside);
  await host('mount', '-o', 'loop', image, folder);
  undo(async () => {
    await stop(standby);
    await host('umount', folder);
    await host('mount', '-o', 'loop', image, aside);
    await host('rm', '-f', `${aside}/filler`);
    await host('find', folder, '-mindepth', '1', '-delete');
    await host('cp', '-a', `${aside}/.`, folder);
    await host('umount', aside);
    await host('rm', '-f', image);
  });
  await start(standby);
  await giveLead(standby, TAKEOVER_LIMIT_MS);
}

export const DISK_FAULTS: readonly Fault[] = [
  {
    name: 'disk-frozen',
    about: "fsfreeze of the leader's disk: it answers and cannot commit (S27); thawed after another one serves",
    prepare: (preparation) => onLoopDevice(preparation, ROOM_FROZEN_MB),
    run: async (scene) => {
      const folder = await mountPoint(scene.leader);
      let frozen = true;
      const thaw = async () => {
        if (frozen) await host('fsfreeze', '-u', folder);
        frozen = false;
      };
      scene.afterwards(thaw);
      await host('fsfreeze', '-f', folder);
      await scene.acknowledged(TAKEOVER_LIMIT_MS);
      await sleep(FROZEN_MS);
      scene.over();
      await thaw();
    },
  },
  {
    name: 'disk-full',
    about: "the leader's disk has no byte left; another one serves; room is made again",
    prepare: (preparation) => onLoopDevice(preparation, ROOM_FULL_MB),
    run: async (scene) => {
      const filler = `${await mountPoint(scene.leader)}/filler`;
      const clear = async () => {
        await host('rm', '-f', filler);
      };
      scene.afterwards(clear);
      // Writes until there is no room, which is what `dd` ends with.
      await host('sh', '-c', `dd if=/dev/zero of='${filler}' bs=64k 2>/dev/null; sync -f '${filler}'; true`);
      await scene.log
        .line(/LEADER_\w+/, TAKEOVER_LIMIT_MS)
        .catch(() => scene.notes.push('the leader served on with a full disk'));
      await scene.acknowledged(TAKEOVER_LIMIT_MS);
      scene.over();
      await clear();
    },
  },
];
