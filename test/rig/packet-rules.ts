/** Packet filter rules of a test's own, in Docker's chain for users, which comes before Docker's own chains. */
import { runOk } from '../../scripts/lib/exec';

/** Addresses of two that talk to each other. */
export type Ends = readonly [string, string];

const CHAIN = 'DOCKER-USER';
const LIMIT_MS = 30_000;

async function iptables(...args: readonly string[]): Promise<string> {
  return (await runOk('iptables', ['-w', ...args], { deadlineMs: LIMIT_MS })).stdout.trim();
}

/** What goes between these, both ways, goes to the target (iptables-extensions(8)). `mark` tells whose rules they are. */
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

/** Removes every rule with the mark, also of a run that was killed; doing it twice does no harm. */
export async function removeRules(mark: string): Promise<void> {
  const listed = await iptables('-S', CHAIN);
  for (const line of listed.split('\n').filter((l) => l.includes(`--comment ${mark} `)))
    await iptables('-D', ...line.split(' ').slice(1));
}
