/** Packet filter rules for a test, in the chain DOCKER-USER: Docker asks it before its own chains. */
import { runOk } from '../../scripts/lib/exec';

/** The two IP addresses of a connection. */
export type Ends = readonly [string, string];

const CHAIN = 'DOCKER-USER';
const LIMIT_MS = 30_000;

async function iptables(...args: readonly string[]): Promise<string> {
  return (await runOk('iptables', ['-w', ...args], { deadlineMs: LIMIT_MS })).stdout.trim();
}

/**
 * Adds rules that send packets between each pair, in both directions, to the target (iptables-extensions(8)). `mark` is
 * the rules' comment; by it they are found and removed.
 */
export async function addRules(mark: string, pairs: readonly Ends[], target: readonly string[]): Promise<void> {
  const both = pairs.flatMap(([a, b]): Ends[] => [
    [a, b],
    [b, a],
  ]);
  for (const [from, to] of both) {
    const match = ['-s', `${from}/32`, '-d', `${to}/32`, '-m', 'comment', '--comment', mark];
    await iptables('-I', CHAIN, ...match, ...target);
  }
}

/** Removes every rule with the mark, also rules of a run that was killed. It may be called twice. */
export async function removeRules(mark: string): Promise<void> {
  const listed = await iptables('-S', CHAIN);
  for (const line of listed.split('\n').filter((l) => l.includes(`--comment ${mark} `)))
    await iptables('-D', ...line.split(' ').slice(1));
}
