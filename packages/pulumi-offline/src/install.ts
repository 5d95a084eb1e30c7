/** Assembles the offline kit: the CLI, the language host beside it, and a Pulumi home with the providers. */
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { makeBundles } from './bundles';
import { buildCli } from './cli/build-cli';
import { CACHE_DIR, CLI_DIR, CLI_VERSION, HOME_DIR, PROJECT_DIR, PROVIDERS, pluginVersion } from './paths';

export { buildCli };

export interface Kit {
  /** Path of the CLI. */
  pulumi: string;
  /** Variables that its environment needs in addition to the existing ones. */
  env: Record<string, string>;
}

const NODE_BIN_DIR = join(PROJECT_DIR, 'node_modules/.bin');

/**
 * Creates the missing parts; takes well under a tenth of a second when none is missing.
 * @param onProgress gets a line now and then while the CLI is built
 */
export async function installKit(
  onProgress: (line: string) => void = () => undefined,
  signal?: AbortSignal,
): Promise<Kit> {
  const [pulumi, bundles] = await Promise.all([buildCli(onProgress, signal), makeBundles()]);
  const node = join(NODE_BIN_DIR, 'node');
  // All clones share the CLI, so the file beside it must find the current clone: it uses the clone's Pulumi home.
  writeShim(join(CLI_DIR, 'pulumi-language-nodejs'), 'exec "$PULUMI_HOME/pulumi-language-nodejs" "$@"');
  const host = `exec "${node}" "${bundles.languageHost}" ${CLI_VERSION.slice(1)} "$@"`;
  writeShim(join(HOME_DIR, 'pulumi-language-nodejs'), host);
  for (const provider of PROVIDERS) {
    const version = pluginVersion(provider);
    const shim = join(HOME_DIR, 'plugins', `resource-${provider}-v${version}`, `pulumi-resource-${provider}`);
    writeShim(shim, `exec "${node}" "${bundles.provider}" ${provider} ${version} "$@"`);
  }
  return { pulumi, env: kitEnv() };
}

function kitEnv(): Record<string, string> {
  return {
    PULUMI_HOME: HOME_DIR,
    PULUMI_SKIP_UPDATE_CHECK: 'true',
    // Otherwise a missing plugin costs seconds of useless download attempts before the error.
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: 'true',
    // `npm run check` checks the types, so not every command has to.
    PULUMI_NODEJS_TRANSPILE_ONLY: 'true',
    NODE_COMPILE_CACHE: join(CACHE_DIR, 'node-compile-cache'),
    PATH: [CLI_DIR, NODE_BIN_DIR, process.env.PATH].filter(Boolean).join(delimiter),
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
