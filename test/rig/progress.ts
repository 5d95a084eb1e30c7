/** Programs that test real stacks for hours: what is done is kept, so that an interrupted run goes on where it was. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { messageOf } from '../../failover/contract/errors';
import { runOk } from '../../scripts/lib/exec';
import { PATHS } from '../../scripts/lib/paths';

const GIT_LIMIT_MS = 30_000;
/** What a result says something about. A fault that is added later leaves the results of the others valid. */
export const PRODUCT = [
  ...['backend/app', 'components', 'failover', 'images', 'templates'],
  ...['index.ts', 'package-lock.json'],
];

/** The commit that last changed what is tested, and `+` with a hash of what is not committed. */
export async function testedTree(paths: readonly string[] = PRODUCT): Promise<string> {
  const git = async (...args: string[]) =>
    (await runOk('git', [...args, '--', ...paths], { cwd: PATHS.root, deadlineMs: GIT_LIMIT_MS })).stdout;
  const commit = (await git('log', '-1', '--format=%h')).trim();
  const changes = await git('diff', 'HEAD');
  const untracked = (await git('ls-files', '--others', '--exclude-standard', '-z')).split('\0').filter((f) => f !== '');
  if (changes === '' && untracked.length === 0) return commit;
  const hash = createHash('sha256').update(changes);
  for (const name of untracked) hash.update(name).update(readFileSync(join(PATHS.root, name)));
  return `${commit}+${hash.digest('hex').slice(0, 6)}`;
}

/** Results of one tree, in a file. */
export class Progress<T> {
  readonly results: T[];

  /** Results of another tree are forgotten, and all of them with `fresh`. */
  constructor(
    private readonly path: string,
    private readonly tree: string,
    result: z.ZodType<T>,
    fresh: boolean,
  ) {
    const before = existsSync(path) && !fresh ? JSON.parse(readFileSync(path, 'utf8')) : null;
    const kept = z.object({ tree: z.literal(tree), results: z.array(result) }).safeParse(before);
    this.results = kept.success ? kept.data.results : [];
  }

  add(result: T): void {
    this.results.push(result);
    mkdirSync(dirname(this.path), { recursive: true });
    writeFileSync(this.path, JSON.stringify({ tree: this.tree, results: this.results }, null, 1));
  }
}

/** Writes a page of results and returns its path. */
export function writeResults(name: string, text: string): string {
  const folder = join(PATHS.root, 'docs', 'results');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), text);
  return join('docs', 'results', name);
}

/** Load average of the machine over a minute, with one decimal: figures of a busy machine are not the product's. */
export const loadAverage = (): number => Math.round((loadavg()[0] ?? 0) * 10) / 10;

/** Day of today, for names and pages of results. */
export const today = (): string => new Date().toISOString().slice(0, 10);

/** Runs a program to its end. Its exit code is what it gives, 1 where it failed or says that something is wrong. */
export function runProgram(main: () => Promise<number | boolean>): void {
  const end = (code: number) => process.stdout.write('', () => process.exit(code));
  main().then(
    (ended) => end(typeof ended === 'number' ? ended : Number(!ended)),
    (error: unknown) => {
      process.stderr.write(`${messageOf(error)}\n`);
      end(1);
    },
  );
}
