/**
 * Checks the documents and all references to them. Every path and link leads to an existing file and section. Every
 * rule S1 to S29 that is named has its section in docs/safety.md. No document outside the repository is named. Each
 * check is also tried with a wrong text.
 */
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RULES } from '../../failover/core/rules';

const ROOT = join(__dirname, '../..');
const OWN = 'test/contract/documents.test.ts';
/** Its names of documents are files that it makes itself. */
const MADE_UP = 'packages/pulumi-offline/test/build-context.test.ts';
const FOLDERS = [
  ...['backend', 'bin', 'cli', 'components', 'docs', 'examples', 'failover', 'images'],
  ...['monitoring', 'packages', 'scripts', 'simulator', 'stack', 'templates', 'test'],
];
/** Paths that are left out: generated files, and files that are no text. */
const SKIPPED =
  /(^|\/)(node_modules|build|logs|\.[^/]+|__pycache__)(\/|$)|\.(png|svg|pyc|lock|sum)$|package-lock\.json$/;

interface Text {
  /** Path inside the repository. */
  file: string;
  text: string;
}

/** Files of the repository, as paths inside it. */
function filesBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = normalize(join(folder, entry.name));
    if (SKIPPED.test(path)) return [];
    if (entry.isDirectory()) return filesBelow(path);
    return entry.isFile() ? [path] : [];
  });
}

function rootFiles(): string[] {
  const entries = readdirSync(ROOT, { withFileTypes: true });
  return entries.filter((entry) => entry.isFile() && !SKIPPED.test(entry.name)).map((entry) => entry.name);
}

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

const texts: readonly Text[] = [...rootFiles(), ...FOLDERS.flatMap(filesBelow)]
  .filter((file) => file !== OWN)
  .map((file) => ({ file, text: read(file) }));
const documents = texts.filter(({ file }) => file.endsWith('.md'));

/** The anchor that GitHub gives a heading. */
function slug(heading: string): string {
  const text = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
  return text.replaceAll(/[^\p{L}\p{M}\p{N}\p{Pc} -]/gu, '').replaceAll(' ', '-');
}

