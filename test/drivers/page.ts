/** What `npm run test:drivers` prints and writes. Pure. */

export const EVENTS = ['renewal', 'failover', 'switchover'] as const;
export type EventName = (typeof EVENTS)[number];

/** What a loop noticed of one event. */
export interface Noticed {
  readonly run: number;
  readonly event: EventName;
  readonly driver: string;
  /** `held` keeps its connection, `fresh` connects again and again. */
  readonly kind: 'held' | 'fresh';
  /** Rows that were acknowledged from the event until all loops had written again for two seconds. */
  readonly written: number;
  /** Longest time between two acknowledgements in the two seconds before the event, and from the event on, ms. */
  readonly calmMs: number;
  readonly pauseMs: number;
  /** Each error, with its SQLSTATE where the driver has one; `connect` or `statement` comes before it. */
  readonly errors: readonly string[];
  /** What should not have happened. */
  readonly problem: string | null;
}

/** A driver, over all events. */
export interface About {
  readonly driver: string;
  readonly version: string;
  /** What it says to a server of another authority. */
  readonly refusal: string;
  readonly acknowledged: number;
  /** Acknowledged rows that are not in the table exactly once. */
  readonly missing: readonly string[];
}

export interface Result {
  readonly date: string;
  readonly tree: string;
  readonly machine: string;
  /** Load average (1 minute) of the machine at the end. */
  readonly load: number;
  readonly pooler: boolean;
  readonly perConnection: number;
  readonly paceMs: number;
  readonly about: readonly About[];
  readonly noticed: readonly Noticed[];
}

/**
 * A change of leader ends one session, or the connect that comes at that moment. A renewal ends none, and neither does
 * a switchover for clients of the pooler.
 */
export function problemOf({ event, errors }: Pick<Noticed, 'event' | 'errors'>, isPooled: boolean): string | null {
  const allowed = event === 'failover' || (event === 'switchover' && !isPooled) ? 1 : 0;
  if (errors.length <= allowed) return null;
  return `${errors.length} errors, where ${allowed === 0 ? 'none' : 'one'} is expected`;
}

/** One result as a line for the terminal. */
export function row({ run, event, driver, kind, written, calmMs, pauseMs, errors, problem }: Noticed): string {
  return [
    `${run}  ${event}, ${driver} ${kind}: ${written} rows, longest pause ${pauseMs} ms (calm ${calmMs} ms)`,
    ...errors,
    ...(problem === null ? [] : [`FAILED: ${problem}`]),
  ].join('; ');
}

/** The page for docs/results. */
export function page({ date, tree, machine, load, pooler, perConnection, paceMs, about, noticed }: Result): string {
  const command = `npm run test:drivers${pooler ? ' -- --pooler' : ''}`;
  return [
    `# Drivers with verify-full${pooler ? ', through the pooler' : ''}`,
    '',
    `Made by \`${command}\` on ${date} at ${tree}: ${machine}, which also runs the drivers; load average at the end ${load}. One replica, synchronous.`,
    'All drivers run at the same time, each with `sslmode=verify-full` and the certificate of `npm run failover -- ca`, as [connecting](../connecting.md) says. Each has two loops, which insert one',
    `numbered row after the other (${paceMs} ms between two) and repeat none: held keeps its connection, fresh connects again after every ${perConnection} rows. After an error a loop connects again at once; a connect that failed is tried again after 0.1 s.`,
    '',
    '- renewal: `tlsNames` gets a further name and `npm run up` runs. The monitor is replaced and signs a new certificate with a new key, and the nodes load it, as in a renewal.',
    '- failover: `docker kill` of the leader. switchover: a planned change of the leader.',
    '- pause: the longest time between two acknowledged rows of a loop, from the event until two seconds after all loops had written again; in brackets that in the two seconds before the event.',
    pooler
      ? '- Expected: no error but one statement or connect of a loop in a failover.'
      : '- Expected: no error but one statement or connect of a loop in a failover or a switchover, which end its session.',
    '',
    '| driver | version | acknowledged rows | of them missing or twice | to a server of another authority it says |',
    '|---|---|---|---|---|',
    ...about.map(
      ({ driver, version, acknowledged, missing, refusal }) =>
        `| ${driver} | ${version} | ${acknowledged} | ${missing.length} | ${cell(refusal)} |`,
    ),
    '',
    '| run | event | driver | | rows | pause (calm before), ms | errors | |',
    '|---|---|---|---|---|---|---|---|',
    ...noticed.map(
      ({ run, event, driver, kind, written, pauseMs, calmMs, errors, problem }) =>
        `| ${run} | ${event} | ${driver} | ${kind} | ${written} | ${pauseMs} (${calmMs}) | ${cell(errors.join('; '))} | ${problem === null ? 'as expected' : `failed: ${problem}`} |`,
    ),
    '',
  ].join('\n');
}

/** A text that may stand in a table. */
const cell = (text: string): string => text.replaceAll('|', '\\|');
