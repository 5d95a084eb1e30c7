/**
 * Prepares everything that the program needs: a Docker engine that answers, the base image, a Pulumi CLI, the staged
 * build contexts and the stack itself. Existing parts stay as they are, so a second run takes about a second.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { ensureBaseImage } from './base-image';
import { ensureEngine } from './engine';
import { useOneEngine } from './engine-choice';
import { runOk } from './exec';
import { passphraseFor } from './passphrase';
import { PATHS, requireFolders } from './paths';
import { type PulumiCli, provideCli } from './pulumi-cli';
import { DEFAULT_STACK, localStateFolder, readStack, type StackInfo, stateFile } from './stack';
import { bundleImages } from './staging';
import { runSteps, type Step, type StepContext, type StepResult, stepView } from './steps';
import { paint, say, seconds } from './terminal';

const DEFAULT_BASE_IMAGE = 'debian:trixie-slim';
const STACK_INIT_MS = 60_000;

/** Result of the set-up: how to run Pulumi, and on which stack. */
export interface Ready {
  info: StackInfo;
  cli: PulumiCli;
  /** Whole environment for Pulumi: the person's own variables, the CLI's and the passphrase. */
  env: NodeJS.ProcessEnv;
}

/**
 * Parts that a command needs. `deploy`: everything; `destroy`: no images; `tests`: everything but a stack, because the
 * tests create their own; `state`: only a CLI and a stack; `cli`: only a CLI.
 */
export type Need = 'deploy' | 'destroy' | 'tests' | 'state' | 'cli';

/** What runs against a Docker engine. */
const USES_ENGINE: readonly Need[] = ['deploy', 'destroy', 'tests'];

export interface SetUpOptions {
  /** Do not report parts that were in place, and report the rest on stderr, because stdout belongs to the command. */
  silent?: boolean;
  /** Create the stack and its passphrase if they are missing. The dev stack is always created. */
  create?: boolean;
}

/**
 * Prepares what a command needs and shows only the work that was necessary.
 * @throws StepFailed when a step failed, whose message was shown already; Error when a config file is wrong, or
 *   when a folder of this product can be neither found nor made.
 */
export async function setUp(stack: string, need: Need, options: SetUpOptions = {}): Promise<Ready> {
  const begin = performance.now();
  requireFolders();
  const info = readStack(stack);
  const create = options.create === true || stack === DEFAULT_STACK;
  const passphrase = passphraseFor(info, { create });
  const dockerContext = USES_ENGINE.includes(need) ? await useOneEngine() : null;
  let cli: PulumiCli | null = null;
  const environment = (): NodeJS.ProcessEnv => ({ ...process.env, ...cli?.env, ...passphrase.env });
  const steps: Step[] = [
    // First, because building a CLI takes minutes and the other steps can run beside it.
    {
      name: 'Pulumi CLI',
      run: async (context) => {
        const provided = await provideCli(context);
        cli = provided.cli;
        return provided.result;
      },
    },
    { name: 'Docker engine', run: (context) => ensureEngine(context, dockerContext) },
    {
      name: 'base image',
      needs: ['Docker engine'],
      run: (context) => ensureBaseImage(info.value('baseImage', DEFAULT_BASE_IMAGE), context),
    },
    { name: 'build contexts', run: stageImages },
    { name: 'state folder', run: async () => makeStateFolder(info) },
    {
      name: `stack ${stack}`,
      needs: ['Pulumi CLI', 'state folder'],
      run: (context) => initStack(info, cli, environment(), context),
    },
  ];
  const wanted = stepsFor(need, create ? stack : null);
  const reports = await runSteps(
    steps.filter((step) => wanted.includes(step.name)),
    stepView({ quiet: true, stream: options.silent ? process.stderr : process.stdout }),
  );
  if (passphrase.notice) process.stderr.write(`${paint('yellow', passphrase.notice)}\n`);
  if (cli === null) throw new Error('set-up ended without a Pulumi CLI');
  const skipped = reports.filter((report) => report.outcome === 'skipped').map((report) => report.name);
  if (skipped.length > 0 && !options.silent)
    say(`  ${paint('green', '✓')} in place: ${skipped.join(', ')} (${seconds(performance.now() - begin)} in all)`);
  return { info, cli, env: environment() };
}

function stepsFor(need: Need, newStack: string | null): string[] {
  const always = ['Pulumi CLI', 'state folder'];
  const docker = ['Docker engine'];
  const images = ['base image', 'build contexts'];
  const state = newStack === null ? [] : [`stack ${newStack}`];
  const byNeed: Record<Need, string[]> = {
    deploy: [...always, ...docker, ...images, ...state],
    destroy: [...always, ...docker, ...state],
    tests: [...always, ...docker, ...images],
    state: [...always, ...state],
    cli: ['Pulumi CLI'],
  };
  return byNeed[need];
}

async function stageImages(): Promise<StepResult> {
  const changed = (await bundleImages()).filter((staged) => staged.changed.length > 0);
  if (changed.length === 0) return { outcome: 'skipped' };
  return { outcome: 'done', detail: changed.map((staged) => staged.image).join(', ') };
}

/** Creates the folder of a local state, which Pulumi requires. The program creates the log's folder. */
function makeStateFolder(info: StackInfo): StepResult {
  const state = localStateFolder(info);
  if (!state || existsSync(state)) return { outcome: 'skipped' };
  mkdirSync(state, { recursive: true });
  return { outcome: 'done' };
}

/** Creates the stack if it does not exist yet. A committed stack file keeps its salt, so `git status` stays clean. */
async function initStack(
  info: StackInfo,
  cli: PulumiCli | null,
  env: NodeJS.ProcessEnv,
  context: StepContext,
): Promise<StepResult> {
  if (cli === null) throw new Error('no Pulumi CLI');
  const state = localStateFolder(info);
  if (state && existsSync(stateFile(info, state))) return { outcome: 'skipped' };
  const options = { cwd: PATHS.root, env, deadlineMs: STACK_INIT_MS, signal: context.signal };
  // `--create` selects a stack if the backend has it already, and creates it otherwise.
  await runOk(cli.command, ['stack', 'select', '--create', info.stack, '--non-interactive'], options);
  return { outcome: 'done' };
}
