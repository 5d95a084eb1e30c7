/** The pooler's supervisor: the main process of the pooler's container. This file only connects the parts. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { messageOf } from '../contract/errors';
import { PATHS, UNUSED_SIGNALS } from '../contract/layout';
import { linesTo } from '../contract/log-line';
import { PoolerConfig } from '../contract/pooler';
import { Bouncer } from './bouncer';
import { filesOf, iniOf, usersOf } from './ini';
import { MonitorLink } from './monitor-link';
import { Supervisor } from './supervisor';

const HEALTH_FILE = `${PATHS.poolerRun}/healthy`;
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

async function main(): Promise<void> {
  for (const signal of UNUSED_SIGNALS) process.on(signal, () => log(`${signal} is ignored`));
  const config = readConfig();
  for (const pool of config.pools) {
    const { ini, users } = filesOf(pool);
    writeFileSync(ini, iniOf(config, pool), { mode: MODE });
    writeFileSync(users, usersOf(pool), { mode: MODE });
  }
  const link = new MonitorLink(config);
  const bouncers = config.pools.map((pool) => new Bouncer(pool, log, () => supervisor.changed()));
  const supervisor = new Supervisor(
    bouncers,
    (frame) => {
      if (frame.type === 'figures') tellHealth(frame.pools.length === bouncers.length);
      link.send(frame);
    },
    log,
  );
  let stopping = false;
  const stop = async () => {
    if (stopping) return;
    stopping = true;
    log('told to stop');
    supervisor.stop();
    link.close();
    await Promise.all(bouncers.map((bouncer) => bouncer.stop()));
    process.exit(0);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop());
  log(`${bouncers.length} processes, to HAProxy at ${config.haproxy.host}:${config.haproxy.port}`);
  supervisor.start();
  await Promise.all([
    link.run({ connected: () => supervisor.connected(), receive: (frame) => supervisor.receive(frame), log }),
    ...bouncers.map((bouncer) => bouncer.run()),
  ]);
}

main().catch((error: unknown) => {
  log(`cannot go on: ${messageOf(error)}`);
  process.exit(1);
});
