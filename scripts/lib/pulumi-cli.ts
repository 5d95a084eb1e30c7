/**
 * Which Pulumi runs: the vendor's CLI where it and its plugins are available, else the offline kit. What
 * is installed already is found without a request to the network.
 */
import { accessSync, constants, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { dependencies } from '../../package.json';
import { CLI_VERSION, installKit, type Kit, type KitPaths, kitPaths } from '../../packages/pulumi-offline/index';
import { run } from './exec';
import { cacheFolder, PATHS } from './paths';
import type { StepContext, StepResult } from './steps';

/** Address from which the vendor's CLI and plugins are downloaded. Set-up only checks whether it answers. */
const VENDOR_DOWNLOADS = 'https://get.pulumi.com/';
const PROBE_MS = 3_000;
/** After a machine could not reach the downloads, it does not try again for this time, ms. */
const PROBE_KEPT_MS = 6 * 3_600_000;
const VERSION_MS = 10_000;
const DOWNLOAD_MS = 300_000;
/** Plugins that the program needs, by their npm packages. */
const PLUGINS = ['docker', 'command', 'random'] as const;
/** Variable with the explicit choice of a person or a test: `kit` or `vendor`. */
const CHOICE = 'POSTGRES_FAILOVER_PULUMI';

/** A Pulumi CLI that is ready to run. */
export interface PulumiCli {
  kind: 'vendor' | 'kit';
  /** Absolute path of the executable. */
  command: string;
  /** One line for people that names the CLI. */
  description: string;
  /** Variables that its environment needs in addition to the person's own. */
  env: Record<string, string>;
}

/**
 * Finds a CLI or provides one: first an installed one, then the vendor's download, then the kit's build.
 * @throws Error when none can be provided, with the build's last lines.
 */
export async function provideCli(context: StepContext): Promise<{ cli: PulumiCli; result: StepResult }> {
  const choice = process.env[CHOICE];
  if (choice !== undefined && choice !== 'kit' && choice !== 'vendor')
    throw new Error(`${CHOICE}="${choice}": must be kit or vendor`);
  const vendor = choice === 'kit' ? null : await vendorAtHand();
  if (vendor) return { cli: vendor, result: { outcome: 'skipped', detail: vendor.description } };
  const kitAtHand = existsSync(join(kit().cliDir, 'pulumi'));
  if (choice !== 'kit' && (choice === 'vendor' || !kitAtHand) && (await downloadsAnswer())) {
    const downloaded = await download(context);
    if (downloaded) return { cli: downloaded, result: { outcome: 'done', detail: downloaded.description } };
  }
  if (choice === 'vendor') throw new Error(`${CHOICE}=vendor: there is no vendor's CLI and it cannot be downloaded`);
  const cli = kitCli(await installKit(kit(), context.progress, context.signal));
  return { cli, result: { outcome: kitAtHand ? 'skipped' : 'done', detail: cli.description } };
}

/** The offline kit of this clone. */
function kit(): KitPaths {
  return kitPaths({ projectDir: PATHS.root, cacheDir: cacheFolder() });
}

/** The vendor's CLI on PATH or downloaded earlier, if it answers and its plugins are here or can be downloaded. */
async function vendorAtHand(): Promise<PulumiCli | null> {
  for (const command of vendorCommands()) {
    const cli = await vendorCli(command);
    if (cli && (hasVendorPlugins() || (await downloadsAnswer()))) return cli;
  }
  return null;
}

/**
 * Executables named pulumi: first those on PATH, without the kit's and npm's wrapper, then those that were downloaded.
 */
function vendorCommands(): string[] {
  const others = [kit().cliDir, PATHS.bin];
  const onPath = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder && !others.includes(folder));
  return [...onPath, dirname(downloadedCommand())].map((folder) => join(folder, 'pulumi')).filter(isExecutable);
}

function vendorHome(): string {
  const home = process.env.PULUMI_HOME;
  return home && home !== kit().homeDir ? home : join(homedir(), '.pulumi');
}

/** Where the SDK's installer puts its CLI; npm's wrapper uses the same place. */
function downloadedCommand(): string {
  return join(vendorHome(), 'versions', sdkVersion(), 'bin', 'pulumi');
}

function sdkVersion(): string {
  return dependencies['@pulumi/pulumi'];
}

