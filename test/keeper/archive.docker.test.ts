/** Two real nodes whose archive fails or hangs: a copy ends, the lead is handed over, and the old leader follows (S26). */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { lsnDistance } from '../../failover/contract/lsn';
import type { Status } from '../../failover/contract/messages';
import { slotName } from '../../failover/contract/naming';
import { waitFor } from '../rig/wait';
import { docker, NodePair } from './node-containers';

/** PostgreSQL waits for its archiver for as long as this runs, s. */
const HANGS_S = 300;
/** A copy of the small database takes 3 s. */
const COPIED_LIMIT_MS = 60_000;
/** The keeper shuts PostgreSQL down by force only after 25 s. */
const STOPPED_LIMIT_MS = 10_000;

const pair = new NodePair({
  ...{ prefix: 'arc', subnet: '10.211.6', port: 17_442 },
  // It fails or hangs while one of the files is there.
  postgresSettings: {
    archive_mode: 'on',
    archive_command: `test ! -e /tmp/fails && (test ! -e /tmp/hangs || sleep ${HANGS_S})`,
  },
});
const { a: A, b: B, monitor, streams } = pair;
const psqlOn = (node: string, text: string) => docker('exec', node, 'psql', '-U', 'postgres', '-Atc', text);
const psql = (text: string) => psqlOn(A, text);

/** Writes a segment that the archive has to take. */
const fill = () => psql("SELECT pg_logical_emit_message(false, 'filler', 'x'), pg_switch_wal()");

/** Copies the leader anew, and returns how long the standby's way from the order to streaming the copy took, ms. */
async function copied(): Promise<number> {
  const { dataId } = await monitor.until(B, streams, 'streams', 20_000);
  const fromMs = performance.now();
  monitor.order(B, 1, { kind: 'follow', leader: A, method: 'copy', replaces: dataId ?? '' });
  await monitor.until(B, (s) => streams(s) && s.dataId !== dataId, 'streams a copy', COPIED_LIMIT_MS);
  const tookMs = Math.round(performance.now() - fromMs);
  expect(await psql("SELECT string_agg(slot_name, ',') FROM pg_replication_slots")).toBe(slotName(B));
  await psql('INSERT INTO rows SELECT count(*) FROM rows');
  const rows = await psql('SELECT count(*) FROM rows');
  await waitFor('the copy has all rows', 10_000, async () => (await psqlOn(B, 'SELECT count(*) FROM rows')) === rows);
  return tookMs;
}

/** Returns when PostgreSQL waits for its archiver. */
async function hang(): Promise<void> {
  await docker('exec', A, 'sh', '-c', 'rm -f /tmp/fails; touch /tmp/hangs');
  await fill();
  const runs = new RegExp(`^\\s*\\d+\\s+sleep ${HANGS_S}$`, 'm');
  const archives = async () => runs.test(await docker('top', A, '-eo', 'pid,args'));
  await waitFor('the archive command runs', 20_000, archives);
}

beforeAll(async () => {
  await pair.start();
  await psql('CREATE TABLE rows (n int)');
});

afterAll(async () => {
  await pair.remove();
});

it('copies the leader while its archive fails', async () => {
  await docker('exec', A, 'touch', '/tmp/fails');
  await fill();
  await waitFor('the archive command fails', 20_000, async () => {
    return (await psql('SELECT failed_count > 0 FROM pg_stat_archiver')) === 't';
  });
  console.log(`copied while the archive fails: ${await copied()} ms`);
});

it('copies the leader while its archive hangs', async () => {
  await hang();
  console.log(`copied while the archive hangs: ${await copied()} ms`);
});

it('hands the lead over without waiting for the archiver, and follows', async () => {
  await hang();
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
