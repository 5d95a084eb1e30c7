/** Stored results of programs that test real stacks for hours, so that an interrupted run can be continued. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { messageOf } from '../../failover/contract/errors';
import { runOk } from '../../scripts/lib/exec';
import { PATHS } from '../../scripts/lib/paths';

const GIT_LIMIT_MS = 30_000;
/**
 * Files that a result depends on. A change of test code is not among them, so results stay valid when a fault is added.
 */
export const PRODUCT = [
  ...['backend/app', 'components', 'failover', 'images', 'templates'],
  ...['index.ts', 'package-lock.json'],
];

/** The commit that last changed these files; with uncommitted changes also `+` and a hash of them. */
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

/** The results for one version of the product ({@link testedTree}), in a file. */
export class Progress<T> {
  readonly results: T[];

  /** Loads the results that the file has for this tree. With `fresh` it begins without any. */
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

/** Writes a page into docs/results and returns its path. */
export function writeResults(name: string, text: string): string {
  const folder = join(PATHS.root, 'docs', 'results');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), text);
  return join('docs', 'results', name);
}

/** Load average of the machine over one minute. Results contain it, because a busy machine makes every figure worse. */
export const loadAverage = (): number => Math.round((loadavg()[0] ?? 0) * 10) / 10;

/** Today's date (UTC) as YYYY-MM-DD, for names and pages of results. */
export const today = (): string => new Date().toISOString().slice(0, 10);

/** Runs a program and exits with its exit code: the number that it returns, 0 for true, 1 for false or an exception. */
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
