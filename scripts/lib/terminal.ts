/** Output for the person: colours and the live region, both only on a terminal. */
import { styleText } from 'node:util';

type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

/** True when a stream is a terminal that may be redrawn. */
export function isLive(stream: NodeJS.WriteStream, env: NodeJS.ProcessEnv = process.env): boolean {
  return stream.isTTY === true && !env.CI && env.TERM !== 'dumb';
}

function colours(env: NodeJS.ProcessEnv = process.env): boolean {
  return process.stdout.isTTY === true && !env.NO_COLOR;
}

/** Colours a text, or leaves it unchanged if the output shows no colours. */
export function paint(style: Style, text: string): string {
  return colours() ? styleText(style, text, { validateStream: false }) : text;
}

/** Prints a line for people. */
export function say(line = ''): void {
  process.stdout.write(`${line}\n`);
}

/** Exit code of a program whose reader has gone: 128 + SIGPIPE, as that of other Unix programs. */
const READER_GONE = 141;

/**
 * Lets this process end without a message when the reader of its output ends first, as in `pgfailover --help | head
 * -1`.
 * @param goesOn whether the process has to go on all the same
 */
export function endWithReader(goesOn: () => boolean = () => false): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      if (!goesOn()) process.exit(READER_GONE);
    });
}

/** Two columns, the second one aligned. */
export function aligned(rows: readonly (readonly [string, string])[], indent = '  '): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `${indent}${left.padEnd(width)}  ${right}`).join('\n');
}

/** Seconds for people: `0.4 s`, `83 s`. */
export function seconds(ms: number): string {
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;
}
