/**
 * Checks that each package.json declares exactly the packages that its code imports. In the root, `dependencies` are
 * the packages of the Pulumi program (index.ts with its imports) and of the contract; all other packages are
 * `devDependencies`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { metafileOf } from './metafile';

const ROOT = join(__dirname, '../..');

interface Manifest {
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
}

function manifestOf(folder: string): Manifest {
  return JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8')) as Manifest;
}

/** `@scope/name/file` → `@scope/name`. */
function packageOf(module: string): string {
  return /^(@[^/]+\/)?[^/]+/.exec(module)?.[0] ?? module;
}

/** Packages that the TypeScript files of a folder import, except Node's own modules. */
function importedBy(folder: string): string[] {
  const files = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' });
  const texts = files
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(ROOT, folder, name), 'utf8'));
  const imports = texts.flatMap((text) => [...text.matchAll(/(?:^|\s)(?:from|import)\s*\(?'([^'.][^']*)'/g)]);
  const modules = imports.map(([, module = '']) => module).filter((module) => !isBuiltin(module));
  return [...new Set(modules.map(packageOf))].sort();
}

/** Packages that the Pulumi program imports, also through its own modules. */
async function importedByProgram(): Promise<string[]> {
  const metafile = await metafileOf('index.ts');
  const imports = Object.values(metafile.outputs).flatMap((output) => output.imports.map(({ path }) => path));
  return [...new Set(imports.filter((path) => !isBuiltin(path)).map(packageOf))].sort();
}

describe("the root's package.json", () => {
  it('has exactly the packages of the Pulumi program and of the contract as dependencies', async () => {
    const needed = new Set([...(await importedByProgram()), ...importedBy('failover/contract')]);
    expect(Object.keys(manifestOf('.').dependencies).sort()).toEqual([...needed].sort());
  });
});

describe("the offline kit's package.json", () => {
  const kit = manifestOf('packages/pulumi-offline');

  it('has exactly the packages of its sources as dependencies', () => {
    expect(Object.keys(kit.dependencies).sort()).toEqual(importedBy('packages/pulumi-offline/src'));
  });

  it('declares every package that its tests import', () => {
    const declared = Object.keys({ ...kit.dependencies, ...kit.devDependencies });
    const imported = importedBy('packages/pulumi-offline/test');
    expect(imported).toContain('vitest');
    expect(imported.filter((name) => !declared.includes(name))).toEqual([]);
  });

  it('has the same versions as the root, so that one copy of each is installed', () => {
    const own = { ...kit.dependencies, ...kit.devDependencies };
    const root = manifestOf('.');
    const shared = Object.entries({ ...root.dependencies, ...root.devDependencies }).filter(([name]) => name in own);
    expect(shared.length).toBeGreaterThan(5);
    expect(shared.filter(([name, version]) => own[name] !== version)).toEqual([]);
  });
});
