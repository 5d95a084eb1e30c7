import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { configTable, withTable } from '../../scripts/docs';

const ROOT = join(__dirname, '..', '..');

it('keeps index.ts under 60 lines and free of branches and loops', () => {
  const source = readFileSync(join(ROOT, 'index.ts'), 'utf8');
  expect(source.trimEnd().split('\n').length).toBeLessThan(60);
  expect(source).not.toMatch(/\b(if|for|while|switch)\b/);
});

it("has a config table in the README that is Pulumi.yaml's", () => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const project = readFileSync(join(ROOT, 'Pulumi.yaml'), 'utf8');
  expect(withTable(readme, configTable(project))).toBe(readme);
});

it('refuses a README without the markers of the table', () => {
  expect(() => withTable('no markers', '')).toThrow('config:begin');
});
