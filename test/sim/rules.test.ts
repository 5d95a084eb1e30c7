/** docs/safety.md names tests for each rule: the tests exist, and no mutation is left out. */
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

interface Section {
  rule: string;
  stories: string[];
  mutations: string[];
  files: string[];
}

/** The list under "Tests." of a section, its lines joined: `Story` → what is named. */
function testsOf(section: string): Map<string, string> {
  const items = (section.split('**Tests.**')[1] ?? '').split(/\n(?=- )/).slice(1);
  return new Map(
    items.map((item) => {
      const [, name = '', text = ''] = /^- ([^:]+): (.*?)(?:\n\n|$)/s.exec(item) ?? [];
      return [name, text.replace(/\s+/g, ' ')];
    }),
  );
}

const sections: Section[] = read('docs/safety.md')
  .split(/^## /m)
  .filter((section) => section.includes('**Tests.**'))
  .map((section) => {
    const rule = /^(S\d+|.*)/.exec(section)?.[1] ?? '';
    const tests = testsOf(section);
    const mutations = named(tests.get('Mutation'));
    const files = [...mutations, ...named(tests.get('Unit and contract')), ...named(tests.get('Docker'))];
    return {
      rule,
      stories: named(tests.get('Story')),
      mutations: mutations.filter((name) => !name.includes('/')),
      files: files.filter((name) => name.includes('/')),
    };
  });

describe('the tests of the safety rules', () => {
  it('names every rule once', () => {
    expect(sections.map((s) => s.rule)).toEqual(['Joint set', ...RULES, 'Pause']);
  });

  it('names for every rule a story that mentions the rule', () => {
    for (const { rule, stories } of sections) {
      const files = stories.flatMap((name) => globSync(`test/scenarios/${name}.md`, { cwd: ROOT }));
      for (const name of stories) expect(globSync(`test/scenarios/${name}.md`, { cwd: ROOT }), name).not.toEqual([]);
      const word = rule === 'Pause' ? 'pause' : rule;
      const telling = files.filter((file) => rule === 'Joint set' || new RegExp(`\\b${word}\\b`).test(read(file)));
      expect(telling, rule).not.toEqual([]);
    }
  });

  it('names every mutation, and none that does not exist', () => {
    const source = read('test/sim/mutations.ts').split('export const MUTATIONS')[1] ?? '';
    const there = [...source.matchAll(/^ {2}'?([^':{}]+)'?: \{$/gm)].map((m) => m[1]);
    expect(there.length).toBeGreaterThan(15);
    expect(sections.flatMap((s) => s.mutations).sort()).toEqual(there.sort());
  });

  it('names tests that exist', () => {
    for (const { rule, files } of sections) {
      expect(files, rule).not.toEqual([]);
      for (const file of files) expect(globSync(file, { cwd: ROOT }), `${rule}: ${file}`).not.toEqual([]);
    }
  });
});
