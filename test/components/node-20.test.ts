/**
 * A person's own `pulumi up` runs the program with the Node that is on PATH, and 20 is promised. The types of the
 * library of Node 20 (ES2023) are therefore held against every file that the program is made of; the images run Node
 * 24.
 */
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const ROOT = join(__dirname, '../..');

/** Files that were parsed already, by name. */
const parsed = new Map<string, ts.SourceFile>();

/** The program against the library of Node 20, or one of its files with another text. */
function check(changed?: { file: string; text: string }): { files: string[]; messages: string[] } {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.convertCompilerOptionsFromJson({ ...config.compilerOptions, lib: ['es2023'] }, ROOT);
  const host = ts.createCompilerHost(options);
  host.getSourceFile = (name, language) => {
    const text = name === changed?.file ? changed.text : undefined;
    const known = text === undefined ? parsed.get(name) : undefined;
    if (known !== undefined) return known;
    const content = text ?? host.readFile(name);
    if (content === undefined) return undefined;
    const source = ts.createSourceFile(name, content, language);
    if (text === undefined) parsed.set(name, source);
    return source;
  };
  const program = ts.createProgram([join(ROOT, 'index.ts')], options, host);
  const own = program.getSourceFiles().filter(({ fileName }) => !fileName.includes('/node_modules/'));
  return {
    files: own.map(({ fileName }) => fileName.slice(ROOT.length + 1)),
    messages: ts
      .getPreEmitDiagnostics(program, changed && program.getSourceFile(changed.file))
      .map(({ file, messageText }) => `${file?.fileName ?? ''}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`),
  };
}

describe('the program on Node 20', { timeout: 60_000 }, () => {
  it('uses nothing newer', () => {
    const { files, messages } = check();
    expect(messages).toEqual([]);
    expect(files).toEqual(expect.arrayContaining(['index.ts', 'stack/config.ts', 'failover/contract/proof.ts']));
  });

  it.each(['stack/endpoints.ts', 'failover/contract/proof.ts'])('is refused with something newer in %s', (name) => {
    const newer: [string, string][] = [
      ['groupBy', 'Map.groupBy([1], (n) => n);'],
      ['groupBy', 'Object.groupBy([1], (n) => n % 2);'],
      ['fromAsync', 'void Array.fromAsync([1]);'],
      ['withResolvers', 'Promise.withResolvers();'],
      ['union', 'new Set([1]).union(new Set([2]));'],
      ['map', '[1].values().map((n) => n);'],
    ];
    const file = join(ROOT, name);
    const lines = newer.map(([, line]) => line);
    const { messages } = check({ file, text: [ts.sys.readFile(file), ...lines].join('\n') });
    const refused = messages.filter((message) => message.startsWith(`${file}: Property`));
    const names = refused.map((message) => /'(\w+)' does not exist/.exec(message)?.[1]);
    expect(names).toEqual(newer.map(([word]) => word));
  });
});
