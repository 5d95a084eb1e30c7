/**
 * The shipped log on a small disk of its own, inside a container: written at every size of rotation, on a full disk,
 * and while its files are removed, renamed and made unwritable. Prints one line of JSON.
 *
 *     node log-trial.mjs <folder on the small disk> <size of that disk, bytes>
 */
import { chmod, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FileLog } from '../../failover/monitor/log';
import { medianOf } from './figures';

const [FOLDER = '', DISK = 0] = [process.argv[2], Number(process.argv[3])];
const KEEP = 5;
const LINES = 4_000;
/** From one line to so many that the disk cannot hold the rotated files. */
const SIZES = [1, 200, 1_000, 5_000, 20_000, 50_000, 100_000, 200_000];

async function sizeOf(folder: string): Promise<number> {
  const sizes = await Promise.all((await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size));
  return sizes.reduce((a, b) => a + b, 0);
}

interface Round {
  bytesMax: number;
  /** Largest size of all files together, bytes. */
  most: number;
  /** Time that a caller waits for `write`: the median, and the time that 1 % of the calls exceed, ms. */
  writeMs: number;
  longestMs: number;
  /** Lines that say that the file cannot be written. */
  failed: number;
  newest: boolean;
}

async function round(bytesMax: number): Promise<Round> {
  const folder = join(FOLDER, `size-${bytesMax}`);
  await mkdir(folder);
  const out: string[] = [];
  const file = join(folder, 'failover.log');
  const log = new FileLog(file, bytesMax, KEEP, (line) => out.push(line));
  const times: number[] = [];
  let most = 0;
  for (let i = 0; i < LINES; i++) {
    const fromMs = performance.now();
    log.write('INFO', 'node', 'CONNECTED', `line ${i} ${'x'.repeat((i * 37) % 150)}`);
    times.push(performance.now() - fromMs);
    if (i % 5 === 0) await log.flush();
    if (i % 100 === 0) most = Math.max(most, await sizeOf(folder));
  }
  await log.flush();
  log.write('INFO', 'node', 'STOPPED', 'the newest line');
  await log.flush();
  const texts = async () => {
    const all = await Promise.all([file, `${file}.1`].map((name) => readFile(name, 'utf8').catch(() => '')));
    return all.join('');
  };
  let newest = (await texts()).includes('the newest line');
  if (!newest) {
    // The rotated files fill the disk. The newest lines wait until a person makes room.
    for (let i = 1; i <= KEEP; i++) await rm(`${file}.${i}`, { force: true });
    log.write('INFO', 'node', 'STARTED', 'there is room again');
    await log.flush();
    newest = (await texts()).includes('the newest line');
  }
  await rm(folder, { recursive: true });
  const failed = out.filter((line) => line.includes('LOG_FAILED')).length;
  return {
    ...{ bytesMax, most, writeMs: medianOf(times), failed, newest },
    longestMs: times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? 0,
  };
}

/** What is done to the files of a log that is being written; how many lines it wrote each, and what it told. */
async function disturbances(): Promise<Record<string, { failed: number; lost: string[]; lines: number }>> {
  const results: Record<string, { failed: number; lost: string[]; lines: number }> = {};
  const trial = async (name: string, disturb: (folder: string) => Promise<(() => Promise<unknown>) | undefined>) => {
    const folder = join(FOLDER, name);
    await mkdir(folder);
    const out: string[] = [];
    const file = join(folder, 'failover.log');
    const log = new FileLog(file, 20_000, KEEP, (line) => out.push(line));
    const some = async (from: number, count: number) => {
      for (let i = from; i < from + count; i++) {
        log.write('INFO', 'node', 'CONNECTED', `line ${i}.`);
        if (i % 10 === 0) await log.flush();
      }
      await log.flush();
    };
    await some(0, 500);
    const undo = await disturb(folder);
    await some(500, 500);
    await undo?.();
    await some(1_000, 100);
    const names = (await readdir(folder)).filter((one) => one.startsWith('failover.log'));
    const texts = await Promise.all(names.map((one) => readFile(join(folder, one), 'utf8').catch(() => '')));
    const told = [...out, ...texts.join('').split('\n')];
    results[name] = {
      failed: out.filter((line) => line.includes('LOG_FAILED')).length,
      lost: told.filter((line) => line.includes('LOG_DROPPED')).map((line) => line.replace(/.*LOG_DROPPED +/, '')),
      lines: new Set(texts.join('').match(/line (?:\d+)\./g)).size,
    };
    await chmod(folder, 0o755);
    await rm(folder, { recursive: true });
  };
  await trial('full', async (folder) => {
    const filler = join(FOLDER, 'filler');
    await writeFile(filler, Buffer.alloc(DISK)).catch(() => undefined);
    // Rotated files would give room again.
    for (const name of await readdir(folder)) if (/\.\d$/.test(name)) await rm(join(folder, name));
    await writeFile(`${filler}-2`, Buffer.alloc(DISK)).catch(() => undefined);
    return async () => {
      await rm(filler);
      await rm(`${filler}-2`);
    };
  });
  await trial('file removed', (folder) => rm(join(folder, 'failover.log')).then(() => undefined));
  await trial('file renamed', (folder) =>
    rename(join(folder, 'failover.log'), join(folder, 'old')).then(() => undefined),
  );
  await trial('folder removed', async (folder) => {
    await rm(folder, { recursive: true });
    return () => mkdir(folder);
  });
  await trial('rotated files removed', async (folder) => {
    for (const name of await readdir(folder)) if (/\.\d$/.test(name)) await rm(join(folder, name));
    return undefined;
  });
  await trial('folder unwritable', async (folder) => {
    await chmod(folder, 0o555);
    return () => chmod(folder, 0o755);
  });
  await trial('file unwritable', async (folder) => {
    await chmod(join(folder, 'failover.log'), 0o444);
    return () => chmod(join(folder, 'failover.log'), 0o644);
  });
  return results;
}

async function main(): Promise<void> {
  const rounds: Round[] = [];
  for (const size of SIZES) rounds.push(await round(size));
  process.stdout.write(`${JSON.stringify({ rounds, disturbances: await disturbances() })}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${String(error)}\n`);
  process.exit(1);
});
