/** A million heartbeats on a real leader whose standby is off, as in a day. */
import { z } from 'zod';
import { BEAT } from '../../failover/keeper/postgres/heartbeat';
import { NodePair, startNode } from '../keeper/node-containers';
import { docker, dockerWithin, sqlInside } from '../rig/docker';
import { waitFor } from '../rig/wait';
import { putProgram } from './bundle';
import { heldBy, repeatedly } from './node-figures';
import type { Part } from './report';

/** Beats by the keeper's own code, in the beginning and at the end; and all beats. */
const [MEASURED, BEATS] = [10_000, 1_000_000];
/** Heartbeats side by side, each with sessions of its own: one alone waits for the disk most of the time. */
const SIDE_BY_SIDE = 8;
/** The beats between come from sessions that run the same statement and commit in a loop, in so many rounds. */
const ROUNDS = 10;
/** An old snapshot is held in these rounds. */
const SNAPSHOT = { from: 3, to: 7 };
const ROUND_LIMIT_MS = 300_000;
const KEPT_MB = 96;
const CHECKPOINT_MB = 64;
const RELEASE_LIMIT_MS = 60_000;

const PORT = 17_490;
const NETWORK = 'ebt-inner';
/** A slot keeps at most {@link KEPT_MB}: so much WAL comes in a part of the run, as 4 GB do in a month. */
const pair = new NodePair({
  ...{ prefix: 'ebt', subnet: '10.211.90', port: PORT },
  postgresSettings: {
    ...{ max_slot_wal_keep_size: `${KEPT_MB}MB`, wal_keep_size: '16MB', checkpoint_timeout: '30s' },
    ...{ max_wal_size: `${CHECKPOINT_MB}MB`, min_wal_size: '16MB' },
  },
});
const { a: A, b: B } = pair;
const sql = (text: string) => sqlInside(A, text);

const FIGURES = `SELECT pg_relation_size('failover.beat'), pg_total_relation_size('failover.canary'),
  (SELECT sum(n_dead_tup) FROM pg_stat_all_tables WHERE schemaname = 'failover'),
  pg_database_size('postgres'), pg_current_wal_lsn() - '0/0'::pg_lsn,
  (SELECT max(age(datfrozenxid)) FROM pg_database), (SELECT max(mxid_age(datminmxid)) FROM pg_database),
  (SELECT sum(size) FROM pg_ls_waldir()),
  (SELECT count(*) FROM pg_replication_slots WHERE coalesce(xmin, catalog_xmin) IS NOT NULL)`;

async function figures() {
  const [beat = 0, canary = 0, dead = 0, database = 0, wal = 0, age = 0, multi = 0, walDir = 0, holding = 0] = (
    await sql(FIGURES)
  )
    .split(' ')
    .map(Number);
  return { beat, canary, dead, database, wal, age, multi, walDir, holding };
}

