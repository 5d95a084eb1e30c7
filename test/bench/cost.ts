/**
 * Measures what each way to the database costs: PostgreSQL directly, an HAProxy with an empty TCP configuration, the
 * stack's HAProxy without and with TLS, and the pooler.
 *
 *     npm run bench:cost -- [--rounds 7] [--seconds 5] [--keep]
 *
 * The stack is the program's own. All ways are measured in turn, in several rounds, with one `pgbench` in one
 * container. It and the empty HAProxy are in the network of the stack's HAProxy, because the nodes admit clients from
 * its address only. So all ways have the same hops except the one that is compared. Results go to docs/results/.
 */
import { IDS, PORTS } from '../../failover/contract/layout';
import { machineSize } from '../../scripts/lib/machine-size';
import { wholeNumber } from '../../scripts/lib/options';
import { say } from '../../scripts/lib/terminal';
import { HOST } from '../../stack/topology';
import { columnOf } from '../rig/client';
import { docker } from '../rig/docker';
import { readOptions } from '../rig/options';
import { loadAverage, PRODUCT, runProgram, testedTree, today, writeResults } from '../rig/progress';
import { OwnStack } from '../rig/stack';
import { healthy } from '../rig/view';
import { waitFor } from '../rig/wait';
import { EMPTY, page, type Round, row, WORKS } from './cost-page';
import { Pgbench, type Way } from './pgbench';

const SUBNET = '10.217.50';
const PORT = 29_000;
const own = new OwnStack({
  ...{ name: 'cost', ports: PORT, subnet: SUBNET },
  config: { replicas: 1, backend: 'false', tls: 'on', pooler: 'true', poolPort: PORT + 643 },
});
const [CLIENT, EMPTY_HAPROXY] = [own.container('pgbench'), own.container('empty-haproxy')];
const EMPTY_PORT = 15_432;
/** Of pgbench's tables: 100,000 accounts each. All of it stays in PostgreSQL's memory. */
const SCALE = 5;
const WARM_UP_SECONDS = 1;
const START_LIMIT_MS = 30_000;

/** The empty HAProxy: as many threads as the stack's own (HAProxy's default), no check, no limit of a server. */
const emptyConfig = (node: string): string =>
  [
    'defaults',
    '    mode tcp',
    '    timeout connect 5s',
    '    timeout client 24h',
    '    timeout server 24h',
    'listen empty',
    `    bind :${EMPTY_PORT}`,
    `    server node ${node}:${PORTS.postgres}`,
    '',
  ].join('\n');

/** The ways, by the names that the page has for them. */
function waysTo(node: string): Record<string, Way> {
  const haproxy = { host: `${SUBNET}.${HOST.haproxy}`, port: PORTS.haproxyWrite };
  return {
    'PostgreSQL directly': { host: node, port: PORTS.postgres, sslmode: 'disable' },
    [EMPTY]: { ...haproxy, port: EMPTY_PORT, sslmode: 'disable' },
    'our HAProxy': { ...haproxy, sslmode: 'disable' },
    'our HAProxy, TLS (require)': { ...haproxy, sslmode: 'require' },
    'our HAProxy, TLS (verify-full)': { ...haproxy, sslmode: 'verify-full' },
    'our pooler': { host: `${SUBNET}.${HOST.pooler}`, port: PORTS.pooler, sslmode: 'disable' },
  };
}

/** The same image, user and rights as the stack's HAProxy. */
async function startEmptyHaproxy(config: string): Promise<void> {
  const haproxy = own.container('haproxy');
  const image = await docker('inspect', '--format', '{{.Image}}', haproxy);
  const rights = [
    '--user',
    `${IDS.haproxy}:${IDS.sockets}`,
    '--cap-drop',
    'ALL',
    '--security-opt',
    'no-new-privileges',
  ];
  const start = 'printf "%s" "$1" > /tmp/empty.cfg && exec haproxy -W -f /tmp/empty.cfg';
  await docker(
    ...['run', '-d', '--init', '--name', EMPTY_HAPROXY, '--network', `container:${haproxy}`, ...rights],
    ...['--entrypoint', 'sh', image, '-c', start, 'sh', config],
  );
}

async function removeClients(): Promise<void> {
  for (const name of [CLIENT, EMPTY_HAPROXY]) await docker('rm', '-f', name).catch(() => undefined);
}

async function measure(rounds: number, seconds: number): Promise<string> {
  const stack = own.seen;
  const { leader } = await healthy(stack);
  const node = own.addressOf(leader ?? '');
  const image = await docker('inspect', '--format', '{{.Image}}', leader ?? '');
  const ca = await own.failover('ca');
  const ways = Object.entries(waysTo(node));
  await startEmptyHaproxy(emptyConfig(node));
  const pgbench = new Pgbench(CLIENT, stack);
  await pgbench.start(image, own.container('haproxy'), ca);
  for (const [index, [name, way]] of ways.entries()) {
    if (index === 0) await pgbench.fill(way, SCALE);
    const once = () => pgbench.run(way, { clients: 1, connects: false, seconds: WARM_UP_SECONDS });
    await waitFor(`an answer by the way "${name}"`, START_LIMIT_MS, once);
  }
  const loadBefore = loadAverage();
  const results: Round[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const [work, { clients, connects }] of Object.entries(WORKS)) {
      for (const i of ways.keys()) {
        const [name, way] = ways[(i + round) % ways.length] ?? [];
        if (name === undefined || way === undefined) continue;
        const figures = await pgbench.run(way, { clients, connects, seconds });
        const result = { round: round + 1, work, way: name, ...figures };
        results.push(result);
        say(row(result));
      }
    }
  }
  const now = await healthy(stack);
  if (now.leader !== leader) throw new Error(`the leader changed from ${leader} to ${now.leader}: no result`);
  return page({
    ...{ date: today(), tree: await testedTree([...PRODUCT, 'stack', 'test/bench']), machine: machineSize() },
    versions: await versions(),
    ...{ seconds, loads: [loadBefore, loadAverage()], config: emptyConfig(node), scale: SCALE, results },
  });
}

async function versions(): Promise<string> {
  const [postgres = '?'] = await columnOf(own.seen, "SELECT current_setting('server_version')");
  const first = async (container: string, ...command: string[]) =>
    (await docker('exec', own.container(container), ...command)).split('\n')[0]?.match(/\d+\.\d+[^ ]*/)?.[0] ?? '?';
  const haproxy = await first('haproxy', 'haproxy', '-v');
  const pooler = await first('pooler', 'pgbouncer', '--version');
  return `PostgreSQL ${postgres}, HAProxy ${haproxy}, PgBouncer ${pooler}`;
}

/** @throws Error that names what is allowed. */
function readArguments() {
  const values = readOptions({ rounds: '7', seconds: '5', keep: false });
  const rounds = wholeNumber('rounds', values.rounds, 1, 100);
  return { rounds, seconds: wholeNumber('seconds', values.seconds, 1, 600), keep: values.keep };
}

async function main(): Promise<boolean> {
  const { rounds, seconds, keep } = readArguments();
  await removeClients();
  try {
    await own.up(say);
    const text = await measure(rounds, seconds);
    say(writeResults(`cost-${today()}.md`, text));
  } finally {
    await removeClients();
    if (!keep) await own.down(() => undefined);
  }
  return true;
}

runProgram(main);
