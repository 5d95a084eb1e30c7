/** What `npm run bench:backend` prints and writes. Pure. */
import type { Latency, Verdict } from '../rig/http-load';

/** One fault under load. */
export interface FaultRun {
  fault: string;
  /** Requests a second. */
  rate: number;
  seconds: number;
  /** Part of all processors' time that was used, by everything on the machine, 0 to 1. */
  busy: number;
  /** The machine's load average (1 minute) at the end. */
  loadAverage: number;
  /** Who led before and after. */
  leaders: readonly [string, string];
  verdict: Verdict;
  /** Requests that were answered before the fault, and all others; ms from when they were due. */
  before: Latency;
  after: Latency;
}

export interface Result {
  date: string;
  machine: string;
  postgres: string;
  backends: number;
  /** The rate was given, not looked for. */
  rateGiven: boolean;
  runs: readonly FaultRun[];
}

const latency = ({ p50, p99, max }: Latency): string => `${p50} / ${p99} / ${max}`;

/** A run as a line for a terminal. */
export function row({ fault, verdict, before, after, busy, loadAverage, leaders }: FaultRun): string {
  return [
    `${fault}: ${verdict.requests} requests, ${verdict.failed.length} failed;`,
    `${verdict.acknowledged} registrations acknowledged, ${verdict.lost.length} lost, ${verdict.duplicated.length} duplicated,`,
    `${verdict.unacknowledged.length} there without;`,
    `p50 / p99 / max before ${latency(before)} ms, from the fault on ${latency(after)} ms;`,
    `processor ${Math.round(busy * 100)} % busy, load average ${loadAverage}; ${leaders.join(' → ')}`,
  ].join(' ');
}

/** What went wrong, the same things together. */
export function troubles({ failed, lost, duplicated }: Verdict): string[] {
  const without = (text: string) => text.replace(/,?"request_id":"[^"]*"/, '');
  const failures = Map.groupBy(failed, without);
  return [
    ...[...failures].map(([text, same]) => `${same.length} × ${text}`),
    ...lost.map((name) => `lost: ${name}`),
    ...duplicated.map((text) => `duplicated: ${text}`),
  ];
}

/** The page for docs/results. */
export function page({ date, machine, postgres, backends, rateGiven, runs }: Result): string {
  const [first] = runs;
  const rate = rateGiven ? 'as given' : 'the highest that kept the processor under 70 % without a fault';
  return [
    '# The backend under load while something fails',
    '',
    `Made by \`npm run bench:backend\` on ${date}: ${machine}, PostgreSQL ${postgres}, ${backends} backend(s), one machine for all of it, the clients too.`,
    `${first?.rate ?? 0} requests a second (${rate}) for ${first?.seconds ?? 0} s, a third each registrations, logins and looks at oneself, by 50 clients that send nothing twice;`,
    'the fault comes after a third of the time. Latency in ms, from the moment at which a request was due (open loop), p50 / p99 / max. `failed`: no answer or not the',
    'right one. `lost`, `duplicated`: acknowledged registrations compared with the table by SQL.',
    '',
    '| fault | requests | failed | registrations acknowledged | lost | duplicated | latency before the fault | from the fault on | processor | load average |',
    '|---|---|---|---|---|---|---|---|---|---|',
    ...runs.map(({ fault, verdict, before, after, busy, loadAverage }) => {
      const counts = [verdict.failed, verdict.lost, verdict.duplicated].map((list) => list.length);
      const [failed, lost, duplicated] = counts;
      return `| ${fault} | ${verdict.requests} | ${failed} | ${verdict.acknowledged} | ${lost} | ${duplicated} | ${latency(before)} | ${latency(after)} | ${Math.round(busy * 100)} % | ${loadAverage} |`;
    }),
    '',
  ].join('\n');
}
