/** The command `restore-tests`: the main process of the container that tests restores. It only connects the parts. */
import { mkdir, readFile, rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { RepositoryName } from '../../contract/backups';
import { messageOf } from '../../contract/errors';
import { fromJson } from '../../contract/json';
import { PATHS, PORTS, UNUSED_SIGNALS } from '../../contract/layout';
import { type RestoreTestResult, resultMessage } from '../../contract/restore-test';
import {
  CHECKER_NAME,
  CHECKER_PROTOCOL,
  CheckerConfig,
  type FromChecker,
  type TestOrder,
  ToChecker,
} from '../../contract/restore-tests';
import { Caller } from '../../link/caller';
import { SCRATCH } from '../postgres/check-restore';
import { renderFor, whyNoS3 } from '../postgres/repositories';
import { testRestore } from '../postgres/restore-test';
import { freeBytes } from '../postgres/room';
import { Supervisor } from './supervisor';

const SPEECH = { role: 'checker', name: CHECKER_NAME, version: CHECKER_PROTOCOL, frames: ToChecker } as const;
const LOOK_MS = 1_000;
/** The container's own limit for its stop is longer, ms. */
const STOP_LIMIT_MS = 15_000;

/** Runs until the container stops. */
export async function superviseRestoreTests(log: (line: string) => void): Promise<void> {
  for (const signal of UNUSED_SIGNALS) process.on(signal, () => log(`${signal} is ignored`));
  const end: { stop(): Promise<void> } = { stop: async () => undefined };
  const stop = async () => {
    log('told to stop');
    await end.stop();
    process.exit(0);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => void stop().catch(() => process.exit(1)));
  // What a test of a former start of this container has left.
  await rm(SCRATCH, { recursive: true, force: true });
  const config = await configOf(log);
  const link = new Caller<ToChecker, FromChecker>(config, SPEECH);
  const supervisor = new Supervisor(config.key, {
    test: testOf,
    send: (frame) => link.send(frame),
    free: () => freeBytes(PATHS.nodeVolume),
    giveUp: (why) => {
      log(`cannot go on: ${why}`);
      process.exit(1);
    },
    log,
    ...{ nowMs: () => performance.now(), wallMs: Date.now },
  });
  end.stop = async () => {
    await supervisor.stop(STOP_LIMIT_MS);
    link.close();
  };
  log(`monitor at ${config.monitor.host}:${config.monitor.port}`);
  supervisor.start();
  await link.run({ connected: () => supervisor.tell(), receive: (frame) => supervisor.receive(frame), log });
}

/** Waits for the input, which comes into the container after its first start. */
async function configOf(log: (line: string) => void): Promise<CheckerConfig> {
  let told = '';
  for (;;) {
    const text = await readFile(PATHS.checkerConfig, 'utf8').catch(messageOf);
    const config = fromJson(CheckerConfig, text);
    if (config !== null) return config;
    if (told === '') log(`waits for ${PATHS.checkerConfig}`);
    told = text;
    await delay(LOOK_MS);
  }
}

/** One test, with what its order says. */
async function testOf(
  { repository, stanza, passphrase, s3, promisedMs }: TestOrder,
  ca: string | undefined,
  signal: AbortSignal,
  tell: (step: string) => void,
): Promise<RestoreTestResult> {
  const memory = PATHS.archiveRun;
  const storage = s3 && { ...s3, ...(ca !== undefined && { ca }) };
  try {
    const silent = storage === undefined ? null : await whyNoS3(storage);
    if (silent !== null) return failure(repository, silent);
    await mkdir(PATHS.archiveRun, { recursive: true, mode: 0o700 });
    const place = { data: `${SCRATCH}/data`, port: PORTS.postgres };
    const config = renderFor(passphrase, place, stanza, { local: repository === 'local', s3: storage }, memory);
    const input = { repository, config, promisedMs, ...(ca !== undefined && { ca }) };
    return await testRestore(input, { scratch: SCRATCH, memory, signal, tell });
  } catch (error) {
    return failure(repository, messageOf(error));
  } finally {
    // It has passphrase and key.
    await rm(memory, { recursive: true, force: true });
  }
}

function failure(repository: RepositoryName, message: string): RestoreTestResult {
  const nothing = { label: null, sizeBytes: null, newest: null, tookMs: 0 };
  return { repository, result: 'failed', message: resultMessage(message), ...nothing, ended: new Date().toISOString() };
}
