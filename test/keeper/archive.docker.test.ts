/** Two real nodes whose archive hangs: the lead is handed over, and the old leader follows (S26). */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { lsnDistance } from '../../failover/contract/lsn';
import type { Status } from '../../failover/contract/messages';
import { waitFor } from '../rig/wait';
import { docker, NodePair } from './node-containers';

/** PostgreSQL waits for its archiver for as long as this runs, s. */
const HANGS_S = 300;
/** The keeper shuts PostgreSQL down by force only after 25 s. */
const STOPPED_LIMIT_MS = 10_000;

const pair = new NodePair({
  ...{ prefix: 'arc', subnet: '10.211.6', port: 17_442 },
  // It hangs once the file is there: a base backup waits for the archive, too.
  postgresSettings: { archive_mode: 'on', archive_command: `test ! -e /tmp/hangs || sleep ${HANGS_S}` },
});
const { a: A, b: B, monitor, streams } = pair;
const psql = (text: string) => docker('exec', A, 'psql', '-U', 'postgres', '-Atc', text);

beforeAll(async () => {
  await pair.start();
});

afterAll(async () => {
  await pair.remove();
});

it('hands the lead over without waiting for the archiver, and follows', async () => {
  monitor.order(B, 1, { kind: 'follow', leader: A, method: 'stream' });
  await monitor.until(B, streams, 'streams', 20_000);
  await docker('exec', A, 'touch', '/tmp/hangs');
  await psql("SELECT pg_logical_emit_message(false, 'filler', 'x'), pg_switch_wal()");
  const archives = async () => (await docker('top', A, '-eo', 'pid,args')).includes(`sleep ${HANGS_S}`);
  await waitFor('the archive command runs', 10_000, archives);
  monitor.order(A, 1, { kind: 'stop' });
  const stopped = await monitor.until(A, (s) => s.postgres.state === 'stopped', 'stopped', STOPPED_LIMIT_MS);
  expect(stopped.postgres).toMatchObject({ cleanShutdown: true });
  const shutdown = stopped.postgres.lsn;
  if (shutdown === null) throw new Error('the stopped leader has no position');
  const has = ({ postgres: { lsn } }: Status) => lsn !== null && lsnDistance(shutdown, lsn) > 0;
  await monitor.until(B, has, 'has the shutdown record', 10_000);
  await monitor.done(B, 2, { kind: 'lead', sync: { leader: B, k: 0, members: [] } });
  monitor.order(A, 2, { kind: 'follow', leader: B, method: 'stream' });
  await monitor.until(A, (s) => s.done && s.postgres.streamingFrom === B, 'follows', 30_000);
});