/** Every anchor of a document: of its headings, and explicit ones (`<a id=…>`). */
function anchorsOf(text: string): Set<string> {
  const body = text.replaceAll(/^```.*?^```/gms, '');
  const headings = [...body.matchAll(/^#{1,6} +(.+?) *$/gm)].map((m) => slug(m[1] ?? ''));
  return new Set([...headings, ...[...body.matchAll(/<a id="([^"]+)">/g)].map((m) => m[1] ?? '')]);
}

/** True when the target exists: a path inside the repository, with or without an anchor. */
function leadsSomewhere(target: string): boolean {
  const [path = '', anchor] = target.split('#');
  if (globSync(path, { cwd: ROOT }).length === 0) return false;
  return !anchor || !path.endsWith('.md') || anchorsOf(read(path)).has(anchor);
}

/** Paths in any file that begin with docs/ and do not exist. */
function lostPaths({ file, text }: Text): string[] {
  const found = [...text.matchAll(/(?<![\w./-])docs\/[\w./*-]*(?:#[\w\p{L}\p{M}-]+)?/gu)];
  const paths = found.filter((m) => !isBeginning(text, m)).map((m) => m[0].replace(/[.-]+$/, ''));
  return paths.filter((path) => !leadsSomewhere(path)).map((path) => `${file}: ${path}`);
}

/** True for a path whose rest is a placeholder, as in `docs/results/change-${date}.md`. */
function isBeginning(text: string, match: RegExpExecArray): boolean {
  return /^(\$\{|<)/.test(text.slice(match.index + match[0].length)) && !match[0].endsWith('/');
}

/** Links of a document whose target does not exist. */
function lostLinks({ file, text }: Text): string[] {
  const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map((m) => decodeURIComponent(m[1] ?? ''));
  return targets.filter((target) => !isThere(file, target)).map((target) => `${file}: ${target}`);
}

function isThere(file: string, target: string): boolean {
  if (/^[a-z]+:/.test(target)) return true;
  return leadsSomewhere(target.startsWith('#') ? file + target : normalize(join(dirname(file), target)));
}

/** Names of documents in a comment or a message, without a link, that do not exist. */
function lostDocuments({ file, text }: Text): string[] {
  const found = [...text.matchAll(/(?<![\w./*}-])(?:[\w.-]+\/)*[\w-][\w.-]*\.md\b/g)].map((m) => m[0]);
  const near = [dirname(file), '.', 'docs', 'docs/decisions', 'docs/results', 'test/scenarios'];
  return found
    .filter((name) => !near.some((folder) => existsSync(join(ROOT, folder, name))))
    .map((name) => `${file}: ${name}`);
}

/** Rules that are named and have no section in docs/safety.md. */
function lostRules({ file, text }: Text, known: ReadonlySet<string>): string[] {
  // Some codes of the Python linter begin with S, too.
  const prose = text.replaceAll(/# noqa:.*/g, '');
  const found = [...prose.matchAll(/(?<![\w./-])S\d+\b/g)].map((m) => m[0]);
  return found.filter((rule) => !known.has(rule.toLowerCase())).map((rule) => `${file}: ${rule}`);
}

/** Lines of more than 120 characters, outside of tables and code. */
function longLines({ file, text }: Text): string[] {
  const prose = text.replaceAll(/^```.*?^```/gms, '').split('\n');
  return prose
    .filter((line) => line.length > 120 && !line.trimStart().startsWith('|'))
    .map((line) => `${file}: ${line}`);
}

/** Names of documents that are not part of the repository. */
function outsideDocuments({ file, text }: Text): string[] {
  const found = [...text.matchAll(/\bSAFETY(?:\.md|['’]s)|\bSAFETY,? ["S§]|\b(?:DESIGN|PEERS|HOUSE|REDTEAM)\b/g)];
  return found.map((m) => `${file}: ${m[0]}`);
}

const SAFETY_RULES = 'docs/safety.md';
const anchors = anchorsOf(read(SAFETY_RULES));
const PARTS = ['What can go wrong', 'Rule', 'Example', 'Code', 'Tests'];

/** The paragraph of each section that names the code: its title → its text. */
function codeOf(safety: string): Map<string, string> {
  const sections = safety.split(/^## /m).filter((section) => section.includes('**Code.**'));
  const code = (section: string) => /\*\*Code\.\*\*(.*?)\n\n/s.exec(section)?.[1] ?? '';
  return new Map(sections.map((section) => [section.split('\n')[0] ?? '', code(section)]));
}

/** Files and rows of the decision table that docs/safety.md names and that do not exist. */
function lostCode(safety: string): string[] {
  const ids = new Set<string>(RULES.map((rule) => rule.id));
  return [...codeOf(safety)].flatMap(([title, code]) => {
    const [files = '', rows = ''] = code.split(/\bRows?:/);
    const missing = named(files).filter((name) => name.includes('/') && !existsSync(join(ROOT, name)));
    return [...missing, ...named(rows).filter((id) => !ids.has(id))].map((name) => `${title}: ${name}`);
  });
}

function named(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map((m) => m[1] ?? '');
}

describe('documents', () => {
  it('are found, and so are the other files that are checked', () => {
    expect(documents.length).toBeGreaterThan(40);
    expect(texts.length).toBeGreaterThan(400);
  });

  it('exist wherever a path begins with docs/', () => {
    expect(texts.flatMap(lostPaths)).toEqual([]);
    expect(lostPaths({ file: 'x.ts', text: '// see docs/no-such.md' })).toEqual(['x.ts: docs/no-such.md']);
    expect(lostPaths({ file: 'x.ts', text: '// see docs/safety.md#s99.' })).toEqual(['x.ts: docs/safety.md#s99']);
    expect(lostPaths({ file: 'x.ts', text: '// https://host/docs/no-such.md, docs/safety.md#s7' })).toEqual([]);
  });

  it('exist wherever a document links to them, with the section', () => {
    expect(documents.flatMap(lostLinks)).toEqual([]);
    const text = '[a](safety.md#s7) [b](no-such.md) [c](#nothing) [d](../README.md) [e](safety.md#s99)';
    const wrong = ['no-such.md', '#nothing', 'safety.md#s99'].map((target) => `${SAFETY_RULES}: ${target}`);
    expect(lostLinks({ file: SAFETY_RULES, text })).toEqual(wrong);
  });

  it('exist wherever a comment or a message names them', () => {
    const isSource = /\.(ts|mjs|py|sh|cfg|conf|ya?ml|toml|sql)$/;
    const sources = texts.filter(({ file }) => isSource.test(file) && file !== MADE_UP);
    expect(sources.flatMap(lostDocuments)).toEqual([]);
    expect(lostDocuments({ file: 'x.ts', text: 'see operations.md and no-such.md' })).toEqual(['x.ts: no-such.md']);
  });

  it('have no line of more than 120 characters', () => {
    // Results and stories are left out, because programs write them.
    const written = documents.filter(({ file }) => !/^(docs\/results|test\/scenarios)\//.test(file));
    expect(written.flatMap(longLines)).toEqual([]);
    const long = 'x'.repeat(121);
    expect(longLines({ file: 'x.md', text: `| ${long} |\n\`\`\`\n${long}\n\`\`\`\n${long}` })).toEqual([
      `x.md: ${long}`,
    ]);
  });

  it('are all kept in the repository', () => {
    expect(texts.flatMap(outsideDocuments)).toEqual([]);
    for (const text of ['SAFETY.md', '(SAFETY S2)', 'DESIGN §9', 'PEERS trap 3', 'HOUSE', 'REDTEAM 4'])
      expect(outsideDocuments({ file: 'x.ts', text }), text).toHaveLength(1);
  });
});

describe('docs/safety.md', () => {
  it('has a section for every rule that is named', () => {
    expect(texts.flatMap((text) => lostRules(text, anchors))).toEqual([]);
    const found = lostRules({ file: 'x.ts', text: '// S7, S30, S0 # noqa: S105' }, anchors);
    expect(found).toEqual(['x.ts: S30', 'x.ts: S0']);
  });

  it('says for every rule what can go wrong, what the rule is, and which code and tests hold it', () => {
    const [, ...sections] = read(SAFETY_RULES).split(/^<a id=/m);
    const expected = ['joint-set', ...Array.from({ length: 29 }, (_, i) => `s${i + 1}`), 'pause'];
    expect(sections.map((section) => /"([^"]+)"/.exec(section)?.[1])).toEqual(expected);
    for (const section of sections) for (const part of PARTS) expect(section, part).toContain(`\n**${part}.**`);
  });

  it('names code and rows of the decision table that exist', () => {
    expect(lostCode(read(SAFETY_RULES))).toEqual([]);
    expect([...codeOf(read(SAFETY_RULES))]).toHaveLength(31);
    const wrong = '## S1 x\n\n**Code.** `failover/no-such.ts`. Rows: `open`,\n`no-such-row`.\n\n**Tests.**\n';
    expect(lostCode(wrong)).toEqual(['S1 x: failover/no-such.ts', 'S1 x: no-such-row']);
  });
});
