/**
 * Forwards PostgreSQL's log to the container's output, for people. No decision depends on it, because clients can write
 * into it. A client's text cannot begin a line, and lines that repeat many times a second are thinned out.
 */

/** Fields of `jsonlog` that are used (manual, "Error Reporting and Logging"). */
const FIELDS = [
  ...(['timestamp', 'pid', 'user', 'dbname', 'error_severity', 'state_code'] as const),
  ...(['message', 'detail', 'hint', 'context', 'statement', 'backend_type'] as const),
];
/** One log line. Each value is text; absent ones are ''. */
type Entry = Record<(typeof FIELDS)[number], string>;

/** Longer lines are cut before they are parsed, characters: a client may send a statement of any length. */
const LINE_MAX = 64 * 1024;
/**
 * Longest part of one text that is shown, characters. In bytes this stays below 16 KiB, at which the engine splits a
 * line.
 */
const TEXT_MAX = 4_000;
const REASON_MAX = 300;
/** A kind of line that repeats is shown once in this time, ms. */
const SHOW_EVERY_MS = 10_000;
/**
 * PostgreSQL's messages at every start about its log's destination. People do not read the log there, so these are left
 * out.
 */
const WHERETO =
  /^(\S+ \S+ \S+ \[\d+\] (LOG|HINT): {2})?(redirecting log output to logging collector process|ending log output to stderr|Future log output will (appear in directory|go to log destination) "[^"]*")\.?$/;
/** Largest number of kinds of lines that are remembered. */
const KINDS_MAX = 200;
/** Limits of the lines of clients that are shown: per second in the long run, and in one burst. */
const CLIENT_LINES_PER_S = 1_000;
const CLIENT_LINES_BURST = 5_000;

/** Processes that retry every 20 ms (S20). Without thinning, a missing leader would cause gigabytes of log a day. */
const RETRIES: ReadonlySet<string> = new Set(['startup', 'walreceiver', 'walsender']);
/** SQLSTATE of "starting up", "shutting down" and "not yet accepting connections". Each attempt to connect gets it. */
const NOT_NOW = '57P03';
/** Beginning of the SQLSTATEs of sessions and servers that end because they were told to, which is no fault. */
const ORDERED = '57P0';
/** PostgreSQL's processes that run no client's statements, and whose end ends the server. */
const OWN: ReadonlySet<string> = new Set([
  'postmaster',
  'startup',
  'checkpointer',
  'background writer',
  'walwriter',
  'walsummarizer',
  'archiver',
]);

const ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/**
 * Escapes control characters, line separators and marks that change the direction of writing, so that they have no
 * effect.
 */
function escapeControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, (character) => {
    const code = character.charCodeAt(0);
    return ESCAPES[character] ?? (code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`);
  });
}

/** A text from PostgreSQL or a client, escaped and cut so that it fits in one line. */
function shown(text: string, max = TEXT_MAX): string {
  const escaped = escapeControls(text);
  return escaped.length <= max ? escaped : `${escaped.slice(0, max)} … (${escaped.length - max} more characters)`;
}

/** Output of PostgreSQL's tools for people, without timestamps, process ids and lines that add nothing. */
export function plainWords(text: string): string {
  const lines = text.split('\n').map((line) =>
    line
      .replace(/^(?:\d{4}-\S+ \S+ \S+ \[\d+\] |postgres: )/, '')
      .replace(/^[A-Z]+: {2}/, '')
      .trim(),
  );
  return lines
    .filter(
      (line) =>
        line !== '' && !/contains errors|database system is shut down|skipping missing configuration file/.test(line),
    )
    .join('; ')
    .replaceAll(/ in file "[^"]*" line \d+/g, '')
    .slice(0, 1_000);
}

/** Parses one line of JSON, also one that was cut; null: the text is no JSON. */
function parsed(line: string): unknown {
  // A line is cut in a text, where up to five characters of an escape may be at its end, or else in a name or a number.
  const texts = [0, 1, 2, 3, 4, 5].map((left) => `${line.slice(0, line.length - left)}"}`);
  for (const text of [line, ...texts, `${line.slice(0, line.lastIndexOf(',"'))}}`]) {
    try {
      return JSON.parse(text);
    } catch {
      // The next one may be whole.
    }
  }
  return null;
}

/** Parses a line of `jsonlog`, also one that was cut; null: the text is not such a line. */
export function readEntry(line: string): Entry | null {
  const pairs = Object(parsed(line)) as Record<string, unknown>;
  const entry = Object.fromEntries(FIELDS.map((name) => [name, String(pairs[name] ?? '')])) as Entry;
  return entry.timestamp === '' || entry.error_severity === '' ? null : entry;
}

/**
 * Lines for people. The text before the message comes from PostgreSQL only; the client's user and database come after
 * the message.
 */
export function printEntry(entry: Entry): string[] {
  const head = shown(`${entry.timestamp} [${entry.pid}] ${entry.backend_type || '(cut)'}`, 200);
  const client = entry.user === '' && entry.dbname === '' ? '' : ` (${shown(`${entry.user}@${entry.dbname}`, 400)})`;
  const more = (['detail', 'hint', 'context', 'statement'] as const).filter((name) => entry[name] !== '');
  return [
    `${head} ${shown(entry.error_severity, 20)}:  ${shown(entry.message)}${client}`,
    ...more.map((name) => `${head} ${name.toUpperCase()}:  ${shown(entry[name])}`),
  ];
}

/**
 * Why a server may have ended: a FATAL of one of PostgreSQL's own processes, or a PANIC of any process; null for every
 * other line.
 */
export function reasonOf(entry: Entry): string | null {
  const { error_severity: severity, backend_type: process, state_code: state } = entry;
  const isOwn = severity === 'FATAL' && OWN.has(process) && !state.startsWith(ORDERED);
  if (severity !== 'PANIC' && !isOwn) return null;
  return shown(`${severity} (${process || 'a process'}): ${entry.message}`, REASON_MAX);
}

/**
 * Like {@link reasonOf}, for a line that the postmaster writes to its standard error before the collector runs. No
 * client is connected by then.
 */
export function earlyReasonOf(line: string): string | null {
  const [, severity = 'FATAL', words] = /^(?:[^"]*? (FATAL|PANIC): {2}|postgres: )(.*)$/.exec(line) ?? [];
  return words === undefined ? null : shown(`${severity} (postmaster): ${words}`, REASON_MAX);
}

/** Splits a stream that arrives in pieces into whole lines. A line longer than {@link LINE_MAX} is cut. */
export class Lines {
  private rest = '';

  take(text: string): string[] {
    const lines = (this.rest + text).split('\n').map((line) => line.slice(0, LINE_MAX));
    this.rest = lines.pop() ?? '';
    return lines;
  }
}

export class ServerLog {
  /** Why the server may have ended, from the newest line that says so; null: there was none since {@link begin}. */
  reason: string | null = null;
  private readonly json = new Lines();
  private readonly early = new Lines();
  private readonly stray = new Lines();
  private readonly kinds = new Map<string, { shownMs: number; hidden: number }>();
  private room = CLIENT_LINES_BURST;
  private roomMs = 0;
  private leftOut = 0;

  /** `print` writes one line, which it gets without its line end. */
  constructor(
    private readonly print: (line: string) => void,
    private readonly nowMs = () => performance.now(),
  ) {}

  /** A server starts. The reason why the previous one ended was reported already, so it is forgotten. */
  begin(): void {
    this.reason = null;
    this.kinds.clear();
  }

  /** Takes a piece of `jsonlog`. */
  hear(text: string): void {
    for (const line of this.json.take(text)) {
      const entry = readEntry(line);
      if (entry === null) this.print(`PostgreSQL: ${shown(line)}`);
      else this.tell(entry);
    }
  }

  /** Takes a piece of the postmaster's standard error, before its log begins. */
  hearEarly(text: string): void {
    for (const line of this.early.take(text)) {
      this.reason = earlyReasonOf(line) ?? this.reason;
      if (!WHERETO.test(line)) this.print(shown(line));
    }
  }

  /** Takes a piece of text that a server process wrote to its standard error instead of to the log. */
  hearStray(text: string): void {
    for (const line of this.stray.take(text)) {
      if (!WHERETO.test(line) && this.hasRoom()) this.print(`PostgreSQL, standard error: ${shown(line)}`);
    }
  }

  private tell(entry: Entry): void {
    this.reason = reasonOf(entry) ?? this.reason;
    if (entry.backend_type === 'postmaster' && WHERETO.test(entry.message)) return;
    const hidden = this.hiddenBefore(entry);
    if (hidden === null) return;
    if (!OWN.has(entry.backend_type) && !this.hasRoom()) return;
    if (this.leftOut > 0) this.print(`PostgreSQL: ${this.leftOut} lines were left out, there were too many`);
    this.leftOut = 0;
    for (const line of printEntry(entry)) this.print(line);
    if (hidden > 0) this.print(`PostgreSQL: ${hidden} lines like the one above were left out`);
  }

  /**
   * Number of lines of the same kind that were hidden since the last one that was shown; null: this one is hidden, too.
   */
  private hiddenBefore(entry: Entry): number | null {
    const retries = RETRIES.has(entry.backend_type);
    if (!retries && entry.state_code !== NOT_NOW) return 0;
    const words = entry.message.replaceAll(/[0-9A-F]*\d[0-9A-F]*/g, '#').slice(0, 60);
    const key = retries ? `${entry.backend_type} ${entry.error_severity} ${entry.state_code} ${words}` : NOT_NOW;
    const now = this.nowMs();
    const kind = this.kinds.get(key);
    if (kind !== undefined && now - kind.shownMs < SHOW_EVERY_MS) {
      kind.hidden += 1;
      return null;
    }
    const oldest = this.kinds.keys().next().value;
    if (kind === undefined && this.kinds.size >= KINDS_MAX && oldest !== undefined) this.kinds.delete(oldest);
    this.kinds.set(key, { shownMs: now, hidden: 0 });
    return kind?.hidden ?? 0;
  }

  private hasRoom(): boolean {
    const now = this.nowMs();
    this.room = Math.min(CLIENT_LINES_BURST, this.room + ((now - this.roomMs) * CLIENT_LINES_PER_S) / 1_000);
    this.roomMs = now;
    if (this.room < 1) {
      this.leftOut += 1;
      return false;
    }
    this.room -= 1;
    return true;
  }
}
