/**
 * The commands `switchover` and `promote` inside the monitor's container: HTTP calls with the token from the monitor's
 * config.
 */
import type { Answer } from '../../contract/api';
import { messageOf } from '../../contract/errors';
import type { MonitorConfig } from '../../contract/inputs';
import { derivedPassword } from '../../contract/proof';
import { askMonitor } from './ask';

const LIMIT_MS = 100_000;
const ACCEPT = '--accept-data-loss';

/** Returns the exit code: 0 done, 1 refused or failed (the reason is printed), 2 wrong arguments. */
export async function switchoverCommand(
  config: MonitorConfig,
  args: readonly string[],
  print: (line: string) => void,
): Promise<number> {
  const [to = null, ...rest] = args;
  if (rest.length > 0 || to?.startsWith('-') === true) {
    print('usage: switchover [node]   without a node: whichever standby can take over');
    return 2;
  }
  return call(config, 'switchover', to === null ? {} : { to }, print);
}

/** Returns the same exit codes as {@link switchoverCommand}. */
export async function promoteCommand(
  config: MonitorConfig,
  args: readonly string[],
  print: (line: string) => void,
): Promise<number> {
  const acceptDataLoss = args.includes(ACCEPT);
  const [node, ...rest] = args.filter((a) => a !== ACCEPT);
  if (node === undefined || rest.length > 0 || node.startsWith('-')) {
    print(`usage: promote <node> [${ACCEPT}]   makes a node the leader although acknowledged writes may be lost`);
    return 2;
  }
  return call(config, 'promote', { node, acceptDataLoss }, print);
}

async function call(
  config: MonitorConfig,
  what: string,
  body: Record<string, unknown>,
  print: (line: string) => void,
): Promise<number> {
  try {
    const response = await askMonitor(what, LIMIT_MS, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${derivedPassword(config.clusterKey, 'admin')}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify(body),
    });
    const answer = (await response.json()) as Partial<Answer> & { error?: string };
    if (answer.done === true) print(`${answer.message ?? 'done'} (term ${answer.term}, ${answer.tookMs} ms)`);
    else print(`${what} refused: ${answer.error ?? answer.message ?? response.statusText}`);
    return answer.done === true ? 0 : 1;
  } catch (error) {
    print(`the monitor does not answer: ${messageOf(error)}`);
    return 1;
  }
}
