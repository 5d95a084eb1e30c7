/** Carries out a repair (repair.ts) before Pulumi runs, and tells the person each step. */
import {
  allContainers,
  allNetworks,
  allVolumes,
  connectAgain,
  type EngineContainer,
  hasImage,
  lastLines,
  removeContainer,
  startAgain,
} from './docker';
import { runOk } from './exec';
import { lockHint, staleLock } from './locks';
import { PATHS } from './paths';
import { type EngineObjects, existingFolders, NODE_ROLE, type Repair, refusalOf, repairOf } from './repair';
import type { Ready } from './setup';
import { optionOf, stackLabel } from './stack';
import { type Known, readState, type State } from './state';
import { paint, say } from './terminal';

const PULUMI_MS = 300_000;
/** After a start, a container that cannot run has ended by then, ms. */
const SETTLE_MS = 1_500;
const LOG_LINES = 5;

export interface MendOptions {
  /** Nodes that a person stopped stay stopped. */
  leaveStopped: boolean;
}

export interface Mended {
  /** Names of the nodes that were left stopped. */
  left: string[];
  /** Options for `pulumi up`. */
  options: string[];
}

/**
 * Unlocks the stack where its lock is of a Pulumi that was killed.
 * @throws Error when another Pulumi holds the lock, or may hold it.
 */
export async function unlock(ready: Ready): Promise<void> {
  const { info } = ready;
  const pid = staleLock(info);
  if (pid !== null) {
    say(`  unlocking stack ${info.stack}: the Pulumi that held the lock was killed (process ${pid})`);
    await pulumi(ready, ['cancel', '--yes']);
  }
  const locked = lockHint(info);
  if (locked) throw new Error(locked);
}

/**
 * Makes the engine's objects and Pulumi's state agree, without losing data.
 * @throws Error with one sentence and the way back where that cannot be.
 */
export async function mend(ready: Ready, options: MendOptions): Promise<Mended> {
  const state = await readState(ready);
  const engine = await lookAtEngine(state);
  const label = labelOf(ready);
  const at = process.env.DOCKER_HOST ?? 'the default address';
  const refusal = refusalOf(state.known, engine, { label, option: optionOf(ready.info), engine: at });
  if (refusal !== null) throw new Error(refusal);
  const repair = repairOf(state.known, engine, label, options);
  sayRestarting(engine.containers.filter(({ stack }) => stack === label));
  if (state.isInterrupted) await forgetHalfMade(ready, state);
  await removeStrays(repair);
  await reconnect(repair);
  const gone = [...repair.missing, ...(await startStopped(repair, state.known))];
  if (gone.length > 0) {
    say(`  gone, and made again: ${gone.map(({ kind, name }) => `${kind} ${name}`).join(', ')}`);
    await pulumi(ready, ['refresh', '--yes', '--skip-preview', ...gone.flatMap(({ urn }) => ['--target', urn])]);
  }
  for (const { kind, id, name } of repair.replace)
    say(`  gone, and made again: ${kind} ${kind === 'image' ? name : id}`);
  if (repair.left.length > 0) say(paint('yellow', `  left stopped: ${repair.left.join(', ')}`));
  return { left: repair.left, options: repair.replace.map(({ urn }) => `--replace=${urn}`) };
}

/** Clears up what an interrupted run left half made, which would be in the way of a removal. */
export async function clearHalfMade(ready: Ready): Promise<void> {
  const state = await readState(ready);
  if (!state.isInterrupted) return;
  await forgetHalfMade(ready, state);
  const engine = await lookAtEngine(state);
  await removeStrays(repairOf(state.known, engine, labelOf(ready), { leaveStopped: true }));
}

/** Value of the label on all objects of the stack. */
function labelOf({ info }: Ready): string {
  return stackLabel(info).split('=')[1] ?? '';
}

async function forgetHalfMade(ready: Ready, state: State): Promise<void> {
  say('  the last run was interrupted while it made something: the state forgets what is half made');
  await pulumi(ready, ['refresh', '--yes', '--skip-preview', '--clear-pending-creates', ...noTargets(state)]);
}

async function lookAtEngine({ known }: State): Promise<EngineObjects> {
  const images = known.filter(({ kind }) => kind === 'image').map(({ id }) => id);
  const [containers, volumes, networks, present] = await Promise.all([
    allContainers(),
    allVolumes(),
    allNetworks(),
    Promise.all(images.map(hasImage)),
  ]);
  const folders = existingFolders(known);
  return { containers, volumes, networks, images: images.filter((_, index) => present[index]), folders };
}

/**
 * A refresh of the whole state is not wanted where only the pending creates are to be dropped: one resource is enough.
 */
function noTargets({ known }: State): string[] {
  const [first] = known;
  return first === undefined ? [] : ['--target', first.urn];
}

/** The engine starts these again and again, and no `up` helps unless it changes them. */
function sayRestarting(own: readonly EngineContainer[]): void {
  for (const { name, status } of own.filter(({ state }) => state === 'restarting'))
    say(paint('yellow', `  ${name} ends again and again (${status}): docker logs ${name}`));
}

async function removeStrays({ strays }: Repair): Promise<void> {
  for (const stray of strays) {
    say(`  removing ${stray.name}, which is not the one that Pulumi knows; it is made again where it is needed`);
    await removeContainer(stray);
  }
}

async function reconnect({ reconnect: all }: Repair): Promise<void> {
  for (const { container, network } of all) {
    const is = container.networks.some(({ name }) => name === network.name)
      ? 'has another address or name on'
      : 'was taken from';
    say(`  ${container.name} ${is} network ${network.name}: connecting it as it should be`);
    await connectAgain(container, network).catch((error: Error) => say(paint('yellow', error.message)));
  }
}

/**
 * Starts what is stopped. What cannot be started is removed, for a container holds no data.
 * @returns those that were removed
 */
async function startStopped({ start }: Repair, known: readonly Known[]): Promise<Known[]> {
  const gone: Known[] = [];
  for (const container of start) {
    const leave = container.role === NODE_ROLE ? '; --leave-stopped leaves stopped nodes as they are' : '';
    say(`  ${container.name} does not run (${container.status}): starting it${leave}`);
    const result = await startAgain(container);
    if (result.code === 0) continue;
    say(paint('yellow', `  it cannot be started, so it is made again: ${result.tail.join(' ')}`));
    await removeContainer(container);
    gone.push(...known.filter(({ id }) => id === container.id));
  }
  if (start.length > gone.length) await sayEnded(start);
  return gone;
}

/** Names those that have ended at once, with what they wrote. */
async function sayEnded(started: readonly EngineContainer[]): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const ids = started.map(({ id }) => id);
  const ended = (await allContainers()).filter(({ id, state }) => ids.includes(id) && state !== 'running');
  for (const { id, name, status } of ended)
    say(paint('yellow', [`  ${name} ends at once (${status}):`, ...(await lastLines(id, LOG_LINES))].join('\n    ')));
}

async function pulumi({ cli, env, info }: Ready, args: readonly string[]): Promise<void> {
  const all = [...args, '--stack', info.stack, '--non-interactive'];
  await runOk(cli.command, all, { cwd: PATHS.root, env, deadlineMs: PULUMI_MS });
}
