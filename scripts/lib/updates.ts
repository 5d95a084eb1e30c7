/** Which of an image's Debian packages are older than Debian's newest, asked in a container that is thrown away. */
import { run } from './exec';

/** The engine may take so long to make and remove the container, on top of the limit for the question, ms. */
const ENGINE_MS = 15_000;
/** How many packages a sentence names. */
const NAMED_MAX = 4;

export interface Update {
  package: string;
  /** Version in the image. */
  has: string;
  /** Version in the archive. */
  newest: string;
}

/** `unknown`: the archive could not be asked, for example without a network. */
export type Answer = { kind: 'known'; updates: Update[] } | { kind: 'unknown'; reason: string };

/**
 * Asks the archive that the image itself names. A package list of which a part is missing counts as no answer. apt
 * stays root, because its own user cannot reach a proxy's certificate in every image.
 */
const ASK = [
  'set -- -o APT::Sandbox::User=root -o APT::Update::Error-Mode=any -o Acquire::Retries=0 -o Acquire::http::Timeout=10',
  'apt-get "$@" -qq update && apt-get "$@" --simulate --with-new-pkgs upgrade',
].join('\n');

/** @param limitMs the most that the archive may take to answer. */
export async function updatesOf(image: string, limitMs: number): Promise<Answer> {
  const limit = String(Math.ceil(limitMs / 1000));
  const container = ['run', '--rm', '--init', '--no-healthcheck', '--user', '0:0', '--env', 'LC_ALL=C'];
  const result = await run('docker', [...container, image, 'timeout', limit, 'sh', '-c', ASK], {
    deadlineMs: limitMs + ENGINE_MS,
  });
  if (result.code === 0) return { kind: 'known', updates: upgradesIn(result.stdout) };
  if (result.code === 124) return { kind: 'unknown', reason: `no answer within ${limit} s` };
  const words = result.tail.filter((line) => /^[EW]: /.test(line)).map((line) => line.slice('E: '.length));
  return { kind: 'unknown', reason: words[0] ?? result.tail.at(-1) ?? `exit code ${result.code}` };
}

/**
 * The upgrades in what `apt-get --simulate` prints: `Inst libc6 [2.41-12] (2.41-12+deb13u1 Debian:13.2/stable
 * [amd64])`.
 */
export function upgradesIn(text: string): Update[] {
  return [...text.matchAll(/^Inst (\S+) \[([^\]\s]+)\] \((\S+) /gm)].map(([, name = '', has = '', newest = '']) => ({
    ...{ package: name, has, newest },
  }));
}

/** The updates in words, PostgreSQL's own first: `postgresql-17 17.6-0+deb13u1 → 17.7-0+deb13u1 and 3 more`. */
export function inWords(updates: readonly Update[]): string {
  const isServer = (one: Update) => /^postgresql-\d+$/.test(one.package);
  const sorted = [...updates.filter(isServer), ...updates.filter((one) => !isServer(one))];
  const named = sorted.slice(0, NAMED_MAX).map((one) => `${one.package} ${one.has} → ${one.newest}`);
  const more = sorted.length - named.length;
  return `${named.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
