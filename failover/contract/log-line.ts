/** A line of the log, as failover.log, stdout and the command line print it. */
import { z } from 'zod';

export const Level = z.enum(['INFO', 'WARN', 'ERROR']);
export type Level = z.infer<typeof Level>;

const MESSAGE_CHARS_MAX = 2_000;
const SUBJECT_WIDTH = 20;

/**
 * Characters that are no text: control characters (a terminal obeys them), format characters (they turn the order of the
 * letters), line and paragraph separators, and halves of a surrogate pair.
 */
const NO_TEXT = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/**
 * A text of PostgreSQL, a keeper or a client as part of one line for people: it neither begins a line of its own nor
 * steers the terminal that shows it. Line breaks become ` | `, the rest of {@link NO_TEXT} is escaped (`\x1b`, `\u202e`).
 * A second pass does not change a text that has passed once.
 */
export function oneLine(text: string): string {
  const lines = text.split(/[\r\n]+/);
  // Not by one pattern over spaces and breaks: on a long run of spaces it would take the square of its length.
  const joined =
    lines.length === 1
      ? text
      : lines
          .map((line) => line.trim())
          .filter((line) => line !== '')
          .join(' | ');
  return joined.replaceAll(NO_TEXT, (character) => {
    const code = (character.codePointAt(0) ?? 0).toString(16);
    if (code.length <= 2) return `\\x${code.padStart(2, '0')}`;
    return code.length <= 4 ? `\\u${code.padStart(4, '0')}` : `\\u{${code}}`;
  });
}

/** A message is no longer than this, wherever it goes: failover.log, the console and the API. */
export function shortened(message: string): string {
  return message.slice(0, MESSAGE_CHARS_MAX);
}

/** `2026-11-24T21:55:22.123+00:00 INFO  postgres-primary LEADER_DEAD … [leader-lost]` in the local time zone. */
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

/** One JSON object a line, for programs: `{"at", "level", "node", "code", "message"}`, of a decision also `"rule"`. */
export function formatJson(at: Date, level: Level, node: string, code: string, message: string, rule?: string): string {
  const text = JSON.stringify({ at: localTime(at), level, node, code, message: shortened(message), rule });
  // JSON leaves some of them as they are; written by number they mean the same text.
  return text.replaceAll(NO_TEXT, (character) =>
    Array.from({ length: character.length }, (_, at) => `\\u${hex(character.charCodeAt(at))}`).join(''),
  );
}

function hex(code: number): string {
  return code.toString(16).padStart(4, '0');
}

/** ISO 8601 with the local offset. */
export function localTime(at: Date): string {
  const offset = -at.getTimezoneOffset();
  const two = (n: number) => String(Math.floor(Math.abs(n))).padStart(2, '0');
  const shifted = new Date(at.getTime() + offset * 60_000).toISOString().slice(0, -1);
  return `${shifted}${offset < 0 ? '-' : '+'}${two(offset / 60)}:${two(offset % 60)}`;
}
