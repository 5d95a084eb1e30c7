/**
 * What the commands use besides the monitor: the terminal, time and other programs. Tests use their own implementation.
 */
import { createInterface } from 'node:readline/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../scripts/lib/exec';
import { runForeground } from '../scripts/lib/foreground';
import { isLive, paint, say } from '../scripts/lib/terminal';
import type { Paint } from './render';
import type { Run } from './superuser';
import type { Target } from './target';

export interface Io {
  out: (line: string) => void;
  err: (line: string) => void;
  paint: Paint;
  /** Clears the screen before the next output; null: stdout is not a terminal that may be redrawn. */
  clear: (() => void) | null;
  /** Asks the person for confirmation; null: there is no person to ask. */
  confirm: ((question: string) => Promise<boolean>) | null;
  /** All of stdin, up to {@link INPUT_BYTES_MAX}. */
  input: () => Promise<string>;
  sleep: (ms: number) => Promise<void>;
  /** Aborted to end a command that runs until it is stopped. */
  stopped: AbortSignal;
  /** The stack that is meant when none is named; null: there is only one. */
  stack: string | null;
  target: (stack?: string) => Target;
  /** Runs a program on this terminal and returns its exit code. */
  foreground: (command: string, args: readonly string[], env: NodeJS.ProcessEnv) => Promise<number>;
  run: Run;
}

/** What is beyond it is not read. */
const INPUT_BYTES_MAX = 65_536;
const CLEAR = '\x1b[H\x1b[2J';

/** The real terminal, for the stacks that `target` finds. */
export function terminalIo({ stack, target }: Pick<Io, 'stack' | 'target'>): Io {
  return {
    out: say,
    err: (line) => process.stderr.write(`${line}\n`),
    paint,
    clear: isLive(process.stdout) ? () => process.stdout.write(CLEAR) : null,
    confirm: process.stdin.isTTY === true ? ask : null,
    input,
    sleep: (ms) => sleep(ms),
    // Ctrl-C ends the whole process (scripts/lib/command.ts).
    stopped: new AbortController().signal,
    ...{ stack, target },
    foreground: (command, args, env) => runForeground(command, args, { cwd: process.cwd(), env }),
    run,
  };
}

async function input(): Promise<string> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of process.stdin) {
    pieces.push(Buffer.from(piece));
    bytes += pieces.at(-1)?.length ?? 0;
    if (bytes > INPUT_BYTES_MAX) break;
  }
  return Buffer.concat(pieces).toString();
}

/** Asks on stderr, so that stdout contains only data. */
async function ask(question: string): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await lines.question(`${question} [y/N] `)).trim());
  } finally {
    lines.close();
  }
}
