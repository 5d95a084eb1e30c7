/** The stack on which the doctor tests break things, and `doctor` for this stack. */
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

/** Limit until doctor finds a breakage, ms. */
const SEEN_MS = 60_000;
/** Limit until doctor finds nothing after the mend, ms. */
const WHOLE_MS = 120_000;

let target: Target | null = null;

/** Doctor's findings now. The stack's outputs are read only once, because they do not change. */
async function findings(): Promise<Finding[]> {
  target ??= targetOf(stack.name);
  return judge(await look(target));
}

/** Waits until doctor's findings are as wanted, and returns them. */
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

/** Waits until doctor finds `code` and at most the codes of `also` beside it; returns all findings. */
export function found(code: string, also: readonly string[]): Promise<Finding[]> {
  const fits = (codes: readonly string[]) => codes.includes(code) && codes.every((c) => c === code || also.includes(c));
  return until(code, SEEN_MS, (all) => fits(all.map((finding) => finding.code)));
}

/** Runs the command that is a finding's next step, unchanged except for `--stack` and `--yes` of `resume`. */
export async function obey({ next }: Finding): Promise<void> {
  const yes = next.replace(/^(npm run failover -- resume)$/, `$1 --stack ${stack.name} --yes`);
  await runOk('sh', ['-c', yes], { cwd: PATHS.root, env: stack.env, deadlineMs: TIMEOUTS.pulumi });
}

/** Runs `npm run failover -- …` for the stack; the result has output and exit code. */
export function failover(command: string, ...args: string[]): ReturnType<typeof run> {
  const start = [`${PATHS.root}/bin/pgfailover.mjs`, command, '--stack', stack.name, ...args];
  return run(process.execPath, start, { cwd: PATHS.root, env: stack.env, deadlineMs: TIMEOUTS.pulumi });
}
