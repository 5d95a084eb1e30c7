/** The stack on which things are broken, and doctor as a person has it there. */
import { exitCode } from '../../../cli/doctor/command';
import { judge } from '../../../cli/doctor/judge';
import { look } from '../../../cli/doctor/look';
import type { Finding } from '../../../cli/doctor/row';
import { type Target, targetOf } from '../../../cli/target';
import { messageOf } from '../../../failover/contract/errors';
import { run, runOk } from '../../../scripts/lib/exec';
import { PATHS } from '../../../scripts/lib/paths';
import { OwnStack } from '../../rig/stack';
import { waitFor } from '../../rig/wait';
import { TIMEOUTS } from '../../timeouts';

export const stack = new OwnStack({ name: 'uic', ports: 23_000, subnet: '10.211.3', config: { backend: 'false' } });
export const SEEN = stack.seen;
export const HAPROXY = stack.container('haproxy');
export const MONITOR = stack.container('failover-monitor');
export const [LEADER = '', STANDBY = ''] = stack.nodes(1);

/** Until something that was broken is seen, and until it is whole again, ms. */
const SEEN_MS = 60_000;
const WHOLE_MS = 120_000;

let target: Target | null = null;

/** The outputs are read once for all: what they say does not change. */
async function findings(): Promise<Finding[]> {
  target ??= targetOf(stack.name);
  return judge(await look(target));
}

/** Waits until what doctor finds is as wanted, and returns it. */
async function until(what: string, limitMs: number, wanted: (all: Finding[]) => boolean): Promise<Finding[]> {
  let last: Finding[] = [];
  const look = async () => {
    last = await findings();
    return wanted(last) && last;
  };
  return waitFor(what, limitMs, look).catch((error: unknown) => {
    throw new Error(`${messageOf(error)}; last: ${JSON.stringify(last, null, 1)}`);
  });
}

/** Waits until doctor finds nothing. */
export async function whole(): Promise<void> {
  await until('a clean doctor', WHOLE_MS, (all) => exitCode(all) === 0);
}

/** Waits until doctor names a code, and beside it none but `also`; returns all that it finds then. */
export function found(code: string, also: readonly string[]): Promise<Finding[]> {
  const fits = (codes: readonly string[]) => codes.includes(code) && codes.every((c) => c === code || also.includes(c));
  return until(code, SEEN_MS, (all) => fits(all.map((finding) => finding.code)));
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
