/** Assembles the offline kit: the CLI, the language host beside it, and a Pulumi home with the providers. */
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { makeBundles } from './bundles';
import { buildCli } from './cli/build-cli';
import { CLI_VERSION, type KitPaths, type KitPlace, kitPaths, PROVIDERS, pluginVersion } from './place';

/** A kit that is ready to run. */
export interface Kit {
  /** Absolute path of the CLI. */
  pulumi: string;
  /** Variables that its environment needs in addition to the existing ones. */
  env: Record<string, string>;
}

/**
 * Creates the missing parts; takes well under a tenth of a second when none is missing.
 * @param onProgress gets a line now and then while the CLI is built
 * @param signal ends the build of the CLI
 * @throws Error when the CLI cannot be built, with the compiler's last lines
 */
export async function installKit(
  place: KitPlace,
  onProgress: (line: string) => void = () => undefined,
  signal?: AbortSignal,
): Promise<Kit> {
  const paths = kitPaths(place);
  const { projectDir, cliDir, homeDir, nodeBinDir } = paths;
  const [pulumi, bundles] = await Promise.all([buildCli(paths, onProgress, signal), makeBundles(paths)]);
  const node = join(nodeBinDir, 'node');
  // All clones share the CLI, so the file beside it must find the current clone: it uses the clone's Pulumi home.
  writeShim(join(cliDir, 'pulumi-language-nodejs'), 'exec "$PULUMI_HOME/pulumi-language-nodejs" "$@"');
  const host = `exec "${node}" "${bundles.languageHost}" ${CLI_VERSION.slice(1)} "$@"`;
  writeShim(join(homeDir, 'pulumi-language-nodejs'), host);
  for (const provider of PROVIDERS) {
    const version = pluginVersion(projectDir, provider);
    const shim = join(homeDir, 'plugins', `resource-${provider}-v${version}`, `pulumi-resource-${provider}`);
    writeShim(shim, `exec "${node}" "${bundles.provider}" ${provider} ${version} "$@"`);
  }
  return { pulumi, env: kitEnv(paths) };
}

function kitEnv({ cacheDir, cliDir, homeDir, nodeBinDir }: KitPaths): Record<string, string> {
  return {
    PULUMI_HOME: homeDir,
    PULUMI_SKIP_UPDATE_CHECK: 'true',
    // Otherwise a missing plugin costs seconds of useless download attempts before the error.
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: 'true',
    // `npm run check` checks the types, so not every command has to.
    PULUMI_NODEJS_TRANSPILE_ONLY: 'true',
    NODE_COMPILE_CACHE: join(cacheDir, 'node-compile-cache'),
    PATH: [cliDir, nodeBinDir, process.env.PATH].filter(Boolean).join(delimiter),
  };
}

/** The write is atomic, because another process may be running the file at this moment. */
function writeShim(path: string, command: string): void {
  const content = `#!/bin/sh\n${command}\n`;
  if (existsSync(path) && readFileSync(path, 'utf8') === content) return;
  mkdirSync(join(path, '..'), { recursive: true });
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, content);
  chmodSync(temporary, 0o755);
  renameSync(temporary, path);
}
