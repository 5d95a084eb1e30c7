/**
 * Writes the config table of the README from `Pulumi.yaml`.
 *
 *     npm run docs               writes it between the markers
 *     npm run docs -- --check    exit 1 when it is not up to date
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';

const ROOT = join(__dirname, '..');
const BEGIN = '<!-- config:begin -->';
const END = '<!-- config:end -->';

const Schema = z.object({
  config: z.record(
    z.string(),
    z.object({ type: z.string(), default: z.union([z.string(), z.number(), z.boolean()]), description: z.string() }),
  ),
});

/** The table of all config keys, as Markdown. */
export function configTable(projectYaml: string): string {
  const { config } = Schema.parse(parse(projectYaml));
  const rows = Object.entries(config).map(
    ([name, key]) =>
      `| \`${name}\` | ${key.type} | ${key.default === '' ? 'empty' : `\`${String(key.default)}\``} | ${key.description.replaceAll('|', '\\|')} |`,
  );
  return ['| key | type | default | meaning |', '|---|---|---|---|', ...rows].join('\n');
}

/** @throws Error when the markers are not there, in order. */
export function withTable(readme: string, table: string): string {
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`README.md needs ${BEGIN} and, after it, ${END}`);
  return `${readme.slice(0, begin + BEGIN.length)}\n${table}\n${readme.slice(end)}`;
}

function main(check: boolean): void {
  const file = join(ROOT, 'README.md');
  const readme = readFileSync(file, 'utf8');
  const wanted = withTable(readme, configTable(readFileSync(join(ROOT, 'Pulumi.yaml'), 'utf8')));
  if (wanted === readme) return;
  if (check) {
    process.stderr.write('README.md: the config table is not what Pulumi.yaml says; run "npm run docs"\n');
    process.exitCode = 1;
    return;
  }
  writeFileSync(file, wanted);
}

if (require.main === module) main(process.argv.includes('--check'));
