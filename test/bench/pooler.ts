/**
 * Measures what clients of the pooler notice: a loop of single statements over one connection through planned changes,
 * and `pgbench -c 100` through kills of the leader.
 *
 *     npm run bench:pooler -- [--switchovers 20] [--images 1] [--kills 20] [--tls on] [--keep] [--stack pooled]
 *
 * The stack is the bench's own. The page in docs/results/ has every run. The exit code is 1 when a promise of the
 * pooler was broken: an error in a planned change, an error of a statement that did not run at a kill, or a lost row.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { machineSize } from '../../scripts/lib/machine-size';
import { wholeNumber } from '../../scripts/lib/options';
import { checkStackName } from '../../scripts/lib/stack';
import { say } from '../../scripts/lib/terminal';
import { ChangeStack } from '../change/stack';
import { columnOf, rowsOf } from '../rig/client';
import { docker, dockerWithin } from '../rig/docker';
import { readOptions } from '../rig/options';
import { loadAverage, runProgram, testedTree, today, writeResults } from '../rig/progress';
import { OwnStack, type Stack } from '../rig/stack';
import { healthy, untilView } from '../rig/view';
import { epochMs, waitFor } from '../rig/wait';
import { longestPauseMs, Writer } from '../rig/writer';
import { median } from './statistics';

const TABLE = 'pooled_writes';
const COUNTS = 'pooled_counts';
/** The only client of the loop: one connection through the pooler. */
const CLIENT = { name: 'pooled', paceMs: 2 };
/** Time of the loop before and after each change, ms. */
const CALM_MS = 1_500;
const LIMIT_MS = 60_000;
const POLL_MS = 10;
/** Clients of pgbench, its duration, and when the leader is killed, seconds. */
const LOAD = { clients: 100, seconds: 12, killAfter: 4 };
/** Connections to PostgreSQL of the role's pool (`poolSize`). So many statements at most run when the leader dies. */
const POOL_SIZE = 20;
/** Longest statement that a switchover may cause, and the most that it may add at the median, ms. */
const PROMISED = { longestMs: 300, medianMs: 200 };

/** What one planned change did to the loop. `calmMs`: longest pause between two acknowledgements before it. */
interface Loop {
  change: string;
  statements: number;
  errors: string[];
  longestMs: number;
  calmMs: number;
}

/** What one kill did to pgbench. */
interface Kill {
  transactions: number;
  /** Clients that ended with an error, and the distinct messages. */
  ended: number;
  messages: string[];
  /** Transactions that pgbench counted and the table does not have. */
  lost: number;
  outageMs: number;
}

/** Runs the loop through `change`, and waits until the cluster is healthy again. */
async function looped(stack: Stack, name: string, change: () => Promise<void>): Promise<Loop & { writer: Writer }> {
  const writer = new Writer({ ...stack, writePort: stack.poolPort }, { table: TABLE, clients: [CLIENT] });
  const wrote = (sinceMs: number) => writer.wroteSince(sinceMs, [CLIENT.name]);
  try {
    await waitFor('a write through the pooler', LIMIT_MS, () => wrote(0), POLL_MS);
    const calmFromMs = epochMs();
    await sleep(CALM_MS);
    const changeMs = epochMs();
    await change();
    await healthy(stack);
    const afterMs = epochMs();
    await waitFor('a write after the change', LIMIT_MS, () => wrote(afterMs), POLL_MS);
    await sleep(CALM_MS);
    await writer.stop();
    const { writes, failures } = writer;
    return {
      ...{ change: name, writer, statements: writes.length, errors: failures.map(({ message }) => message) },
      longestMs: longestPauseMs(writes, changeMs),
      calmMs: longestPauseMs(writes, calmFromMs, CLIENT.name, changeMs),
    };
  } finally {
    await writer.stop();
  }
}

/** Asks the monitor for a switchover and waits for the next leadership. */
async function switchOver(stack: Stack): Promise<void> {
  const term = (await healthy(stack)).lastFailover?.term ?? 0;
  await docker('exec', `${stack.prefix}failover-monitor`, 'switchover');
  await untilView(stack, 'a later leadership', LIMIT_MS, (now) => (now.lastFailover?.term ?? 0) > term);
}

