/**
 * Runs in a container beside real servers: asks why one can never stream from another, once or for some seconds, and
 * prints what was found.
 */
import { messageOf } from '../../failover/contract/errors';
import { Replication } from '../../failover/keeper/postgres/replication';
import { Session } from '../../failover/keeper/postgres/session';
import { ask } from '../../failover/keeper/postgres/stream-check';

const HOST = '127.0.0.1';

const [own = '', ownPort = '', leader = '', leaderPort = '', seconds = '0'] = process.argv.slice(2);
const as = { host: HOST, user: 'postgres', limitMs: 2_000, applicationName: 'test-check' };

async function once(): Promise<unknown> {
  return ask({
    leader: { name: leader, address: HOST },
    ...{ node: own, data: `/tmp/${own}/data`, timeline: null },
    openSession: () => Session.open({ ...as, port: Number(ownPort), database: 'postgres' }),
    openReplication: () => Replication.open({ ...as, port: Number(leaderPort) }),
  }).catch((error: unknown) => ({ threw: messageOf(error) }));
}

async function main(): Promise<void> {
  const found: unknown[] = [];
  const deadline = performance.now() + Number(seconds) * 1_000;
  do found.push(await once());
  while (performance.now() < deadline);
  console.log(JSON.stringify(found, (_key, value: unknown) => (typeof value === 'bigint' ? `${value}` : value)));
}

main().catch(console.error);
