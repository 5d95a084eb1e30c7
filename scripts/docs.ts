/**
 * Writes the generated parts of the documents: the README's config table from `Pulumi.yaml`, the failover rule in
 * docs/architecture.md from the rule table itself, and the codes in docs/operations.md from the contract and doctor's
 * table.
 *
 *     npm run docs               writes them between their markers
 *     npm run docs -- --check    exit 1 when one is not up to date
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { FINDINGS } from '../cli/doctor/findings';
import { FAILURE_CODES, type Meaning, NOTE_CODES, RULE_CODES } from '../failover/contract/codes';
import { RULES } from '../failover/core/rules';

const ROOT = join(__dirname, '..');

const Schema = z.object({
  config: z.record(
    z.string(),
    z.object({
      type: z.string(),
      default: z.union([z.string(), z.number(), z.boolean(), z.object({})]),
      description: z.string(),
    }),
  ),
});

/** The table of all config keys, as Markdown. */
export function configTable(projectYaml: string): string {
  const { config } = Schema.parse(parse(projectYaml));
  const rows = Object.entries(config).map(
    ([name, key]) =>
      `| \`${name}\` | ${key.type} | ${key.default === '' ? 'empty' : `\`${typeof key.default === 'object' ? JSON.stringify(key.default) : String(key.default)}\``} | ${key.description.replaceAll('|', '\\|')} |`,
  );
  return ['| key | type | default | meaning |', '|---|---|---|---|', ...rows].join('\n');
}

/** The failover rule as Markdown, row by row, in the order of evaluation. */
export function ruleTable(): string {
  const rows = RULES.map(({ id, code, why }, index) => `| ${index + 1} | ${id} | \`${code}\` | ${why} |`);
  return ['| | row | code | when it matches |', '|---|---|---|---|', ...rows].join('\n');
}

/** Codes with their meanings and the action for a person, as Markdown. */
export function codeTable(codes: Readonly<Record<string, Meaning>>): string {
  const rows = Object.entries(codes).map(([code, meaning]) => {
    const { says, todo } = typeof meaning === 'string' ? { says: meaning, todo: 'nothing' } : meaning;
    return `| \`${code}\` | ${says} | ${todo} |`;
  });
  return ['| code | what it says | to do |', '|---|---|---|', ...rows].join('\n');
}

/** The table of what doctor finds, as Markdown. */
export function findingTable(): string {
  const rows = FINDINGS.rows.map(
    ({ code, severity, sentence, next }) =>
      `| \`${code}\` | ${typeof severity === 'string' ? severity : 'error or warning'} | ${sentence} | ${next} |`,
  );
  return ['| code | severity | what it says | next step |', '|---|---|---|---|', ...rows].join('\n');
}

/** @throws Error when the markers are not there, in order. */
export function withPart(document: string, name: string, part: string): string {
  const [beginMark, endMark] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`];
  const [begin, end] = [document.indexOf(beginMark), document.indexOf(endMark)];
  if (begin < 0 || end < begin) throw new Error(`the document needs ${beginMark} and, after it, ${endMark}`);
  return `${document.slice(0, begin + beginMark.length)}\n${part}\n${document.slice(end)}`;
}

function main(check: boolean): void {
  const parts = [
    { file: 'README.md', name: 'config', part: configTable(readFileSync(join(ROOT, 'Pulumi.yaml'), 'utf8')) },
    { file: 'docs/architecture.md', name: 'rules', part: ruleTable() },
    { file: 'docs/operations.md', name: 'rule-codes', part: codeTable(RULE_CODES) },
    { file: 'docs/operations.md', name: 'failure-codes', part: codeTable(FAILURE_CODES) },
    { file: 'docs/operations.md', name: 'note-codes', part: codeTable(NOTE_CODES) },
    { file: 'docs/operations.md', name: 'finding-codes', part: findingTable() },
  ];
  for (const { file, name, part } of parts) {
    const path = join(ROOT, file);
    const document = readFileSync(path, 'utf8');
    const wanted = withPart(document, name, part);
    if (wanted === document) continue;
    if (check) {
      process.stderr.write(`${file}: its part "${name}" is not up to date; run "npm run docs"\n`);
      process.exitCode = 1;
    } else {
      writeFileSync(path, wanted);
    }
  }
}

if (require.main === module) main(process.argv.includes('--check'));