/** `pgbench -c 100` through the pooler while the leader is killed; the table tells what was kept. */
async function killed(stack: Stack, image: string, run: number): Promise<Kill> {
  const before = await healthy(stack);
  const leader = before.leader ?? '';
  const script = `INSERT INTO ${COUNTS} VALUES (${run}, :client_id)`;
  const connection = `-h ${stack.host} -p ${stack.poolPort} -U ${stack.user} ${stack.database}`;
  const pgbench = `pgbench -n -M prepared -c ${LOAD.clients} -j 2 -T ${LOAD.seconds} -f /tmp/insert.sql ${connection}`;
  const name = `${stack.prefix}load`;
  process.env.PGPASSWORD = stack.password;
  const args = ['run', '-d', '--name', name, '--network', 'host', '--env', 'PGPASSWORD', '--entrypoint', 'sh'];
  await docker(...args, image, '-c', `echo "${script}" > /tmp/insert.sql; ${pgbench} 2>&1`);
  const writer = new Writer({ ...stack, writePort: stack.poolPort }, { table: TABLE, clients: [CLIENT] });
  try {
    const rows = async () => Number((await columnOf(stack, `SELECT count(*) FROM ${COUNTS} WHERE run = ${run}`))[0]);
    await waitFor('rows of pgbench', LIMIT_MS, async () => (await rows()) > LOAD.clients, 200);
    await sleep(LOAD.killAfter * 1_000);
    const killMs = epochMs();
    await docker('kill', leader);
    await dockerWithin(LIMIT_MS, 'wait', name);
    await writer.stop();
    await docker('start', leader);
    const output = await docker('logs', name);
    const transactions = Number(/transactions actually processed: (\d+)/.exec(output)?.[1] ?? Number.NaN);
    const errors = output.split('\n').filter((line) => /error|aborted|FATAL/i.test(line));
    const ended = new Set(errors.flatMap((line) => /client (\d+) (?:script|aborted)/.exec(line)?.[1] ?? []));
    const messages = [...new Set(errors.map((line) => line.replaceAll(/\d+/g, 'N')))];
    const kept = await rows();
    const outageMs = longestPauseMs(writer.writes, killMs);
    return { transactions, ended: ended.size, messages, lost: Math.max(0, transactions - kept), outageMs };
  } finally {
    await writer.stop();
    await docker('rm', '-f', name);
  }
}

/** Sentences about broken promises; empty when all hold. */
function brokenPromises(loops: readonly Loop[], kills: readonly Kill[], lost: number): string[] {
  const switchovers = loops.filter(({ change }) => change.startsWith('switchover'));
  const longest = Math.max(0, ...switchovers.map((loop) => loop.longestMs));
  const added = median(switchovers.map((loop) => loop.longestMs - loop.calmMs));
  return [
    ...loops.flatMap(({ change, errors }) => errors.map((error) => `${change}: ${error}`)),
    ...(longest > PROMISED.longestMs ? [`a statement took ${longest} ms in a switchover`] : []),
    ...(added > PROMISED.medianMs ? [`switchovers added ${added} ms at the median`] : []),
    ...kills.flatMap((kill, i) => {
      const failed = Number.isNaN(kill.transactions) ? [`kill ${i + 1}: pgbench did not report`] : [];
      if (kill.ended > POOL_SIZE) failed.push(`kill ${i + 1}: ${kill.ended} clients ended, the pool has ${POOL_SIZE}`);
      if (kill.lost > 0) failed.push(`kill ${i + 1}: ${kill.lost} transactions are lost`);
      return failed;
    }),
    ...(lost > 0 ? [`${lost} acknowledged statements of the loop are lost`] : []),
  ];
}

