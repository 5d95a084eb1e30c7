/** Runs pg_rewind, and opens the session on the leader that a rewind and a copy need. */

import { messageOf } from '../../contract/errors';
import { REPLICATION_ROLE } from '../../contract/naming';
import { derivedPassword } from '../../contract/proof';
import { INSUFFICIENT_PRIVILEGE, type SessionRights, sessionOptions } from '../../contract/session-settings';
import { KeeperError, type Source } from '../ports';
import { conninfo } from './config-files';
import { run } from './processes';
import { Session, within } from './session';
import { sqlState } from './timed-client';

const HOUR_MS = 3_600_000;
const REWIND_LIMIT_MS = HOUR_MS;
const SOURCE_LIMIT_MS = 3_000;

export interface RejoinContext {
  node: string;
  clusterKey: string;
  port: number;
  passfile: string;
  volume: string;
  data: string;
  /** Folder in which a copy is made. */
  fresh: string;
  /** Folder in which WAL is received while the copy is made. */
  wal: string;
  configFile: string;
}

/** Opens a session on the source with the replication role. Throws LEADER_UNREACHABLE. */
export async function openSource(source: Source, context: RejoinContext): Promise<Session> {
  try {
    return (await dialSource(source, context)).session;
  } catch (error) {
    const words = messageOf(error);
    throw new KeeperError('LEADER_UNREACHABLE', `${source.name} (${source.address}) does not answer: ${words}`);
  }
}

/**
 * Opens a session with the settings that the replication role may set on the source. A source of an older version has
 * not granted all of them.
 */
async function dialSource(
  source: Source,
  context: RejoinContext,
): Promise<{ session: Session; rights: SessionRights }> {
  const open = async (rights: SessionRights) => {
    const session = await Session.open({
      host: source.address,
      port: context.port,
      user: REPLICATION_ROLE,
      password: derivedPassword(context.clusterKey, 'replication'),
      database: 'postgres',
      applicationName: `${context.node}-rejoin`,
      limitMs: SOURCE_LIMIT_MS,
      rights,
    });
    return { session, rights };
  };
  try {
    return await open('granted');
  } catch (error) {
    if (sqlState(error) !== INSUFFICIENT_PRIVILEGE) throw error;
    return open('plain');
  }
}

/**
 * Throws LEADER_UNREACHABLE unless the source answers under its own name and is a primary. No data is thrown away
 * before that. The name is checked because the address may now belong to another node (S14).
 */
export function reach(source: Source, context: RejoinContext): Promise<void> {
  return within(openSource(source, context), async (session) => {
    const [row] = await session.query<{ recovery: boolean; name: string }>(
      "SELECT pg_is_in_recovery() AS recovery, current_setting('cluster_name') AS name",
    );
    if (row !== undefined && row.name !== source.name) {
      throw new KeeperError('LEADER_UNREACHABLE', `the address of ${source.name} answers as ${row.name}`);
    }
    if (row?.recovery !== false) throw new KeeperError('LEADER_UNREACHABLE', `${source.name} is not a primary yet`);
  });
}

/**
 * Runs `pg_rewind` on the data, with the replication role and its grants (S12). Throws on any error, also when the data
 * was not shut down cleanly, because pg_rewind's own recovery would write a record into the leader's timeline (S3).
 */
export async function rewind(source: Source, context: RejoinContext, signal: AbortSignal): Promise<void> {
  const { session, rights } = await dialSource(source, context);
  session.destroy();
  const options = sessionOptions(rights);
  const connection = conninfo(source.address, context.port, `${context.node}-rewind`, context.passfile, { options });
  await run(
    'pg_rewind',
    [
      '-D',
      context.data,
      '--no-ensure-shutdown',
      '--sync-method=syncfs',
      `--source-server=${connection} dbname=postgres`,
      `--config-file=${context.configFile}`,
    ],
    { limitMs: REWIND_LIMIT_MS, signal },
  );
}
