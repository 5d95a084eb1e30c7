import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { configTable, effectTable, ruleTable, withConfig, withPart } from '../../scripts/docs';

const ROOT = join(__dirname, '..', '..');

it('keeps index.ts under 60 lines and free of branches and loops', () => {
  const source = readFileSync(join(ROOT, 'index.ts'), 'utf8');
  expect(source.trimEnd().split('\n').length).toBeLessThan(60);
  expect(source).not.toMatch(/\b(if|for|while|switch)\b/);
});

it('has the config keys as they are in Pulumi.yaml and in the page of the config', () => {
  const text = (file: string) => readFileSync(join(ROOT, file), 'utf8');
  expect(withConfig(text('Pulumi.yaml'))).toBe(text('Pulumi.yaml'));
  expect(withPart(text('docs/config.md'), 'config', configTable())).toBe(text('docs/config.md'));
  expect(withPart(text('docs/config.md'), 'keys', effectTable())).toBe(text('docs/config.md'));
});

it('has a row with the right default for every config key, and no other, in the Vietnamese reference', () => {
  const rowsOf = (text: string, name: RegExp) => [...text.matchAll(name)].map(([, key, value]) => `${key} = ${value}`);
  const page = readFileSync(join(ROOT, 'docs/reference.vi.md'), 'utf8').replaceAll('| trống |', '| empty |');
  const rows = rowsOf(page, /^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$/gm);
  expect(rows).toEqual(rowsOf(configTable(), /^\| `(\w+)` \| \w+ \| ([^|]+) \|/gm));
});

it('prints the rule table as it is into the architecture page', () => {
  const page = readFileSync(join(ROOT, 'docs', 'architecture.md'), 'utf8');
  expect(withPart(page, 'rules', ruleTable())).toBe(page);
});

it('refuses a document without the markers of the part', () => {
  expect(() => withPart('no markers', 'config', '')).toThrow('config:begin');
});
