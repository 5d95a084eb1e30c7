/** The pooler's supervisor: the main process of the pooler's container. This file only connects the parts. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { uptime } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { Leaf } from '../contract/certificates';
import { messageOf } from '../contract/errors';
import { PATHS, UNUSED_SIGNALS } from '../contract/layout';
import { linesTo } from '../contract/log-line';
import { PoolerConfig } from '../contract/pooler';
import { writeWhole } from '../disk/durable';
import { Bouncer } from './bouncer';
import { Encryption } from './encryption';
import { filesOf, iniOf, TLS_FILES, usersOf } from './ini';
import { MonitorLink } from './monitor-link';
import { Supervisor } from './supervisor';

const HEALTH_FILE = `${PATHS.poolerRun}/healthy`;
/** In {@link PATHS.poolerKeep}. */
const KEPT_FILE = 'certificate.json';
/** For its owner alone: the folder is, too. */
const MODE = 0o600;

const print = linesTo(process.stdout);
const log = (message: string): void => print(`${new Date().toISOString()} pooler: ${message}`);

function readConfig(): PoolerConfig {
  const result = PoolerConfig.safeParse(JSON.parse(readFileSync(PATHS.poolerConfig, 'utf8')));
  if (result.success) return result.data;
  const issues = result.error.issues.map((issue) => `${issue.path.join('.') || '(file)'}: ${issue.message}`);
  throw new Error(`${PATHS.poolerConfig} is refused: ${issues.join('; ')}`);
}

/** Writes the machine's uptime to the health file while every process answers, and removes the file otherwise. */
function tellHealth(isHealthy: boolean): void {
  if (isHealthy) writeFileSync(HEALTH_FILE, `${Math.floor(uptime())}\n`);
  else rmSync(HEALTH_FILE, { force: true });
}

/** Replaces one of PgBouncer's files, which are in memory. */
function put(path: string, text: string): Promise<void> {
  return writeWhole(dirname(path), basename(path), text, MODE, false);
}

/** Writes the files of every process, with this certificate or without one. */
async function writeFiles(config: PoolerConfig, leaf: Leaf | null): Promise<void> {
  if (leaf !== null) {
    await put(TLS_FILES.certificate, leaf.certificate);
    await put(TLS_FILES.key, leaf.key);
    if (leaf.authority !== undefined) await put(TLS_FILES.authority, leaf.authority);
  }
  const held = { leaf: leaf !== null, authority: leaf?.authority !== undefined };
  for (const pool of config.pools) {
    const { ini, users } = filesOf(pool);
    await put(users, usersOf(pool));
    await put(ini, iniOf(config, pool, held));
  }
}

async function main(): Promise<void> {
  for (const signal of UNUSED_SIGNALS) process.on(signal, () => log(`${signal} is ignored`));
  const config = readConfig();
  const link = new MonitorLink(config);
  const bouncers = config.pools.map((pool) => new Bouncer(pool, log, () => supervisor.changed()));
  const encryption = new Encryption(config, {
    write: (leaf) => writeFiles(config, leaf),
    reload: async (certificate) => {
      const shown = await Promise.all(bouncers.map((bouncer) => bouncer.reload(certificate)));
      // A process that does not answer, or has ended, reads the files when it starts again.
      return shown.some((isShown) => isShown);
    },
    keep: (text) => writeWhole(PATHS.poolerKeep, KEPT_FILE, text, MODE),
    kept: () => readFile(join(PATHS.poolerKeep, KEPT_FILE), 'utf8').catch(() => null),
    log,
  });
  const supervisor = new Supervisor(
    bouncers,
    (frame) => {
      if (frame.type === 'figures') tellHealth(frame.pools.length === bouncers.length);
      link.send(frame);
    },
    log,
    () => encryption.problem,
  );
  let stopping = false;
  const stop = async () => {
    if (stopping) return;
    stopping = true;
    log('told to stop');
    supervisor.stop();
    encryption.stop();
    link.close();
    await Promise.all(bouncers.map((bouncer) => bouncer.stop()));
    process.exit(0);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop());
  log(`${bouncers.length} processes, to HAProxy at ${config.haproxy.host}:${config.haproxy.port}`);
  await encryption.begin();
  supervisor.start();
  const linked = link.run({
    connected: () => supervisor.connected(),
    receive: (frame) => (frame.type === 'certificate' ? encryption.receive(frame) : supervisor.receive(frame)),
    log,
  });
  await encryption.ready();
  await Promise.all([linked, ...bouncers.map((bouncer) => bouncer.run())]);
}

main().catch((error: unknown) => {
  log(`cannot go on: ${messageOf(error)}`);
  process.exit(1);
});