function page(loops: readonly Loop[], kills: readonly Kill[], broken: readonly string[], head: string): string {
  return [
    '# Clients of the pooler through changes and kills, measured',
    '',
    `Made by \`npm run bench:pooler\` on ${head}.`,
    'One connection through `poolPort` writes single statements. "Longest": longest time between two acknowledgements',
    'from the beginning of the change; "calm": the same before it. All times are milliseconds.',
    '',
    broken.length === 0 ? 'All promises held.' : 'Broken:',
    ...broken.map((sentence) => `- ${sentence}`),
    '',
    '| change | statements | errors | longest | calm |',
    '|---|---|---|---|---|',
    ...loops.map((l) => `| ${l.change} | ${l.statements} | ${l.errors.length} | ${l.longestMs} | ${l.calmMs} |`),
    '',
    `\`pgbench -c ${LOAD.clients} -M prepared\` (one INSERT a transaction) while the leader is killed, for ${LOAD.seconds} s each.`,
    '"Ended": clients whose statement ran at the kill and failed. "Outage": longest pause of the loop beside it.',
    '',
    '| kill | transactions | clients ended | lost | outage | messages |',
    '|---|---|---|---|---|---|',
    ...kills.map((k, i) => {
      const messages = k.messages.map((message) => message.replaceAll('|', '\\|')).join('; ');
      return `| ${i + 1} | ${k.transactions} | ${k.ended} | ${k.lost} | ${k.outageMs} | ${messages} |`;
    }),
    '',
  ].join('\n');
}

function readArguments() {
  const values = readOptions({ switchovers: '20', images: '1', kills: '20', tls: 'on', keep: false, stack: 'pooled' });
  const switchovers = wholeNumber('switchovers', values.switchovers, 0, 1_000);
  const images = wholeNumber('images', values.images, 0, 100);
  const kills = wholeNumber('kills', values.kills, 0, 1_000);
  return { ...values, switchovers, images, kills, stack: checkStackName(values.stack) };
}

async function main(): Promise<boolean> {
  const { switchovers, images, kills: killCount, tls, keep, stack: name } = readArguments();
  const config = { replicas: 1, pooler: 'true', poolSize: POOL_SIZE, tls, hangTimeout: '10s' };
  const changed = new ChangeStack(new OwnStack({ name, ports: 24_000, subnet: '10.98.74', config }));
  const loops: (Loop & { writer: Writer })[] = [];
  const kills: Kill[] = [];
  const note = (loop: Loop & { writer: Writer }) => {
    loops.push(loop);
    const errors = loop.errors.length === 0 ? '' : ` (${loop.errors[0]})`;
    say(
      `${loop.change}: longest ${loop.longestMs} ms, calm ${loop.calmMs} ms, ${loop.errors.length} errors${errors}, ${loop.statements} statements`,
    );
  };
  try {
    await changed.start({}, say);
    const stack = changed.own.seen;
    const { leader } = await healthy(stack);
    const image = await docker('inspect', '--format', '{{.Image}}', leader ?? '');
    await rowsOf(stack, `CREATE TABLE IF NOT EXISTS ${TABLE} (id text)`);
    await rowsOf(stack, `DROP TABLE IF EXISTS ${COUNTS}`);
    await rowsOf(stack, `CREATE TABLE ${COUNTS} (run integer, client integer)`);
    for (let i = 1; i <= switchovers; i++) note(await looped(stack, `switchover ${i}`, () => switchOver(stack)));
    for (const name of Array.from({ length: images }, () => ['postgres', 'haproxy'] as const).flat()) {
      changed.renewImage(name);
      note(await looped(stack, `new image: ${name}`, () => changed.up(() => undefined)));
    }
    for (let i = 1; i <= killCount; i++) {
      const kill = await killed(stack, image, i);
      kills.push(kill);
      say(
        `kill ${i}: ${kill.transactions} transactions, ${kill.ended} clients ended, ${kill.lost} lost, ${kill.outageMs} ms`,
      );
    }
    const there = new Set(await columnOf(stack, `SELECT id FROM ${TABLE}`));
    const lost = loops.flatMap(({ writer }) => writer.acknowledged).filter((id) => !there.has(id)).length;
    const broken = brokenPromises(loops, kills, lost);
    const head = `${today()} at ${await testedTree()}, tls ${tls}: ${machineSize()}, load average ${loadAverage()}`;
    say(writeResults(`pooler-${today()}.md`, page(loops, kills, broken, head)));
    for (const sentence of broken) say(sentence);
    return broken.length === 0;
  } finally {
    if (!keep) await changed.own.down(() => undefined);
  }
}

runProgram(main);
