/**
 * Writes the generated parts of the documents: the config keys in `Pulumi.yaml` and docs/config.md from
 * stack/keys.ts, the classes of PostgreSQL's settings in docs/postgres-settings.md from stack/postgres-classes.ts, the
 * failover rule in docs/architecture.md from the rule table itself, and the codes in docs/operations.md from the
 * contract and doctor's table.
 *
 *     npm run docs               writes them between their markers
 *     npm run docs -- --check    exit 1 when one is not up to date
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { FINDINGS } from '../cli/doctor/findings';
import { FAILURE_CODES, NOTE_CODES, RULE_CODES, TODOS } from '../failover/contract/codes';
import { RULES } from '../failover/core/rules';
import { asText, type Effect, KEY_NAMES, KEYS, type Key, type KeyName } from '../stack/keys';
import { BOUNDED, type Family, FREE, OWNED } from '../stack/postgres-classes';

const ROOT = join(__dirname, '..');

/** Effects that leave clients without a way in for a moment. */
const GAPS: readonly Effect[] = ['HAProxy replaced', 'images built', 'all replaced'];

const keys: readonly (readonly [KeyName, Key<unknown>])[] = KEY_NAMES.map((name) => [name, KEYS[name]]);
const cell = (text: string): string => text.replaceAll('|', '\\|');

/** The table of all config keys, as Markdown. */
export function configTable(): string {
  const rows = keys.map(([name, { type, says, ...key }]) => {
    const fallback = asText(key.default);
    return `| \`${name}\` | ${type} | ${fallback === '' ? 'empty' : `\`${fallback}\``} | ${cell(says)} |`;
  });
  return ['| key | type | default | meaning |', '|---|---|---|---|', ...rows].join('\n');
}

/** What a change of each key does to a running stack, as Markdown. */
export function effectTable(): string {
  const rows = keys.map(([name, { effects, note = '' }]) => {
    const gap = effects.some((effect) => GAPS.includes(effect)) ? 'yes' : 'no';
    return `| \`${name}\` | ${effects.join(', ')} | ${gap} | ${cell(note)}${note === '' ? '' : ' '}|`;
  });
  return ['| key | what happens | gap | to know |', '|---|---|---|---|', ...rows].join('\n');
}

/** The settings of PostgreSQL that are refused outside of their limits, as Markdown. */
export function boundedTable(): string {
  const rows = [...BOUNDED]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, allowed, reason }) => `| \`${name}\` | ${cell(allowed)} | ${cell(reason)} |`);
  return ['| setting | allowed | why |', '|---|---|---|', ...rows].join('\n');
}

/** Settings of PostgreSQL with one reason in each row, as Markdown. */
export function familyTable(families: readonly Family[]): string {
  const names = (family: Family) => family.names.map((name) => `\`${name}\``).join(', ');
  const rows = families.map((family) => `| ${cell(family.reason)} | ${names(family)} |`);
  return ['| why | settings |', '|---|---|', ...rows].join('\n');
}

/** Pulumi's project file with the block of all keys, with which it ends. */
export function withConfig(project: string): string {
  const config = Object.fromEntries(
    keys.map(([name, { type, default: fallback, says }]) => [name, { type, default: fallback, description: says }]),
  );
  return `${project.slice(0, project.search(/^config:/m))}${stringify({ config }, { lineWidth: 0 })}`;
}

/** The failover rule as Markdown, row by row, in the order of evaluation. */
export function ruleTable(): string {
  const rows = RULES.map(({ id, code, why }, index) => `| ${index + 1} | ${id} | \`${code}\` | ${why} |`);
  return ['| | row | code | when it matches |', '|---|---|---|---|', ...rows].join('\n');
}

/** Codes with their meanings and the action for a person, as Markdown. */
export function codeTable(codes: Readonly<Record<string, string>>): string {
  const todos: Readonly<Record<string, string>> = TODOS;
  const rows = Object.entries(codes).map(([code, says]) => `| \`${code}\` | ${says} | ${todos[code] ?? 'nothing'} |`);
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
  const part = (file: string, name: string, text: string) => ({
    ...{ file, name },
    made: (document: string) => withPart(document, name, text),
  });
  const parts = [
    { file: 'Pulumi.yaml', name: 'config', made: withConfig },
    part('docs/config.md', 'config', configTable()),
    part('docs/config.md', 'keys', effectTable()),
    part('docs/postgres-settings.md', 'bounded', boundedTable()),
    part('docs/postgres-settings.md', 'owned', familyTable(OWNED)),
    part('docs/postgres-settings.md', 'free', familyTable(FREE)),
    part('docs/architecture.md', 'rules', ruleTable()),
    part('docs/operations.md', 'rule-codes', codeTable(RULE_CODES)),
    part('docs/operations.md', 'failure-codes', codeTable(FAILURE_CODES)),
    part('docs/operations.md', 'note-codes', codeTable(NOTE_CODES)),
    part('docs/operations.md', 'finding-codes', findingTable()),
  ];
  for (const { file, name, made } of parts) {
    const path = join(ROOT, file);
    const document = readFileSync(path, 'utf8');
    const wanted = made(document);
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
