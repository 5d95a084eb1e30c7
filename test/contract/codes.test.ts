/** The codes of the contract are those that the code prints, and documents name no others. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FindingCode } from '../../cli/doctor/codes';
import { Cause, LogCode } from '../../failover/contract/codes';
import { KeeperFrame } from '../../failover/contract/messages';

const ROOT = join(__dirname, '../..');
const CODE = /[A-Z]+(?:_[A-Z]+)+/;
const KNOWN: ReadonlySet<string> = new Set(LogCode.options);
/** Words in capitals that are not codes: environment variables, and options of SQL commands. */
const NO_CODES = /^(PGFAILOVER|PULUMI|DOCKER_(HOST|CONTEXT)|HAPROXY_URL|LC_COLLATE|PGPASSWORD|DATABASE_URL)/;

const textsUnder = (folder: string, ending: string) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .map((name) => ({ name: join(folder, name), text: readFileSync(join(ROOT, folder, name), 'utf8') }));

describe('the codes', () => {
  it('are all printed somewhere', () => {
    const code = textsUnder('failover', '.ts').filter(({ name }) => !name.startsWith('failover/contract/'));
    const quoted = new Set(code.flatMap(({ text }) => [...text.matchAll(/'([A-Z_]+)'/g)].map(([, word]) => word)));
    expect(LogCode.options.filter((known) => !quoted.has(known))).toEqual([]);
  });

  it('exist when a document names them', () => {
    const findings: ReadonlySet<string> = new Set(FindingCode.options);
    const readmes = readdirSync(ROOT).filter((name) => /^README.*\.md$/.test(name));
    const documents = [
      ...textsUnder('docs', '.md'),
      ...readmes.map((name) => ({ name, text: readFileSync(join(ROOT, name), 'utf8') })),
    ];
    expect(documents.length).toBeGreaterThan(10);
    const unknown = documents.flatMap(({ name, text }) =>
      [...text.matchAll(new RegExp(`\`(${CODE.source})\``, 'g'))]
        .map(([, word = '']) => word)
        .filter((word) => !KNOWN.has(word) && !findings.has(word) && !NO_CODES.test(word))
        .map((word) => `${name}: ${word}`),
    );
    expect(unknown).toEqual([]);
  });

  it('of another release become OTHER, with the text in front of the message', () => {
    const note = { type: 'note', level: 'warn', code: 'FROM_TOMORROW', message: 'it rains' };
    expect(KeeperFrame.parse(note)).toEqual({ ...note, code: 'OTHER', message: 'FROM_TOMORROW: it rains' });
    expect(KeeperFrame.parse({ ...note, code: 'MENDED' })).toEqual({ ...note, code: 'MENDED' });
    expect(Cause.parse('FROM_TOMORROW')).toBe('OTHER');
    expect(Cause.parse('LEADER_DEAD')).toBe('LEADER_DEAD');
  });
});
