/** The monitor's log on a small disk, and PostgreSQL's log of a node whose clients log a gigabyte. */
import { statSync } from 'node:fs';
import { buildImage, NodePair } from '../keeper/node-containers';
import { docker, dockerWithin } from '../rig/docker';
import { waitFor } from '../rig/wait';
import { putProgram } from './bundle';
import { heldBy, repeatedly } from './node-figures';
import type { Part, Report } from './report';

const BOX = 'endurance-logs';
const IMAGE = 'endurance-logs:test';
const DISK = 400 * 1024;
const TRIAL_LIMIT_MS = 300_000;
/** 99 % of the callers of the log wait no longer than this, ms. */
const WRITE_MAX_MS = 20;
/** One text of the log and their number: a gigabyte. */
const TEXT_CHARS = 8_000;
const TEXTS = 125_000;
const PIECES = 25;
const MB = 1024 * 1024;
/** The engine's files of a container's output, as components/container.ts sets them, MB. */
const OUTPUT_MB = 30;

interface Trial {
  rounds: { bytesMax: number; most: number; writeMs: number; longestMs: number; failed: number; newest: boolean }[];
  disturbances: Record<string, { failed: number; lost: string[]; lines: number }>;
}

/** Files that are kept, the copy that is being made and the lines of one write come to a size. */
const boundOf = (bytesMax: number): number => Math.min(DISK, 7 * (bytesMax + 2_000));

async function monitorsLog(report: Report): Promise<void> {
  await docker('rm', '-f', BOX).catch(() => undefined);
  await buildImage(IMAGE);
  try {
    const disk = `/log:size=${DISK},mode=1777`;
    await docker('run', '-d', '--name', BOX, '--init', '--tmpfs', disk, '--entrypoint', 'sleep', IMAGE, '600');
    await putProgram(BOX, 'log-trial');
    const text = await dockerWithin(TRIAL_LIMIT_MS, 'exec', BOX, 'node', '/tmp/log-trial.mjs', '/log', String(DISK));
    const { rounds, disturbances } = JSON.parse(text) as Trial;
    for (const { bytesMax, most, longestMs, failed, newest } of rounds) {
      report.bounded(`log rotated at ${bytesMax} bytes, all files, bytes`, '', most, boundOf(bytesMax));
      report.must(newest, `rotated at ${bytesMax} bytes: the newest line is lost`);
      report.must(failed <= 1, `rotated at ${bytesMax} bytes: told ${failed} times that it cannot write`);
      report.must(longestMs < WRITE_MAX_MS, `rotated at ${bytesMax} bytes: a caller waited ${longestMs} ms`);
    }
    report.bounded(
      'time that 1 % of the callers of the log exceed',
      'ms',
      Math.max(...rounds.map((r) => r.longestMs)),
      WRITE_MAX_MS,
    );
    for (const [name, { failed, lost, lines }] of Object.entries(disturbances)) {
      // Each rotation that fails gives lines up, so each is told.
      report.must(
        failed <= (name === 'folder unwritable' ? 3 : 1) && lost.length <= 1,
        `${name}: told ${failed} times, lost ${lost.join(', ')}`,
      );
      report.note(
        `${name}: ${lines} of 1,100 lines are in the files that are left; told ${failed} times that it cannot write${lost.map((words) => `, ${words}`).join('')}`,
      );
    }
  } finally {
    await docker('rm', '-f', BOX).catch(() => undefined);
    await docker('rmi', IMAGE).catch(() => undefined);
  }
}

async function nodesLog(report: Report): Promise<void> {
  const pair = new NodePair({ prefix: 'elg', subnet: '10.211.92', port: 17_492 });
  try {
    await pair.start();
    const pipes = () => docker('exec', pair.a, 'sh', '-c', 'du -sk /dev/shm/postgres-log | cut -f1');
    const [before, shmBefore] = [await heldBy(pair.a), Number(await pipes())];
    const path = await docker('inspect', '-f', '{{.LogPath}}', pair.a);
    const sizes = () =>
      ['', '.1', '.2', '.3'].reduce(
        (sum, end) => sum + (statSync(path + end, { throwIfNoEntry: false })?.size ?? 0),
        0,
      );
    let most = before.rssMb;
    const fromMs = performance.now();
    const looks = repeatedly(async () => {
      most = Math.max(most, (await heldBy(pair.a)).rssMb);
    });
    const loop = `DO $$ BEGIN FOR i IN 1..${TEXTS / PIECES} LOOP RAISE LOG '% %', i, repeat('x', ${TEXT_CHARS}); END LOOP; END $$`;
    try {
      for (let i = 0; i < PIECES; i++)
        await dockerWithin(300_000, 'exec', pair.a, 'psql', '-U', 'postgres', '-qc', loop);
    } finally {
      await looks.end();
    }
    const seconds = (performance.now() - fromMs) / 1_000;
    await waitFor('the keeper answers', 20_000, () => pair.monitor.view(pair.a).status?.done === true);
    const after = await heldBy(pair.a);
    report.note(
      `a client logged ${Math.round((TEXTS * TEXT_CHARS) / MB)} MB in ${seconds.toFixed(0)} s, as much as a node with 1 GB a day does in a day`,
    );
    report.constant('files of PostgreSQL’s log in the node (they are pipes)', 'kB', shmBefore, Number(await pipes()));
    report.constant('memory of the keeper', 'MB', before.rssMb, after.rssMb, { factor: 1.5, plus: 20 });
    report.bounded('memory of the keeper meanwhile', 'MB', most, before.rssMb * 2 + 60);
    report.bounded('the container’s output on the host', 'MB', Math.round(sizes() / MB), OUTPUT_MB + 2);
  } finally {
    await pair.remove();
  }
}

export const LOGS_PART: Part = {
  name: 'logs',
  title: 'failover.log at every size and on a disk that is full or taken away; a gigabyte of PostgreSQL’s log',
  run: async (report, say) => {
    await monitorsLog(report);
    say('a gigabyte of PostgreSQL’s log');
    await nodesLog(report);
  },
};
