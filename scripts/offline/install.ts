/** Puts the offline kit together: the CLI, the language host beside it, and a Pulumi home with the providers. */
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { makeBundles } from './bundles';
import { buildCli } from './cli/build-cli';
import { CACHE_DIR, CLI_DIR, CLI_VERSION, HOME_DIR, PROJECT_DIR, PROVIDERS, pluginVersion } from './paths';

export { buildCli };

export interface Kit {
  /** Path of the CLI. */
  pulumi: string;
  /** What it needs in its environment, on top of what is there. */
  env: Record<string, string>;
}

const NODE_BIN_DIR = join(PROJECT_DIR, 'node_modules/.bin');

/**
 * Makes what is missing; costs well under a tenth of a second when nothing is.
 * @param onProgress gets a line now and then while the CLI is built
 */
export async function installKit(
  onProgress: (line: string) => void = () => undefined,
  signal?: AbortSignal,
): Promise<Kit> {
  const [pulumi, bundles] = await Promise.all([buildCli(onProgress, signal), makeBundles()]);
  const node = join(NODE_BIN_DIR, 'node');
  // The CLI is shared by all clones, so what lies beside it must lead to the clone at hand: through its Pulumi home.
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
    // Else a plugin that is missing costs seconds of vain downloads before the error.
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: 'true',
    // Types are checked by `npm run check`, not again at every command.
    PULUMI_NODEJS_TRANSPILE_ONLY: 'true',
    NODE_COMPILE_CACHE: join(CACHE_DIR, 'node-compile-cache'),
    PATH: [CLI_DIR, NODE_BIN_DIR, process.env.PATH].filter(Boolean).join(delimiter),
  };
}

/** Atomic, because another process may be running it at this moment. */
function writeShim(path: string, command: string): void {
  const content = `#!/bin/sh\n${command}\n`;
  if (existsSync(path) && readFileSync(path, 'utf8') === content) return;
  mkdirSync(join(path, '..'), { recursive: true });
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, content);
  chmodSync(temporary, 0o755);
  renameSync(temporary, path);
}
