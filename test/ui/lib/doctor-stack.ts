/** The stack on which things are broken, and doctor as a person has it there. */
import { exitCode } from '../../../cli/doctor/command';
import { judge } from '../../../cli/doctor/judge';
import { look } from '../../../cli/doctor/look';
import type { Finding } from '../../../cli/doctor/row';
import { type Target, targetOf } from '../../../cli/target';
import { run, runOk } from '../../../scripts/lib/exec';
import { PATHS } from '../../../scripts/lib/paths';
import { waitFor } from '../../e2e/lib/wait';
import { OwnStack } from '../../lib/own-stack';
import { TIMEOUTS } from '../../timeouts';

export const DATABASE = 'blink_db';
export const USER = 'blink_user';
export const PASSWORD = 'uic-12345';
export const WRITE_PORT = 23434;

export const stack = new OwnStack({
  name: 'uic',
  config: {
    subnet: '10.211.3.0/24',
    writePort: WRITE_PORT,
    readPort: 23435,
    statsPort: 23500,
    backendPort: 23800,
    monitorPort: 23808,
    backend: 'false',
    databaseName: DATABASE,
    databaseUser: USER,
    databasePassword: PASSWORD,
    // The lead stays where the first `up` put it.
    switchback: 'false',
  },
});

export const HAPROXY = 'uic-haproxy';
export const MONITOR = 'uic-failover-monitor';
export const LEADER = 'uic-postgres-primary';
export const STANDBY = 'uic-postgres-replica-1';

/** Until something that was broken is seen, and until it is whole again, ms. */
const SEEN_MS = 60_000;
const WHOLE_MS = 120_000;

let target: Target | null = null;

/** The outputs are read once for all: what they say does not change. */
async function findings(): Promise<Finding[]> {
  target ??= targetOf(stack.name);
  return judge(await look(target));
}

/** Waits until doctor finds nothing. */
export async function whole(): Promise<void> {
  let last: Finding[] = [];
  await waitFor('a clean doctor', WHOLE_MS, async () => {
    last = await findings();
    return exitCode(last) === 0 ? true : null;
  }).catch((error: unknown) => {
    throw new Error(`${error instanceof Error ? error.message : error}; last: ${JSON.stringify(last, null, 1)}`);
  });
}

/** Waits until doctor names a code, and beside it none but `also`; returns all that it finds then. */
export async function found(code: string, also: readonly string[]): Promise<Finding[]> {
  let last: Finding[] = [];
  return waitFor(code, SEEN_MS, async () => {
    last = await findings();
    const codes = last.map((finding): string => finding.code);
    return codes.includes(code) && codes.every((one) => one === code || also.includes(one)) ? last : null;
  }).catch((error: unknown) => {
    throw new Error(`${error instanceof Error ? error.message : error}; last: ${JSON.stringify(last, null, 1)}`);
  });
}

export async function docker(...args: string[]): Promise<string> {
  return (await runOk('docker', args, { deadlineMs: TIMEOUTS.dockerStop })).stdout.trim();
}

/** A statement by the superuser inside a node. */
export function sql(node: string, statement: string): Promise<string> {
  return docker('exec', node, 'psql', '-XAtq', '-U', 'postgres', '-d', 'postgres', '-c', statement);
}

/** Does what doctor says, to the letter. */
export async function obey({ next }: Finding): Promise<void> {
  const yes = next.replace(/^(npm run failover -- resume)$/, `$1 --stack ${stack.name} --yes`);
  await runOk('sh', ['-c', yes], { cwd: PATHS.root, env: stack.env, deadlineMs: TIMEOUTS.pulumi });
}

/** `npm run failover -- …` with its exit code. */
export function failover(command: string, ...args: string[]): ReturnType<typeof run> {
  const start = [`${PATHS.root}/bin/pgfailover.mjs`, command, '--stack', stack.name, ...args];
  return run(process.execPath, start, { cwd: PATHS.root, env: stack.env, deadlineMs: TIMEOUTS.pulumi });
}
