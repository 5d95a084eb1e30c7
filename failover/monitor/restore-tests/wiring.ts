/** Connects the schedule of the tested restores with the monitor that runs. */
import { randomUUID } from 'node:crypto';
import type { BackupsAnswer, BackupsPart, RestoreTestStatus } from '../../contract/api';
import type { RepositoryName } from '../../contract/backups';
import { partsOf } from '../../contract/backups';
import type { MonitorConfig } from '../../contract/inputs';
import { PATHS, PORTS } from '../../contract/layout';
import { derivedPassword } from '../../contract/proof';
import type { Clock, Log, Seen } from '../ports';
import { FileMemory } from './memory';
import { RestoreTests } from './schedule';
import { CheckerServer } from './server';

/** The backups, and what they show of tested restores. */
interface Backups {
  list(): BackupsAnswer | null;
  testsOf: (name: RepositoryName) => RestoreTestStatus | undefined;
}

/** Begins to test restores, when the stack does. */
export async function testRestores(
  { backupCheckEveryMs: everyMs, clusterKey, settings }: MonitorConfig,
  clock: Clock,
  log: Log,
  backups: Backups,
  seen: () => Seen | undefined,
): Promise<{ stop(): void }> {
  if (everyMs === undefined || settings.backup === undefined) return { stop: () => undefined };
  const at = { address: settings.monitorAddress, port: PORTS.checkers };
  const checker = new CheckerServer(at, clusterKey, clock, log);
  const tests = new RestoreTests({
    ...{ everyMs, passphrase: derivedPassword(clusterKey, 'backup'), s3: settings.backup.s3 },
    now: () => {
      const list = backups.list();
      return { stanza: stanzaOf(seen()), places: list === null ? [] : partsOf<BackupsPart>(list) };
    },
    ...{ checker, memory: new FileMemory(PATHS.monitorVolume), clock, log, newId: randomUUID, wallMs: Date.now },
  });
  await tests.begin();
  backups.testsOf = (name) => tests.view(name);
  await checker.listen();
  tests.start();
  return { stop: () => tests.stop() };
}

/** Name of the leader's cluster in the repositories: it follows from the identity of its data. */
export function stanzaOf(seen: Seen | undefined): string | null {
  const { leader } = seen?.decision.state ?? {};
  const dataId = leader == null ? null : (seen?.observation.nodes[leader]?.status?.dataId ?? null);
  const systemId = dataId?.split(':')[0] ?? '';
  return /^\d{1,20}$/.test(systemId) ? `c${systemId}` : null;
}
