/** Format of a log line in failover.log, on stdout and in the output of the command line. */
import { z } from 'zod';

export const Level = z.enum(['INFO', 'WARN', 'ERROR']);
export type Level = z.infer<typeof Level>;

const MESSAGE_CHARS_MAX = 2_000;
const SUBJECT_WIDTH = 20;
/** What waits at most for the reader of a process's output, bytes. */
const WAITING_BYTES_MAX = 1024 * 1024;

/**
 * Characters that are not text: control characters (a terminal obeys them), format characters (they change the
 * direction of writing), line and paragraph separators, and halves of a surrogate pair.
 */
const NO_TEXT = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/**
 * Makes a text of PostgreSQL, a keeper or a client safe as part of one log line: it can neither begin a new line nor
 * send commands to the terminal that shows it. Line breaks become ` | `, other characters of {@link NO_TEXT} are
 * escaped (`\x1b`, `\u202e`). Applying it twice gives the same text as applying it once.
 */
export function oneLine(text: string): string {
  const lines = text.split(/[\r\n]+/);
  // One pattern over spaces and line breaks together would take quadratic time on a long run of spaces.
  const filled = lines.map((line) => line.trim()).filter((line) => line !== '');
  const joined = lines.length === 1 ? text : filled.join(' | ');
  return joined.replaceAll(NO_TEXT, (character) => {
    const code = (character.codePointAt(0) ?? 0).toString(16);
    if (code.length <= 2) return `\\x${code.padStart(2, '0')}`;
    return code.length <= 4 ? `\\u${code.padStart(4, '0')}` : `\\u{${code}}`;
  });
}

/** Cuts a message to the length that failover.log, the console and the API allow. */
export function shortened(message: string): string {
  return message.slice(0, MESSAGE_CHARS_MAX);
}

/**
 * Returns what writes lines to a process's output. Node keeps in memory what the engine does not read, so lines are
 * left out while too much waits; their number is logged as soon as the engine reads again.
 */
export function linesTo(output: { readonly writableLength: number; write(text: string): unknown }) {
  let leftOut = 0;
  return (line: string): void => {
    leftOut += 1;
    if (output.writableLength > WAITING_BYTES_MAX) return;
    const note = leftOut === 1 ? '' : `${leftOut - 1} lines were left out, because this output was not read\n`;
    leftOut = 0;
    output.write(`${note}${line}\n`);
  };
}

/**
 * One line for people, in the local time zone: `2026-11-24T21:55:22.123+00:00 INFO  postgres-primary LEADER_DEAD …
 * [leader-lost]`.
 */
export function formatLine(
  at: Date,
  level: Level,
  subject: string,
  code: string,
  message: string,
  rule?: string,
): string {
  const [about, what] = [oneLine(subject).padEnd(SUBJECT_WIDTH), oneLine(code).padEnd(16)];
  return `${localTime(at)} ${level.padEnd(5)} ${about} ${what} ${oneLine(shortened(message))}${rule === undefined ? '' : ` [${rule}]`}`;
}

/** One line for programs, a JSON object: `{"at", "level", "node", "code", "message"}`, and `"rule"` for a decision. */
export function formatJson(at: Date, level: Level, node: string, code: string, message: string, rule?: string): string {
  const text = JSON.stringify({ at: localTime(at), level, node, code, message: shortened(message), rule });
  // JSON.stringify leaves some of these characters as they are; the escaped form means the same text.
  return text.replaceAll(NO_TEXT, (character) =>
    Array.from({ length: character.length }, (_, at) => `\\u${hex(character.charCodeAt(at))}`).join(''),
  );
}

function hex(code: number): string {
  return code.toString(16).padStart(4, '0');
}

/** The time as ISO 8601 with the local offset. */
export function localTime(at: Date): string {
  const offset = -at.getTimezoneOffset();
  const two = (n: number) => String(Math.floor(Math.abs(n))).padStart(2, '0');
  const shifted = new Date(at.getTime() + offset * 60_000).toISOString().slice(0, -1);
  return `${shifted}${offset < 0 ? '-' : '+'}${two(offset / 60)}:${two(offset % 60)}`;
}
