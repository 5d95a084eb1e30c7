/** The table in docs/architecture.md that says which test holds which rule of SAFETY.md: complete, and true. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = join(__dirname, '../..');
const RULES = Array.from({ length: 29 }, (_, i) => `S${i + 1}`);

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

function named(cell: string | undefined): string[] {
  return [...(cell ?? '').matchAll(/`([^`]+)`/g)].map((m) => m[1] ?? '');
}

interface Row {
  rule: string;
  stories: string[];
  mutations: string[];
  files: string[];
}

const rows: Row[] =
  read('docs/architecture.md')
    .split('## Which test holds which rule')[1]
    ?.split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| rule'))
    .map((line) => {
      const [, rule = '', stories, mutations, unit, docker] = line.split('|').map((cell) => cell.trim());
      const files = [mutations, unit, docker].flatMap(named).filter((name) => name.includes('/'));
      return { rule, stories: named(stories), mutations: named(mutations).filter((n) => !n.includes('/')), files };
    }) ?? [];

describe('the table of rules and tests', () => {
  it('names every rule once', () => {
    expect(rows.map((r) => r.rule)).toEqual(['joint set', 'pause', ...RULES]);
  });

  it('names for every rule a story that tells of it', () => {
    for (const { rule, stories } of rows) {
      const files = stories.flatMap((name) => globSync(`test/scenarios/${name}.md`, { cwd: ROOT }));
      for (const name of stories) expect(globSync(`test/scenarios/${name}.md`, { cwd: ROOT }), name).not.toEqual([]);
      const telling = files.filter((file) => rule === 'joint set' || new RegExp(`\\b${rule}\\b`).test(read(file)));
      expect(telling, rule).not.toEqual([]);
    }
  });

  it('names every mutation, and none that there is not', () => {
    const there = [...read('test/sim/mutations.ts').matchAll(/^ {4}rule: '([^']+)'/gm)].map((m) => m[1]);
    expect(there.length).toBeGreaterThan(15);
    expect(rows.flatMap((r) => r.mutations).sort()).toEqual(there.sort());
  });

  it('names tests that are there', () => {
    for (const { rule, files } of rows) {
      expect(files, rule).not.toEqual([]);
      for (const file of files) expect(globSync(file, { cwd: ROOT }), `${rule}: ${file}`).not.toEqual([]);
    }
  });
});