async function vendorCli(command: string): Promise<PulumiCli | null> {
  const result = await run(command, ['version'], {
    deadlineMs: VERSION_MS,
    env: { ...process.env, ...commonEnv(command) },
  });
  const version = /^v?\d+\.\d+\.\S+/m.exec(result.stdout)?.[0];
  if (result.code !== 0 || !version) return null;
  return { kind: 'vendor', command, description: `Pulumi ${version} (${command})`, env: commonEnv(command) };
}

/** True when the vendor's home has the plugins in exactly the versions that the program uses. */
function hasVendorPlugins(): boolean {
  return PLUGINS.every((name) =>
    existsSync(join(vendorHome(), 'plugins', `resource-${name}-v${dependencies[`@pulumi/${name}`]}`)),
  );
}

function kitCli({ pulumi, env }: Kit): PulumiCli {
  return { kind: 'kit', command: pulumi, description: `Pulumi ${CLI_VERSION} (offline kit, ${dirname(pulumi)})`, env };
}

/** Environment of the vendor's CLI: Node 24 first on PATH, no question for updates, no type check at each run. */
function commonEnv(command: string): Record<string, string> {
  const own = [dirname(command), PATHS.bin];
  const others = (process.env.PATH ?? '').split(delimiter).filter((folder) => !own.includes(folder));
  return {
    PATH: [...own, ...others].join(delimiter),
    PULUMI_SKIP_UPDATE_CHECK: 'true',
    // `npm test` and `npm run check` check the types; doing it at each run would cost half a second.
    PULUMI_NODEJS_TRANSPILE_ONLY: 'true',
    NODE_COMPILE_CACHE: join(cacheFolder(), 'compile'),
  };
}

/**
 * Checks within three seconds whether the vendor's downloads can be reached. A negative result is kept for some hours,
 * so that a machine without access waits only once.
 */
async function downloadsAnswer(): Promise<boolean> {
  const remembered = join(cacheFolder(), 'vendor-unreachable');
  const stat = statSync(remembered, { throwIfNoEntry: false });
  if (stat && Date.now() - stat.mtimeMs < PROBE_KEPT_MS) return false;
  try {
    const response = await fetch(VENDOR_DOWNLOADS, { method: 'HEAD', signal: AbortSignal.timeout(PROBE_MS) });
    // A proxy that forbids the address also answers.
    if (response.status < 400) return true;
  } catch {
    // The name cannot be resolved, there is no route, or there was no answer in time.
  }
  mkdirSync(cacheFolder(), { recursive: true });
  writeFileSync(remembered, `${VENDOR_DOWNLOADS} could not be reached\n`);
  return false;
}

/** Downloads the vendor's CLI of the SDK's version with the SDK's own installer; null when that fails. */
async function download(context: StepContext): Promise<PulumiCli | null> {
  context.progress(`downloading the Pulumi CLI ${sdkVersion()}`);
  // Runs in a process of its own, because the installer has no deadline.
  const script = `require('@pulumi/pulumi/automation').PulumiCommand.install({ root: ${JSON.stringify(dirname(dirname(downloadedCommand())))} }).then(() => process.exit(0), (error) => { console.error(error.message); process.exit(1); })`;
  const options = { cwd: PATHS.root, deadlineMs: DOWNLOAD_MS, onLine: context.progress, signal: context.signal };
  const result = await run(process.execPath, ['-e', script], options);
  if (result.code === 0 && isExecutable(downloadedCommand())) return vendorCli(downloadedCommand());
  context.progress(`the vendor's CLI could not be downloaded: ${result.tail.at(-1) ?? ''}`);
  return null;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** A word for the shell, quoted where it has to be. */
function quoted(word: string): string {
  return /^[\w./:@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** The line that makes plain `pulumi` work in a person's shell as it does in these commands. */
export function exportLine(cli: PulumiCli, env: NodeJS.ProcessEnv): string {
  const passphrase = ['PULUMI_CONFIG_PASSPHRASE', 'PULUMI_CONFIG_PASSPHRASE_FILE'].find(
    (key) => env[key] !== undefined,
  );
  const assignments = passphrase ? [`${passphrase}=${quoted(env[passphrase] ?? '')}`] : [];
  // The engine of a Docker context is known to the program by this variable only.
  if (env.DOCKER_HOST) assignments.push(`DOCKER_HOST=${quoted(env.DOCKER_HOST)}`);
  const settings = Object.entries(cli.env).filter(([key]) => key.startsWith('PULUMI_'));
  assignments.push(...settings.map(([key, value]) => `${key}=${quoted(value)}`));
  assignments.push(`PATH=${quoted([dirname(cli.command), PATHS.bin].join(delimiter))}:"$PATH"`);
  return `export ${assignments.join(' ')}`;
}
