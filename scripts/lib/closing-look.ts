/** What `up` looks at before it says that the stack serves: every node, and a write through the published port. */
import { Client } from 'pg';
import { z } from 'zod';
import { messageOf } from '../../failover/contract/errors';
import { LEFT_STOPPED } from '../../failover/contract/naming';
import { tlsMode } from '../../stack/config-values';
import { NAMES } from '../../stack/naming';
import { runOk } from './exec';
import { runForeground } from './foreground';
import { PATHS } from './paths';
import type { Ready } from './setup';
import { optionOf } from './stack';
import { seconds } from './terminal';

const OUTPUTS_MS = 60_000;
/** Limit for the wait until the nodes have carried out their orders, s. A copy that goes on is waited for beyond it. */
const SERVING_LIMIT_SECONDS = 180;
const WRITE_LIMIT_MS = 30_000;

/** Environment for what waits for the nodes. */
export function waitingFor(left: readonly string[]): NodeJS.ProcessEnv {
  return { [LEFT_STOPPED]: left.join(',') };
}

/**
 * Waits until the cluster serves, then writes as a client does.
 * @param left nodes that stay stopped
 * @returns the sentence for the person
 * @throws Error that says what does not work and what to do
 */
export async function closingLook(ready: Ready, left: readonly string[]): Promise<string> {
  const { info } = ready;
  const monitor = `${info.value('namePrefix', '')}${NAMES.monitor}`;
  const env = { ...process.env, ...waitingFor(left) };
  const wait = ['exec', '-e', LEFT_STOPPED, monitor, 'wait-serving', String(SERVING_LIMIT_SECONDS)];
  const doctor = `npm run failover -- doctor${optionOf(info)}`;
  if ((await runForeground('docker', wait, { cwd: PATHS.root, env })) !== 0)
    throw new Error(`It does not serve; what is wrong, and what to do: ${doctor}`);
  const missing = left.length === 0 ? '' : `, without ${left.join(', ')}`;
  if (!isLocal()) return `It serves${missing}: the monitor can log in. Its ports are on the machine of the engine.`;
  try {
    return `It serves${missing}: a write through port ${info.value('writePort', '5434')} took ${seconds(await writeOnce(ready))}.`;
  } catch (error) {
    throw new Error(
      `It does not serve: a write through the published port failed (${messageOf(error)}). See: ${doctor}`,
    );
  }
}

/** Whether the published ports are on this machine. */
function isLocal(host = process.env.DOCKER_HOST): boolean {
  return !host || host.startsWith('unix://');
}

/**
 * One committed record in the write-ahead log, which changes nothing in the database. The commit waits for the standbys
 * like any other.
 * @returns how long login and write took, ms
 */
async function writeOnce(ready: Ready): Promise<number> {
  const { value } = ready.info;
  const bind = value('bindAddress', '127.0.0.1');
  const password = await databasePassword(ready);
  const begin = performance.now();
  const client = new Client({
    host: bind === '0.0.0.0' ? '127.0.0.1' : bind,
    port: Number(value('writePort', '5434')),
    user: value('databaseUser', 'app'),
    database: value('databaseName', 'app'),
    password,
    ssl: tlsMode(value('tls', 'auto'), bind) === 'require' && { rejectUnauthorized: false },
    connectionTimeoutMillis: WRITE_LIMIT_MS,
    query_timeout: WRITE_LIMIT_MS,
    application_name: 'npm run up',
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query(`SELECT pg_catalog.pg_logical_emit_message(true, 'npm run up', 'a write')`);
    return performance.now() - begin;
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function databasePassword({ cli, env, info }: Ready): Promise<string> {
  const args = ['stack', 'output', '--json', '--show-secrets', '--stack', info.stack, '--non-interactive'];
  const { stdout } = await runOk(cli.command, args, { cwd: PATHS.root, env, deadlineMs: OUTPUTS_MS });
  return z.object({ databasePassword: z.string() }).parse(JSON.parse(stdout)).databasePassword;
}
