/** What the monitor remembers of tested restores, in a file of its own beside the store: no decision depends on it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { RepositoryName } from '../../contract/backups';
import { fromJson } from '../../contract/json';
import { RestoreTestResult } from '../../contract/restore-test';
import { writeWhole } from '../../disk/durable';

const FILE = 'restore-tests.json';

/** The tests of one place. Times are wall time, ms. */
const Remembered = z.object({
  /** Since then a restore could have been tested. */
  sinceMs: z.number(),
  last: RestoreTestResult.nullable(),
  /** Id of the last one. */
  lastId: z.string().nullable(),
  /** End of the last one that passed. */
  passedMs: z.number().nullable(),
  /** How many failed in a row. */
  failures: z.number().int().min(0),
});
export type Remembered = z.infer<typeof Remembered>;

const All = z.partialRecord(RepositoryName, Remembered);
export type AllRemembered = z.infer<typeof All>;

export interface Memory {
  load(): Promise<AllRemembered>;
  /** @throws when the file cannot be written */
  save(all: AllRemembered): Promise<void>;
}

/** In the monitor's volume. A file that cannot be read counts as none: a test follows soon. */
export class FileMemory implements Memory {
  private last: Promise<void> = Promise.resolve();

  constructor(private readonly folder: string) {}

  async load(): Promise<AllRemembered> {
    const text = await readFile(join(this.folder, FILE), 'utf8').catch(() => '');
    return fromJson(All, text) ?? {};
  }

  /** One write at a time. */
  save(all: AllRemembered): Promise<void> {
    const text = JSON.stringify(all);
    this.last = this.last.catch(() => undefined).then(() => writeWhole(this.folder, FILE, text));
    return this.last;
  }
}
