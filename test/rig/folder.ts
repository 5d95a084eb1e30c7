/** Folders of tests, which are removed with all that is in them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, onTestFinished } from 'vitest';

function newFolder(): { folder: string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'postgres-failover-test-'));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** A new folder until the running test has ended, its afterEach included. To be called in a test or in beforeEach. */
export function testFolder(): string {
  const { folder, remove } = newFolder();
  onTestFinished(remove);
  return folder;
}

/** A new folder until all tests of the file, or of the `describe`, have ended. To be called outside of tests. */
export function suiteFolder(): string {
  const { folder, remove } = newFolder();
  afterAll(remove);
  return folder;
}
