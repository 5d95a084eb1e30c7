/** The matrix's results as a table for the terminal and as a page for docs/results. */
import { machineSize } from '../../../scripts/lib/machine-size';
import type { Result } from './progress';

function range(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b);
  const [min = 0, max = 0] = [sorted[0], sorted.at(-1)];
  if (sorted.length === 1) return `${min}`;
  const middle = sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
  return `${min} / ${middle} / ${max}`;
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

const total = (runs: readonly Result[], key: 'failed' | 'unknown' | 'acknowledged' | 'lost') =>
  sum(runs.map((r) => r[key]));

/** The columns: heading, and the cell for all runs of one fault. */
const COLUMNS: Readonly<Record<string, (runs: readonly Result[]) => string>> = {
  fault: ([run]) => run?.name ?? '',
  runs: (runs) => String(runs.length),
  'outage held': (runs) => range(runs.map((r) => r.heldMs)),
  'outage fresh': (runs) => range(runs.map((r) => r.freshMs)),
  'recovered in': (runs) => range(runs.map((r) => r.recoveredMs)),
  'failed/unknown/acked/lost': (runs) =>
    (['failed', 'unknown', 'acknowledged', 'lost'] as const).map((key) => total(runs, key)).join('/'),
  failovers: (runs) => range(runs.map((r) => r.failovers)),
  load: (runs) => range(runs.map((r) => r.load)),
  verdict: (runs) => {
    const bad = runs.filter((r) => r.violations.length > 0).length;
    return bad === 0 ? 'passed' : `FAILED ${bad}`;
  },
};
const HEAD = Object.keys(COLUMNS);

function rows(results: readonly Result[]): string[][] {
  const faults = [...Map.groupBy(results, (r) => r.name).values()];
  return faults.map((runs) => Object.values(COLUMNS).map((cell) => cell(runs)));
}

/** For the terminal. */
export function table(results: readonly Result[]): string {
  const all = [HEAD, ...rows(results)];
  const widths = HEAD.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export function lastLine(results: readonly Result[]): string {
  const failed = results.filter((r) => r.violations.length > 0).length;
  return `${results.length - failed} passed, ${failed} failed`;
}

export interface PageOptions {
  results: readonly Result[];
  tree: string;
  date: string;
  replicas: number;
  versions: string;
}

/** For docs/results. */
export function page({ results, tree, date, replicas, versions }: PageOptions): string {
  const line = (row: readonly string[]) => `| ${row.join(' | ')} |`;
  const bad = results.flatMap((r) => r.violations.map((v) => `- ${r.run}: ${v}`));
  const notes = results.flatMap((r) => r.notes.map((n) => `- ${r.run}: ${n}`));
  return [
    `# Fault matrix on real containers, ${date}, ${replicas === 1 ? 'one replica' : `${replicas} replicas`}`,
    '',
    `Made by \`npm run test:chaos\`; tree ${tree}; ${machineSize()}; ${versions}. Synchronous mode, hangTimeout 2 s, no switchback.`,
    '',
    'Times are in ms; several runs show min / median / max. Outage: longest time between two acknowledgements, of the client that keeps its connection and of',
    'the client that connects for each write, both without retries. Recovered in: from the end of the cause (the container runs again) until every node has',
    'carried out its order, is counted and serves reads. Each run checks: acknowledged rows are there exactly once, rows of unknown outcome at most once, and',
    'rows that were read on the write port are there; the registers are linearizable (Porcupine); the tables are equal on all nodes; no look found two writable',
    'routes; HAProxy has no session left. Load: load average of the machine, which other work shared; above its number of cores the times are too long.',
    '',
    line(HEAD),
    line(HEAD.map(() => '---')),
    ...rows(results).map(line),
    '',
    `${lastLine(results)}. Operations on registers: ${sum(results.map((r) => r.operations))}. Looks with two routes: 0 unless listed below.`,
    `Time with two nodes out of recovery, one of them without a route (a former leader that woke up, until it is stopped): ${range(results.map((r) => r.twoPrimariesMs))} ms.`,
    `Rows that were read on the read port and are missing (allowed, S29): ${sum(results.map((r) => r.vanishedOnRead))}.`,
    ...(bad.length > 0 ? ['', '## Violations', '', ...bad] : []),
    ...(notes.length > 0 ? ['', '## Notes', '', ...notes] : []),
    '',
  ].join('\n');
}
