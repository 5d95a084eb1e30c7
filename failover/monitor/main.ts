/** The monitor's process: reads its files, starts the monitor, and ends at SIGTERM or SIGINT. It has no other logic. */
import { readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Pair } from '../contract/certificates';
import { messageOf } from '../contract/errors';
import { MonitorConfig } from '../contract/inputs';
import { PATHS, PORTS, UNUSED_SIGNALS } from '../contract/layout';
import { formatJson, formatLine, linesTo } from '../contract/log-line';
import type { TlsSettings } from '../contract/messages';
import { Certificates } from './certificates';
import { FileStore } from './coordination/store';
import { FileLog } from './log';
import type { Loop } from './loop';
import { createMonitor } from './monitor';
import { Outside } from './outside/outside';
import type { Seen } from './ports';
import { testRestores } from './restore-tests/wiring';
import { ApiCertificate } from './router/api-certificate';

const LOG_FILES = 5;
/** How long the monitor's start waits for the certificate, ms; later it is handed out as a new one. */
const CERTIFICATE_LIMIT_MS = 1_000;

function readConfig(): MonitorConfig {
  const path = process.env.MONITOR_CONFIG ?? PATHS.monitorConfig;
  const parsed = MonitorConfig.safeParse(JSON.parse(readFileSync(path, 'utf8')));
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`);
  throw new Error(`${path} does not fit: ${issues.join('; ')}`);
}

/**
 * Calls `changed` on changes in a folder. If the kernel has no file watcher left, the regular looks at HAProxy still
 * find a new worker.
 */
function watchFolder(folder: string, changed: () => void): void {
  try {
    watch(folder, changed).on('error', () => undefined);
  } catch {
    // The kernel's limit of watchers is reached: inotify(7), /proc/sys/fs/inotify.
  }
}

async function main(): Promise<void> {
  const config = readConfig();
  const clock = { nowMs: () => performance.now() };
  const format = config.logFormat === 'json' ? formatJson : formatLine;
  const path = join(PATHS.logFolder, 'failover.log');
  const file = new FileLog(path, config.logSizeBytes, LOG_FILES, linesTo(process.stdout), format);
  let certificates: Certificates | undefined;
  const outside = new Outside(
    config,
    clock,
    file,
    () => monitor.parts.requests,
    () => certificates,
    () => monitor.parts.pooler.view(),
    () => monitor.parts.router.clientPlaces(),
    () => monitor.parts.backups,
  );
  for (const signal of UNUSED_SIGNALS) {
    process.on(signal, () => outside.write('INFO', 'monitor', 'SIGNAL_IGNORED', `${signal} is ignored`));
  }
  const store = await FileStore.open(PATHS.monitorVolume);
  outside.write('INFO', 'monitor', 'STARTED', `start ${store.incarnation} of the monitor for stack ${config.stack}`);
  if (config.tls !== undefined) {
    certificates = new Certificates(config.tls, config.clusterKey, { wallMs: Date.now, log: outside });
    // Files on a disk that hangs must not hold the monitor back.
    await Promise.race([certificates.look(), delay(CERTIFICATE_LIMIT_MS)]);
  }
  const tls = certificates?.settings;
  let seen: Seen | undefined;
  const monitor: Loop = createMonitor({
    nodes: config.nodes,
    policy: config.policy,
    clusterKey: config.clusterKey,
    settings: { ...config.settings, databasePassword: config.databasePassword, tls },
    listen: { address: config.settings.monitorAddress, port: PORTS.keepers },
    sockets: PATHS.haproxySockets,
    ...(config.pooler === true && { pooler: { address: config.settings.monitorAddress, port: PORTS.poolers } }),
    ...{ store, clock, log: outside },
    onDecision: (decision, observation) => {
      seen = { decision, observation };
      outside.decided(decision, observation);
    },
    onFailover: (failover) => outside.failover(failover),
  });
  await monitor.parts.keepers.listen();
  if (certificates?.leaf) monitor.parts.pooler.encrypt(certificates.leaf);
  await monitor.parts.pooler.listen();
  const restoreTests = await testRestores(config, clock, outside, monitor.parts.backups, () => seen);
  await outside.listen(PATHS.page);
  const api = config.tls?.https?.backends === true ? new ApiCertificate(PATHS.haproxySockets, outside) : null;
  const showOn = (web: Pair | null) => {
    outside.encrypt(web);
    api?.want(web);
  };
  showOn(certificates?.web ?? null);
  api?.start();
  const encrypt = (changed: TlsSettings) => {
    monitor.parts.keepers.encrypt(changed);
    if (certificates?.leaf) monitor.parts.pooler.encrypt(certificates.leaf);
  };
  const looking = tls && certificates?.watch(tls, encrypt, showOn);
  const end = (signal: string) => {
    const message = `stopped by ${signal}; the leader goes on serving, but there is no failover meanwhile`;
    outside.write('INFO', 'monitor', 'STOPPED', message);
    monitor.stop();
    outside.close();
    restoreTests.stop();
    clearInterval(looking);
    api?.stop();
    void Promise.allSettled([store.close(), file.flush()]).then(() => process.exit(0));
  };
  watchFolder(PATHS.haproxySockets, () => {
    monitor.parts.router.poke();
    if (monitor.parts.pooler.haproxyLeaves()) monitor.wake();
  });
  process.once('SIGTERM', () => end('SIGTERM'));
  process.once('SIGINT', () => end('SIGINT'));
  await monitor.run();
}

main().catch((error: unknown) => {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exit(1);
});
