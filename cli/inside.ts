/** `pgfailover` inside the monitor's image, with the commands that need nothing but the monitor and HAProxy. */
import { readFileSync } from 'node:fs';
import { authorityOf } from '../failover/contract/certificates';
import { messageOf } from '../failover/contract/errors';
import { MonitorConfig } from '../failover/contract/inputs';
import { PATHS, PORTS } from '../failover/contract/layout';
import { derivedPassword } from '../failover/contract/proof';
import { endWithReader } from '../scripts/lib/terminal';
import { backupCommands } from './backup-program';
import { terminalIo } from './io';
import { runCli } from './program';
import type { Target } from './target';

/** The stack of this container, from the monitor's own config. */
function target(): Target {
  const { MONITOR_CONFIG = PATHS.monitorConfig, PGFAILOVER_URL } = process.env;
  const config = MonitorConfig.parse(JSON.parse(readFileSync(MONITOR_CONFIG, 'utf8')));
  const { haproxyAddress, databaseUser, databaseName } = config.settings;
  const values = new Map(Object.entries({ writePort: String(PORTS.haproxyWrite), databaseUser, databaseName }));
  return {
    stack: config.stack,
    info: { project: config.stack, value: (key, fallback) => values.get(key) ?? fallback },
    nodes: config.nodes.map(({ name }) => name),
    host: haproxyAddress,
    // Inside the container the monitor speaks HTTP.
    scheme: 'http',
    trust: async () => ({ authorities: [], isPublic: true }),
    monitorUrl: PGFAILOVER_URL ?? `http://127.0.0.1:${PORTS.monitorHttp}`,
    token: async () => derivedPassword(config.clusterKey, 'admin'),
    password: async () => config.databasePassword,
    requiresTls: config.tls?.mode === 'require',
    backupPassphrase: async () => derivedPassword(config.clusterKey, 'backup'),
    caCertificate: async () => (config.tls === undefined ? '' : (await authorityOf(config.tls.secret)).certificate()),
  };
}

endWithReader();
runCli(process.argv.slice(2), terminalIo({ stack: null, target }), backupCommands).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exitCode = 1;
  },
);
