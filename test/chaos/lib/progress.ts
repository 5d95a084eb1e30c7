/** What is done for the tree that is tested, kept in a file, so that an interrupted matrix goes on where it was. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { runOk } from '../../../scripts/lib/exec';
import { PATHS } from '../../../scripts/lib/paths';
import { FOLDER } from './stack';

/** The product: what a result says something about. A fault that is added later leaves the results of the others valid. */
const TESTED = ['failover', 'components', 'templates', 'images', 'index.ts', 'package-lock.json'];
const GIT_LIMIT_MS = 30_000;

export const Result = z.object({
  name: z.string(),
  run: z.string(),
  date: z.string(),
  /** Outage of the client that holds its connection, and of the one that connects freshly each time. */
  heldMs: z.number(),
  freshMs: z.number(),
  /** From the end of the fault's cause until everything was healthy again. */
  recoveredMs: z.number(),
  failovers: z.number(),
  acknowledged: z.number(),
  failed: z.number(),
  unknown: z.number(),
  lost: z.number(),
  /** Operations in the history of the registers. */
  operations: z.number(),
  twoPrimariesMs: z.number(),
  /** Load average of the machine at the end: figures of a busy machine are not the product's. */
  load: z.number(),
  vanishedOnRead: z.number(),
  violations: z.array(z.string()),
  notes: z.array(z.string()),
});
export type Result = z.infer<typeof Result>;

const File = z.object({
  tree: z.string(),
  results: z.array(Result),
});
type File = z.infer<typeof File>;

async function git(...args: string[]): Promise<string> {
  return (await runOk('git', args, { cwd: PATHS.root, deadlineMs: GIT_LIMIT_MS })).stdout;
}

/** Commit that last changed what is tested, and `+` with a hash when there are changes that are not committed. */
export async function testedTree(): Promise<string> {
  const commit = (await git('log', '-1', '--format=%h', '--', ...TESTED)).trim();
  const changes = await git('diff', 'HEAD', '--', ...TESTED);
  return changes === '' ? commit : `${commit}+${createHash('sha256').update(changes).digest('hex').slice(0, 6)}`;
}

/** The runs that are done. */
export class Progress {
  private readonly path: string;
  private file: File;

  /** @param kind tells results of different stacks apart */
  constructor(tree: string, kind: string, fresh: boolean) {
    mkdirSync(FOLDER, { recursive: true });
    this.path = join(FOLDER, `progress-${kind}.json`);
    const before = existsSync(this.path) ? File.safeParse(JSON.parse(readFileSync(this.path, 'utf8'))) : null;
    const kept = before?.success === true && before.data.tree === tree && !fresh;
    this.file = kept ? before.data : { tree, results: [] };
  }

  /** Runs of a fault that are done. */
  done(name: string): Result[] {
    return this.file.results.filter((r) => r.name === name);
  }

  get results(): readonly Result[] {
    return this.file.results;
  }

  add(result: Result): void {
    this.file.results.push(result);
    this.save();
  }

  private save(): void {
    writeFileSync(this.path, JSON.stringify(this.file, null, 1));
  }
}
