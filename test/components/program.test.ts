import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { configTable, ruleTable, withPart } from '../../scripts/docs';

const ROOT = join(__dirname, '..', '..');

it('keeps index.ts under 60 lines and free of branches and loops', () => {
  const source = readFileSync(join(ROOT, 'index.ts'), 'utf8');
  expect(source.trimEnd().split('\n').length).toBeLessThan(60);
  expect(source).not.toMatch(/\b(if|for|while|switch)\b/);
});

it("has a config table in the README that is Pulumi.yaml's", () => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const project = readFileSync(join(ROOT, 'Pulumi.yaml'), 'utf8');
  expect(withPart(readme, 'config', configTable(project))).toBe(readme);
});

it('has a row with the right default for every config key, and no other, in the Vietnamese README', () => {
  const rowsOf = (text: string, name: RegExp) => [...text.matchAll(name)].map(([, key, value]) => `${key} = ${value}`);
  const wanted = configTable(readFileSync(join(ROOT, 'Pulumi.yaml'), 'utf8'));
  const readme = readFileSync(join(ROOT, 'README.vi.md'), 'utf8').replaceAll('| trống |', '| empty |');
  const rows = rowsOf(readme, /^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$/gm);
  expect(rows).toEqual(rowsOf(wanted, /^\| `(\w+)` \| \w+ \| ([^|]+) \|/gm));
});

it('prints the rule table as it is into the architecture page', () => {
  const page = readFileSync(join(ROOT, 'docs', 'architecture.md'), 'utf8');
  expect(withPart(page, 'rules', ruleTable())).toBe(page);
});

it('refuses a document without the markers of the part', () => {
  expect(() => withPart('no markers', 'config', '')).toThrow('config:begin');
});
