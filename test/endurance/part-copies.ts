/** Copies that fail at different moments on a real node, and what they leave behind. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Status } from '../../failover/contract/messages';
import { NodePair, removeNode, startNode } from '../keeper/node-containers';
import { docker, sqlInside } from '../rig/docker';
import { Program } from '../rig/program';
import { waitFor } from '../rig/wait';
import { putProgram } from './bundle';
import { heldBy } from './node-figures';
import type { Part } from './report';

const COPIES = 50;
const LIMIT_MS = 120_000;
const TOOLS = ['pg_basebackup', 'pg_receivewal', 'pg_verifybackup'] as const;
/** A node on a disk of this size has room for its data and a copy, and for nothing else. */
const SMALL_DISK = 'size=420m,uid=10000,gid=10000';
const FILLER = '/var/lib/postgresql/filler';

export const COPIES_PART: Part = {
  name: 'copies',
  title: `${COPIES} copies that fail at different moments`,
  run: async (report, say) => {
    const pair = new NodePair({ prefix: 'ecp', subnet: '10.211.93', port: 17_493 });
    const { a: A, b: B, monitor, streams, image, host, clusterKey } = pair;
    const id = () => monitor.view(B).status?.dataId ?? '';
    const copy = () => monitor.order(B, 1, { kind: 'follow', leader: A, method: 'copy', replaces: id() });
    const stream = () => monitor.order(B, 1, { kind: 'follow', leader: A, method: 'stream' });
    const ended: Record<string, { failed: number; copied: number }> = {};
    const begins = () => monitor.wait(() => monitor.view(B).status?.postgres.state === 'copying', 'copies', 20_000);
    const failedOrDone = (s: Status) => s.failure !== null || (s.done && s.postgres.streamingFrom === A);

    /** Kills a tool of the copy some ms after it began. */
    const killTool = (tool: string, afterMs: number) => async () => {
      const killer = new Program('docker', ['exec', B, 'node', '/tmp/killer.mjs', tool, String(afterMs)]);
      await killer.firstLine;
      copy();
      await killer.ended;
      await monitor.until(B, failedOrDone, 'fails', LIMIT_MS);
    };
    const callOff = (afterMs: number) => async () => {
      copy();
      await begins().catch(() => undefined);
      await sleep(afterMs);
    };
    const killNode = (afterMs: number) => async () => {
      copy();
      await begins().catch(() => undefined);
      await sleep(afterMs);
      await docker('kill', B);
      await monitor.wait(() => !monitor.view(B).connected, 'break', 20_000);
      await docker('start', B);
      await monitor.until(B, (s) => s.accepted !== null, 'is back', LIMIT_MS);
    };
    const endSenders = (afterMs: number) => async () => {
      copy();
      await begins().catch(() => undefined);
      await sleep(afterMs);
      await sqlInside(A, 'SELECT count(pg_terminate_backend(pid)) FROM pg_stat_replication');
      await monitor.until(B, failedOrDone, 'fails', LIMIT_MS);
    };
    const fillDisk = (mb: number) => async () => {
      await docker('exec', B, 'sh', '-c', `head -c ${mb}M /dev/zero > ${FILLER} || true`);
      copy();
      await monitor.until(B, failedOrDone, 'fails', LIMIT_MS);
      await docker('exec', B, 'rm', '-f', FILLER);
    };
    const WAYS: Record<string, (i: number) => () => Promise<void>> = {
      'pg_basebackup killed': (i) => killTool(TOOLS[0], 40 * i),
      'pg_receivewal killed': (i) => killTool(TOOLS[1], 60 * i),
      'pg_verifybackup killed': (i) => killTool(TOOLS[2], 3 * i),
      'called off': (i) => callOff(80 * i),
      'the node killed': (i) => killNode(90 * i),
      'the leader’s senders ended': (i) => endSenders(60 * i),
    };

    /** One copy that fails; then the old data follows again, and nothing is left. */
    const one = async (name: string, fail: () => Promise<void>) => {
      const before = id();
      await fail();
      stream();
      await monitor.until(B, streams, `streams after: ${name}`, LIMIT_MS);
      const count = ended[name] ?? { failed: 0, copied: 0 };
      ended[name] = count;
      if (id() === before) count.failed += 1;
      else count.copied += 1;
      const nothingLeft = async () => {
        const [{ leftovers }, { slots }] = [await heldBy(B), await heldBy(A)];
        if (leftovers.length === 0 && slots.length === 1) return true;
        throw new Error(`${leftovers.join(' ')} and the slots ${slots.join(' ')} are left`);
      };
      await waitFor(`nothing is left after: ${name}`, LIMIT_MS, nothingLeft);
    };

    try {
      await pair.start();
      await monitor.until(B, streams, 'streams', LIMIT_MS);
      await putProgram(B, 'killer');
      await sqlInside(A, 'CREATE TABLE filler AS SELECT repeat(md5(n::text), 30) FROM generate_series(1, 20000) n');
      const before = { a: await heldBy(A), b: await heldBy(B) };
      const names = Object.keys(WAYS);
      for (let i = 0; i < COPIES - 10; i++) {
        const name = names[i % names.length] ?? '';
        await one(name, WAYS[name]?.(Math.floor(i / names.length)) ?? (async () => undefined));
        if (i % 10 === 9) say(`${i + 1} copies`);
      }
      const middle = { a: await heldBy(A), b: await heldBy(B) };
      say('a node on a small disk');
      await removeNode(B);
      await docker(
        'volume',
        'create',
        '--driver',
        'local',
        '--opt',
        'type=tmpfs',
        '--opt',
        'device=tmpfs',
        '--opt',
        `o=${SMALL_DISK}`,
        `${B}-data`,
      );
      await startNode({
        image,
        network: 'ecp-inner',
        monitor: { host, port: 17_493 },
        clusterKey,
        name: B,
        address: pair.address[B] ?? '',
      });
      await monitor.until(B, (s) => s.postgres.state === 'absent', 'is new', LIMIT_MS);
      await monitor.done(B, 1, { kind: 'follow', leader: A, method: 'copy' }, LIMIT_MS);
      for (let i = 0; i < 10; i++) await one('no room', fillDisk(150 + 12 * i));
      const after = { a: await heldBy(A), b: await heldBy(B) };
      for (const [name, { failed, copied }] of Object.entries(ended)) {
        report.note(`${name}: ${failed} failed${copied === 0 ? '' : `, ${copied} were complete before`}`);
      }
      const total = Object.values(ended).reduce((sum, { failed }) => sum + failed, 0);
      report.rows.push({ what: 'copies that failed, and the old data followed again', first: '', last: String(total) });
      report.constant('leftovers in the volume', '', 0, middle.b.leftovers.length + after.b.leftovers.length);
      report.constant('replication slots of the leader', '', before.a.slots.length, after.a.slots.length);
      report.constant('memory of the leader’s keeper', 'MB', before.a.rssMb, after.a.rssMb, { factor: 1.3, plus: 15 });
      report.constant('file handles of the leader’s keeper', '', before.a.handles, after.a.handles, { plus: 4 });
      report.constant('pg_wal of the leader', 'MB', before.a.walMb, after.a.walMb, { plus: 512 });
    } finally {
      await pair.remove();
    }
  },
};
