/**
 * The commands inside the monitor's container. They are HTTP calls to the monitor, those that change something with the
 * token from the monitor's config.
 */
import type { Answer } from '../../contract/api';
import { messageOf } from '../../contract/errors';
import type { MonitorConfig } from '../../contract/inputs';
import { PORTS } from '../../contract/layout';
import { derivedPassword } from '../../contract/proof';

const LIMIT_MS = 100_000;
const ACCEPT = '--accept-data-loss';

/** Resolves with the exit code: 0 done, 1 refused or failed (the reason is printed), 2 wrong arguments. */
export type Command = (
  config: MonitorConfig,
  args: readonly string[],
  print: (line: string) => void,
) => Promise<number>;

export const switchover: Command = async (config, args, print) => {
  const [to, ...rest] = args;
  if (rest.length === 0 && to?.startsWith('-') !== true) return call(config, 'switchover', { to }, print);
  print('usage: switchover [node]   without a node: whichever standby can take over');
  return 2;
};

export const promote: Command = async (config, args, print) => {
  const acceptDataLoss = args.includes(ACCEPT);
  const [node, ...rest] = args.filter((a) => a !== ACCEPT);
  if (node !== undefined && rest.length === 0 && !node.startsWith('-')) {
    return call(config, 'promote', { node, acceptDataLoss }, print);
  }
  print(`usage: promote <node> [${ACCEPT}]   makes a node the leader although acknowledged writes may be lost`);
  return 2;
};

async function call(
  { clusterKey }: MonitorConfig,
  what: string,
  body: Record<string, unknown>,
  print: (line: string) => void,
): Promise<number> {
  try {
    const authorization = `Bearer ${derivedPassword(clusterKey, 'admin')}`;
    const headers = { authorization, 'content-type': 'application/json' };
    const response = await askMonitor(what, LIMIT_MS, { method: 'POST', headers, body: JSON.stringify(body) });
    const answer = (await response.json()) as Partial<Answer> & { error?: string };
    if (answer.done === true) print(`${answer.message ?? 'done'} (term ${answer.term}, ${answer.tookMs} ms)`);
    else print(`${what} refused: ${answer.error ?? answer.message ?? response.statusText}`);
    return answer.done === true ? 0 : 1;
  } catch (error) {
    print(`the monitor does not answer: ${messageOf(error)}`);
    return 1;
  }
}

/** Resolves with the answer, also with one that reports an error. Throws when there is none within `limitMs`. */
export function askMonitor(what: string, limitMs: number, init: RequestInit = {}): Promise<Response> {
  const url = `http://127.0.0.1:${PORTS.monitorHttp}/api/v1/${what}`;
  return fetch(url, { ...init, signal: AbortSignal.timeout(limitMs) });
}
