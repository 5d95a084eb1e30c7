/** The versions of the kit's parts, and where its files lie. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/** Version of the CLI's Go module; the same as in `cli/go.mod`. */
export const CLI_VERSION = 'v3.274.1';

/** The providers in the kit. */
export const PROVIDERS = ['docker', 'command', 'random'] as const;

/** The two folders that the caller chooses, both as absolute paths. */
export interface KitPlace {
  /** Folder of the Pulumi project. Its `node_modules` has Node, the SDK and the SDKs of the providers. */
  projectDir: string;
  /** Cache folder of the user, shared by all clones of the project. Deleting it costs time, never data. */
  cacheDir: string;
}

/** Where the kit puts its parts. */
export interface KitPaths extends KitPlace {
  /** The CLI and the language host beside it (elsewhere on PATH the CLI prints a warning). */
  cliDir: string;
  /** Bundles belong to one clone, because they depend on its sources. */
  bundleDir: string;
  /** Pulumi's home folder, one for each clone. In ~/.pulumi, Pulumi would use the kit's plugins instead of the vendor's. */
  homeDir: string;
  /** The project's Node. */
  nodeBinDir: string;
}

/** Derives all paths. Nothing is looked at or made. */
export function kitPaths({ projectDir, cacheDir }: KitPlace): KitPaths {
  const clone = createHash('sha256').update(projectDir).digest('hex').slice(0, 12);
  return {
    projectDir,
    cacheDir,
    cliDir: join(cacheDir, `pulumi-${CLI_VERSION}`),
    bundleDir: join(projectDir, 'build/offline'),
    homeDir: join(cacheDir, 'homes', `${basename(projectDir)}-${clone}`),
    nodeBinDir: join(projectDir, 'node_modules/.bin'),
  };
}

/** @returns the version that the provider's SDK asks the engine for, e.g. `5.2.0`. */
export function pluginVersion(projectDir: string, provider: string): string {
  const manifest: { version: string } = JSON.parse(
    readFileSync(join(projectDir, 'node_modules/@pulumi', provider, 'package.json'), 'utf8'),
  );
  return manifest.version;
}
