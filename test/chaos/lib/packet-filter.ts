/** Cuts between pairs of containers: rules in Docker's own chain for users, which come before its own. */
import { host } from './docker';
import { addressOf, STACK } from './stack';

export type Pair = readonly [string, string];

const CHAIN = 'DOCKER-USER';
/** Marks the rules as ours, so that those of a run that was killed can be found. */
const MARK = ['-m', 'comment', '--comment', STACK.name];

function rules(pairs: readonly Pair[]): string[][] {
  return pairs
    .flatMap(([a, b]) => [
      [a, b],
      [b, a],
    ])
    .map(([from = '', to = '']) => ['-s', `${addressOf(from)}/32`, '-d', `${addressOf(to)}/32`, ...MARK, '-j', 'DROP']);
}

/** Drops everything between the pairs, both ways. Returns how to mend it; mending twice does no harm. */
export async function cut(pairs: readonly Pair[]): Promise<() => Promise<void>> {
  for (const rule of rules(pairs)) await host('iptables', '-w', '-I', CHAIN, ...rule);
  return mendAll;
}

/** Removes every rule with our mark. */
export async function mendAll(): Promise<void> {
  const listed = await host('iptables', '-w', '-S', CHAIN);
  for (const line of listed.split('\n').filter((l) => l.includes(`--comment ${STACK.name} `)))
    await host('iptables', '-w', '-D', ...line.split(' ').slice(1));
}
