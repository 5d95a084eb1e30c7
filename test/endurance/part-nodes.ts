/** Promotions, rewinds and copies on two real nodes, one after the other, for some minutes. */

import { NodePair } from '../keeper/node-containers';
import { sqlInside } from '../rig/docker';
import { type Held, heldBy, killPostgres } from './node-figures';
import type { Part } from './report';

const FOR_MS = 480_000;
/** What happens to the leader, in turn. */
const WAYS = ['hand-over', 'crash', 'hand-over', 'crash', 'copy'] as const;
const STEP_LIMIT_MS = 120_000;

export const NODES_PART: Part = {
  name: 'nodes',
  title: 'promotions and copies of real nodes, as many as fit in 8 minutes',
  run: async (report, say) => {
    const pair = new NodePair({ prefix: 'eno', subnet: '10.211.91', port: 17_491 });
    const { monitor } = pair;
    let [leader, standby] = [pair.a, pair.b];
    let term = 1;
    const opens: number[] = [];
    const joins: number[] = [];
    const looks: Record<string, Held>[] = [];
    const look = async () => {
      const [a, b] = await Promise.all([heldBy(pair.a), heldBy(pair.b)]);
      looks.push({ a, b });
      for (const [name, held] of [
        [pair.a, a],
        [pair.b, b],
      ] as const) {
        report.must(held.leftovers.length === 0, `${name} has ${held.leftovers.join(', ')} after term ${term}`);
      }
    };
    const lead = (node: string) =>
      monitor.done(node, term, { kind: 'lead', sync: { leader: node, k: 0, members: [] } }, STEP_LIMIT_MS);
    try {
      await pair.start();
      await monitor.until(standby, pair.streams, 'streams', STEP_LIMIT_MS);
      await sqlInside(
        leader,
        'CREATE TABLE filler AS SELECT n, repeat(md5(n::text), 30) FROM generate_series(1, 2000) n',
      );
      const endMs = performance.now() + FOR_MS;
      for (let i = 0; performance.now() < endMs; i++) {
        const way = WAYS[i % WAYS.length];
        if (way === 'crash') {
          await killPostgres(leader);
          await monitor.until(leader, (s) => s.postgres.state !== 'primary', 'has crashed', STEP_LIMIT_MS);
        }
        const stopped = way === 'crash' ? null : monitor.done(leader, term, { kind: 'stop' }, STEP_LIMIT_MS);
        await stopped;
        term += 1;
        const fromMs = performance.now();
        await lead(standby);
        opens.push(performance.now() - fromMs);
        [leader, standby] = [standby, leader];
        const replaces = way === 'copy' ? (monitor.view(standby).status?.dataId ?? '') : undefined;
        const method = way === 'copy' ? 'copy' : way === 'crash' ? 'rewind' : 'stream';
        const joinMs = performance.now();
        await monitor.done(
          standby,
          term,
          { kind: 'follow', leader, method, ...(replaces === undefined ? {} : { replaces }) },
          STEP_LIMIT_MS,
        );
        joins.push(performance.now() - joinMs);
        await sqlInside(leader, `UPDATE filler SET n = n + 1 WHERE n % 10 = ${i % 10}`);
        if (i % 10 === 9) {
          await look();
          say(`${i + 1} promotions`);
        }
      }
      await look();
      const [first, last] = [looks[0], looks.at(-1)];
      if (first === undefined || last === undefined) throw new Error('no look was taken');
      const part = Math.max(5, Math.floor(opens.length / 5));
      report.note(`${opens.length} promotions: ${WAYS.join(', ')} in turn`);
      report.times('lead ordered until done', opens, part, { factor: 1.5, plus: 100 });
      report.times('former leader ordered until it follows', joins, part, { factor: 1.5, plus: 300 });
      for (const node of ['a', 'b'] as const) {
        const [f, l] = [first[node], last[node]];
        if (f === undefined || l === undefined) continue;
        report.constant(`memory of the keeper of ${node}`, 'MB', f.rssMb, l.rssMb, { factor: 1.3, plus: 15 });
        report.constant(`file handles of the keeper of ${node}`, '', f.handles, l.handles, { plus: 4 });
        report.constant(`replication slots of ${node}`, '', f.slots.length, l.slots.length);
        report.bounded(`leftovers in the volume of ${node}`, '', l.leftovers.length, 0);
        report.bounded(`pg_wal of ${node}`, 'MB', l.walMb, 1_024 + 256);
        report.rows.push({
          what: `timeline history files of ${node}`,
          first: String(f.histories),
          last: String(l.histories),
        });
      }
      const { histories: most } = [last.a, last.b].reduce<{ histories: number }>(
        (x, y) => ((y?.histories ?? 0) > x.histories ? (y ?? x) : x),
        { histories: 0 },
      );
      report.must(most <= term, `${most} history files after ${term} terms`);
      report.note('PostgreSQL itself never removes a history file: one of some kB for each promotion');
    } finally {
      await pair.remove();
    }
  },
};
