/** What `npm run bench:backend` prints and writes. Pure. */
import type { Latency, Verdict } from '../rig/http-load';

/** One fault under load. */
export interface FaultRun {
  fault: string;
  /** Requests a second. */
  rate: number;
  seconds: number;
  /** Part of all processors' time that all programs of the machine used together, 0 to 1. */
  busy: number;
  /** The machine's load average (1 minute) at the end. */
  loadAverage: number;
  /** The leader before and after the fault. */
  leaders: readonly [string, string];
  verdict: Verdict;
  /** Latency of requests that were answered before the fault, and of all others, from when they were due, ms. */
  before: Latency;
  after: Latency;
}

export interface Result {
  date: string;
  machine: string;
  postgres: string;
  backends: number;
  /** True when `--rate` gave the rate. */
  rateGiven: boolean;
  runs: readonly FaultRun[];
}

const latency = ({ p50, p99, max }: Latency): string => `${p50} / ${p99} / ${max}`;

/** One run as a line for the terminal. */
export function row({ fault, verdict, before, after, busy, loadAverage, leaders }: FaultRun): string {
  return [
    `${fault}: ${verdict.requests} requests, ${verdict.failed.length} failed;`,
    `${verdict.acknowledged} registrations acknowledged, ${verdict.lost.length} lost, ${verdict.duplicated.length} duplicated,`,
    `${verdict.unacknowledged.length} there without;`,
    `p50 / p99 / max before ${latency(before)} ms, from the fault on ${latency(after)} ms;`,
    `processor ${Math.round(busy * 100)} % busy, load average ${loadAverage}; ${leaders.join(' → ')}`,
  ].join(' ');
}

/** Everything that went wrong, equal messages in one line. */
export function problemsOf({ failed, lost, duplicated }: Verdict): string[] {
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
    '# What HTTP clients notice of a fault',
    '',
    `Made by \`npm run bench:backend\` on ${date}: ${machine}, PostgreSQL ${postgres}, ${backends} backend(s); the machine also runs the clients.`,
    `${first?.rate ?? 0} requests a second (${rate}) for ${first?.seconds ?? 0} s, by 50 clients that repeat no request: one third each registrations, logins and \`GET /users/me\`.`,
    'The fault happens after a third of the time. Latency in ms, from the moment at which a request was due (open loop), p50 / p99 / max. `failed`: no answer or a wrong',
    'one. `lost`, `duplicated`: acknowledged registrations that are missing or twice in the table.',
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
