/**
 * Checks a config against the stack's existing data. Values that were fixed when the data was created cannot change.
 * Pure.
 */
import { DATA_ROLE, DATABASE_LABEL, dataVolumeName, NAMES, OWNER_LABEL, ROLE_LABEL, STACK_LABEL } from './naming';
import type { Topology } from './topology';

interface Volume {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

const WAY_OUT = 'or remove the data first (npm run destroy -- --volumes)';

/**
 * Problems with keys whose change would leave the stack's data behind: a volume is never renamed, nor are the database
 * and its owner in it.
 */
export function settledProblems(topology: Topology, volumes: readonly Volume[]): string[] {
  const own = volumes.filter(
    ({ labels }) => labels[STACK_LABEL] === topology.stackLabel && labels[ROLE_LABEL] === DATA_ROLE,
  );
  const { namePrefix, databaseName, databaseUser } = topology.settings;
  const first = dataVolumeName(NAMES.primary);
  const elsewhere = own.find(({ name }) => name.endsWith(first) && name !== `${namePrefix}${first}`);
  if (elsewhere) {
    const before = elsewhere.name.slice(0, -first.length);
    return [
      `namePrefix: ${JSON.stringify(namePrefix)} is refused; the data of this stack is in volume ${elsewhere.name}, ` +
        `so it must stay ${JSON.stringify(before)}, ${WAY_OUT}`,
    ];
  }
  const data = own.find(({ name }) => name === `${namePrefix}${first}`);
  return [
    ...changed('databaseName', databaseName, data?.labels[DATABASE_LABEL]),
    ...changed('databaseUser', databaseUser, data?.labels[OWNER_LABEL]),
  ];
}

/** @param before undefined when the volume does not have this label; then no objection to the change is known. */
function changed(key: string, now: string, before: string | undefined): string[] {
  if (before === undefined || before === now) return [];
  return [
    `${key}: ${JSON.stringify(now)} is refused; the data of this stack was made with ${JSON.stringify(before)}, ` +
      `which must stay, ${WAY_OUT}`,
  ];
}
