/**
 * The keeper: the main process of a PostgreSQL container, started by the engine's init. This file only connects the
 * parts.
 *
 * Options for bundling it, as scripts/lib/staging.ts does: esbuild, entry this file, `bundle`, `platform: 'node'`,
 * `format: 'esm'`, `target: 'node24'`, `external: ['pg-native']`, loader `text` for `.conf` and `.sql`, and a banner
 * that defines `require`, because pg is CommonJS.
 */
import './postgres/bundled';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { totalmem, uptime } from 'node:os';
import { messageOf } from '../contract/errors';
import { KeeperConfig } from '../contract/inputs';
import { PATHS, PORTS, UNUSED_SIGNALS } from '../contract/layout';
import { linesTo } from '../contract/log-line';
import { listenAlive } from './alive-port';
import { systemClock } from './clock';
import { Keeper } from './keeper';
import { StateFolder } from './memory';
import { checkRestore } from './postgres/check-restore';
import { checkSettings } from './postgres/check-settings';
import { lookAtRepository } from './postgres/look-at-repository';
import { placeOf } from './postgres/place';
import { Server } from './postgres/server';
import { superviseRestoreTests } from './restore-tests/main';

const HEALTH_FILE = '/run/keeper/healthy';
const HEALTH_EVERY_MS = 2_000;
const CLOSE_LIMIT_MS = 300;

const print = linesTo(process.stdout);
const log = (message: string): void => print(`${new Date().toISOString()} keeper: ${message}`);

/** The container's memory limit, bytes; null when there is none. */
function memoryLimit(): number | null {
  const bytes = process.constrainedMemory();
  return bytes > 0 && bytes < totalmem() ? bytes : null;
}

function readConfig(): KeeperConfig {
  const result = KeeperConfig.safeParse(JSON.parse(readFileSync(PATHS.keeperConfig, 'utf8')));
  if (result.success) return result.data;
  const issues = result.error.issues.map((issue) => `${issue.path.join('.') || '(file)'}: ${issue.message}`);
  throw new Error(`${PATHS.keeperConfig} is refused: ${issues.join('; ')}`);
}

/** Writes the machine's uptime to the health file while the keeper is healthy, and removes the file otherwise. */
function tellHealth(healthy: boolean): void {
  try {
    if (healthy) writeFileSync(HEALTH_FILE, `${Math.floor(uptime())}\n`);
    else rmSync(HEALTH_FILE, { force: true });
  } catch (error) {
    log(`cannot write ${HEALTH_FILE}: ${String(error)}`);
  }
}

async function main(): Promise<void> {
  for (const signal of UNUSED_SIGNALS) process.on(signal, () => log(`${signal} is ignored`));
  const config = readConfig();
  const { node, clusterKey, restoreFrom } = config;
  const postgres = new Server(placeOf(node, clusterKey, PATHS.nodeVolume), memoryLimit(), restoreFrom);
  const files = new StateFolder(`${PATHS.nodeVolume}/keeper`);
  const keeper = new Keeper({ config, postgres, clock: systemClock, files, log });
  const health = setInterval(() => tellHealth(keeper.healthy()), HEALTH_EVERY_MS);
  let terminating = false;
  const terminate = async () => {
    if (terminating) return;
    terminating = true;
    log('told to stop');
    await keeper.terminate();
    await keeper.close(CLOSE_LIMIT_MS);
    clearInterval(health);
    process.exit(0);
  };
  const fail = (error: unknown) => {
    log(`cannot go on: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    process.exit(1);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void terminate().catch(fail));
  log(`keeper of ${node}, monitor at ${config.monitors.map(({ host, port }) => `${host}:${port}`).join(', ')}`);
  listenAlive(PORTS.keeperAlive, log);
  await keeper.run(fail);
}

function fail(error: unknown): void {
  log(`cannot go on: ${messageOf(error)}`);
  process.exit(1);
}

if (process.argv[2] === 'check-settings') {
  checkSettings(memoryLimit(), (line) => process.stdout.write(`${line}\n`))
    .then((code) => process.exit(code))
    .catch(fail);
} else if (process.argv[2] === 'look-at-repository') {
  lookAtRepository((line) => process.stdout.write(`${line}\n`)).catch(fail);
} else if (process.argv[2] === 'check-restore') {
  checkRestore(
    (line) => process.stdout.write(`${line}\n`),
    (line) => process.stderr.write(`${line}\n`),
  )
    .then((code) => process.exit(code))
    .catch(fail);
} else if (process.argv[2] === 'restore-tests') {
  const say = (line: string) => print(`${new Date().toISOString()} restore tests: ${line}`);
  superviseRestoreTests(say).catch(fail);
} else main().catch(fail);
