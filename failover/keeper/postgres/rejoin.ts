/** Runs pg_rewind, and opens the session on the leader that a rewind and a copy need. */

import { messageOf } from '../../contract/errors';
import { REPLICATION_ROLE } from '../../contract/naming';
import { derivedPassword } from '../../contract/proof';
import { INSUFFICIENT_PRIVILEGE, type SessionRights, sessionOptions } from '../../contract/session-settings';
import { KeeperError, type Source } from '../ports';
import { conninfo } from './config-files';
import type { Place } from './place';
import { run } from './processes';
import { Session, sqlState, within } from './session';
import { askTablespaces } from './tablespaces';

const REWIND_LIMIT_MS = 3_600_000;
const SOURCE_LIMIT_MS = 3_000;

/**
 * Opens a session on the source with the settings that the replication role may set there. A source of an older version
 * has not granted all of them. Throws LEADER_UNREACHABLE.
 */
export async function openSource(source: Source, place: Place): Promise<Session> {
  const open = (rights: SessionRights) =>
    Session.open({
      ...{ host: source.address, port: place.port, database: 'postgres', user: REPLICATION_ROLE },
      ...{ applicationName: `${place.node}-rejoin`, limitMs: SOURCE_LIMIT_MS, rights },
      password: derivedPassword(place.clusterKey, 'replication'),
    });
  try {
    return await open('granted').catch((error: unknown) => {
      if (sqlState(error) !== INSUFFICIENT_PRIVILEGE) throw error;
      return open('plain');
    });
  } catch (error) {
    const words = messageOf(error);
    throw new KeeperError('LEADER_UNREACHABLE', `${source.name} (${source.address}) does not answer: ${words}`);
  }
}

/**
 * Throws LEADER_UNREACHABLE unless the source answers under its own name and is a primary. No data is thrown away
 * before that. The name is checked because the address may now belong to another node (S14). Makes the folders of the
 * source's tablespaces.
 */
export function reach(source: Source, place: Place): Promise<void> {
  return within(openSource(source, place), async (session) => {
    const question = "SELECT pg_is_in_recovery() AS recovery, current_setting('cluster_name') AS name";
    const { recovery, name } = await session.askOne<{ recovery: boolean; name: string }>('reach', question);
    if (name !== source.name) {
      throw new KeeperError('LEADER_UNREACHABLE', `the address of ${source.name} answers as ${name}`);
    }
    if (recovery) throw new KeeperError('LEADER_UNREACHABLE', `${source.name} is not a primary yet`);
    await askTablespaces(session);
  });
}

/**
 * Runs `pg_rewind` on the data, with the replication role and its grants (S12). Throws on any error, also when the data
 * was not shut down cleanly, because pg_rewind's own recovery would write a record into the leader's timeline (S3).
 */
export async function rewind(source: Source, place: Place, signal: AbortSignal): Promise<void> {
  const session = await openSource(source, place);
  session.destroy();
  const options = sessionOptions(session.rights ?? 'plain');
  const connection = conninfo(place, source.address, `${place.node}-rewind`, { options });
  const files = ['-D', place.data, `--config-file=${place.configFile}`, '--sync-method=syncfs'];
  const args = [...files, '--no-ensure-shutdown', `--source-server=${connection} dbname=postgres`];
  await run('pg_rewind', args, { limitMs: REWIND_LIMIT_MS, signal });
}