const MB = 1024 * 1024;
const SNAPSHOT_SQL = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 'endurance snapshot'; SELECT pg_sleep(3600)";
const END_SNAPSHOT = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
  WHERE query LIKE '%pg_sleep(3600)%' AND pid <> pg_backend_pid()`;

/** The keeper's own heartbeat in the leader's container; the median of the times of its beats, ms. */
async function keepersBeats(): Promise<number> {
  const args = ['node', '/tmp/beats.mjs', A, String(SIDE_BY_SIDE), String(MEASURED)];
  const text = await dockerWithin(ROUND_LIMIT_MS, 'exec', A, ...args);
  return z.object({ medianMs: z.number() }).parse(JSON.parse(text)).medianMs;
}

/** Beats of some sessions side by side, each committed by itself and on the disk before the next one. */
async function loopedBeats(count: number): Promise<void> {
  const beat = BEAT.replace('SELECT', 'PERFORM').replaceAll('$1', '1');
  const each = Math.ceil(count / SIDE_BY_SIDE);
  const loop = `DO $$ BEGIN FOR i IN 1..${each} LOOP ${beat}; COMMIT; END LOOP; END $$`;
  const session = ['-e', 'PGOPTIONS=-c synchronous_commit=local', A, 'psql', '-U', 'postgres', '-qc', loop];
  const one = () => dockerWithin(ROUND_LIMIT_MS, 'exec', ...session);
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, one));
}

export const BEATS_PART: Part = {
  name: 'beats',
  title: 'a million heartbeats while the standby is off, with an old snapshot for a part of them',
  run: async (report, say) => {
    try {
      await pair.start();
      await pair.monitor.done(B, 1, { kind: 'follow', leader: A, method: 'stream' });
      // A reader of the standby keeps a row of the leader: its slot has an xmin when the standby is switched off.
      await waitFor('an xmin of the slot', 20_000, async () => (await figures()).holding === 1);
      await docker('kill', B);
      const sinceMs = performance.now();
      const released = async () => (await figures()).holding === 0;
      await waitFor('no slot keeps dead rows', RELEASE_LIMIT_MS, released);
      report.note(
        `the slot of the node that is off gave up its xmin after ${((performance.now() - sinceMs) / 1_000).toFixed(0)} s`,
      );
      await putProgram(A, 'beats');
      await sql('CREATE TABLE churn (n int); INSERT INTO churn SELECT generate_series(1, 10000); DELETE FROM churn');
      await sql('VACUUM churn');
      const dead = await sql("SELECT pg_relation_size('churn')");
      report.must(dead === '0', `VACUUM left ${dead} bytes of deleted rows although no standby is there`);
      await sql('CHECKPOINT');
      const before = await figures();
      const heldBefore = await heldBy(A);
      let walMost = before.walDir;
      const note = ({ walDir }: { walDir: number }) => {
        walMost = Math.max(walMost, walDir);
      };
      const looks = repeatedly(async () => note(await figures()));
      const fromMs = performance.now();
      const firstMs = await keepersBeats();
      try {
        for (let round = 0; round < ROUNDS; round++) {
          if (round === SNAPSHOT.from) await docker('exec', '-d', A, 'psql', '-U', 'postgres', '-c', SNAPSHOT_SQL);
          if (round === SNAPSHOT.to) report.must((await sql(END_SNAPSHOT)) === '1', 'the snapshot was not held');
          await loopedBeats((BEATS - 2 * MEASURED) / ROUNDS);
          say(`round ${round + 1} of ${ROUNDS}`);
        }
      } finally {
        await looks.end();
      }
      const lastMs = await keepersBeats();
      const seconds = (performance.now() - fromMs) / 1_000;
      const after = await figures();
      await sql('CHECKPOINT');
      await waitFor('a new slot after the lost one', 60_000, async () => {
        return (await sql("SELECT bool_and(coalesce(wal_status, '') <> 'lost') FROM pg_replication_slots")) === 't';
      });
      const heldAfter = await heldBy(A);
      const done = after.age - before.age;
      report.must(done >= BEATS, `only ${done} transaction ids were taken`);
      report.note(
        `${BEATS} beats, ${SIDE_BY_SIDE} side by side, in ${seconds.toFixed(0)} s; the keeper makes as many in 28 hours. The first and last ${MEASURED} are made by the keeper’s own code, without its rests; those between by the same statement in a loop of sessions, each committed by itself`,
      );
      report.constant(`time of a beat, median of ${MEASURED}`, 'ms', firstMs, lastMs, { factor: 1.5, plus: 1 });
      report.constant('size of the heartbeat’s sequence', 'bytes', before.beat, after.beat);
      report.constant('size of the table failover.canary', 'bytes', before.canary, after.canary, { plus: 32_768 });
      report.constant('dead rows in the schema failover', '', before.dead, after.dead, { plus: 100 });
      report.constant('size of the database postgres', 'bytes', before.database, after.database, {
        factor: 1.05,
        plus: MB,
      });
      report.bounded('WAL of a beat', 'bytes', Math.round((after.wal - before.wal) / done), 400);
      report.bounded('pg_wal, largest size', 'MB', Math.round(walMost / MB), KEPT_MB + 3 * CHECKPOINT_MB);
      report.constant('replication slots', '', heldBefore.slots.length, heldAfter.slots.length);
      report.constant('slots that keep dead rows', '', before.holding, after.holding);
      report.constant('memory of the keeper', 'MB', heldBefore.rssMb, heldAfter.rssMb, { factor: 1.3, plus: 10 });
      report.constant('file handles of the keeper', '', heldBefore.handles, heldAfter.handles, { plus: 4 });
      report.note(
        `age of the oldest transaction id: ${before.age} before, ${after.age} after (each beat takes one; autovacuum freezes tables at 200 million)`,
      );
      report.must(after.multi === before.multi, 'beats took multixacts');
      // The container is made anew on its volume: a machine that is tidied up meanwhile may have removed the stopped
      // one.
      await docker('rm', '-f', B).catch(() => undefined);
      const { image, host, clusterKey, address } = pair;
      const monitor = { host, port: PORT };
      await startNode({ image, network: NETWORK, monitor, clusterKey, name: B, address: address[B] ?? '' });
      await pair.monitor.until(B, (s) => s.postgres.state === 'stopped', 'is back', 60_000);
      await pair.monitor.done(
        B,
        1,
        { kind: 'follow', leader: A, method: 'copy', replaces: pair.monitor.view(B).status?.dataId ?? '' },
        180_000,
      );
      report.note(
        'the node that was off came back by a copy: its slot had been given up, as max_slot_wal_keep_size says',
      );
    } finally {
      await pair.remove();
    }
  },
};
