/** What `npm run bench:cost` prints and writes. Pure. */
import type { Figures, Work } from './pgbench';
import { type Interval, median, medianInterval } from './statistics';

/** Name of the way that all others are compared with, and of the one that has a target. */
export const EMPTY = 'HAProxy, empty TCP configuration';
const OURS = 'our HAProxy';
/** Ours may be worse than the empty one by this part. */
const TARGET = 0.03;

/** What is measured of each way, by its title on the page. */
export const WORKS: Readonly<Record<string, Omit<Work, 'seconds'>>> = {
  '1 client': { clients: 1, connects: false },
  '16 clients': { clients: 16, connects: false },
  '4 clients that connect for each statement': { clients: 4, connects: true },
};

/** One run of pgbench. */
export interface Round extends Figures {
  readonly round: number;
  /** A key of {@link WORKS}. */
  readonly work: string;
  readonly way: string;
}

export interface Result {
  readonly date: string;
  readonly tree: string;
  readonly machine: string;
  readonly versions: string;
  readonly seconds: number;
  /** Load average (1 minute) of the machine before and after. */
  readonly loads: readonly [number, number];
  /** Configuration of the empty HAProxy. */
  readonly config: string;
  readonly scale: number;
  readonly results: readonly Round[];
}

/** A figure of a run, and whether a larger one is better. */
interface Measure {
  readonly title: string;
  readonly of: (run: Figures) => number;
  readonly more: boolean;
}

const LATENCIES: readonly Measure[] = [
  { title: 'median latency, ms', of: ({ p50 }) => p50, more: false },
  { title: 'p99 latency, ms', of: ({ p99 }) => p99, more: false },
];

function measuresOf(work: string): readonly Measure[] {
  if (WORKS[work]?.connects !== true)
    return [{ title: 'statements a second', of: ({ rate }) => rate, more: true }, ...LATENCIES];
  return [
    { title: 'connects a second', of: ({ rate }) => rate, more: true },
    { title: 'mean time of a connect, ms', of: ({ connectMs }) => connectMs ?? Number.NaN, more: false },
  ];
}

/** One run as a line for the terminal. */
export function row({ round, work, way, rate, p50, p99, connectMs }: Round): string {
  const latency = connectMs === null ? `p50 ${show(p50)}, p99 ${show(p99)} ms` : `connect ${show(connectMs)} ms`;
  return `${round}  ${work}, ${way}: ${show(rate)}/s, ${latency}`;
}

/** A ratio to the empty HAProxy, with its 95 % interval. */
interface Ratio extends Interval {
  readonly ratio: number;
}

/** The runs of a way, each compared with the empty HAProxy's run of the same round. */
export function ratioOf(results: readonly Round[], work: string, way: string, of: Measure['of']): Ratio {
  const runs = (name: string) => results.filter((run) => run.work === work && run.way === name);
  const empty = new Map(runs(EMPTY).map((run) => [run.round, of(run)]));
  const ratios = runs(way).map((run) => of(run) / (empty.get(run.round) ?? Number.NaN));
  return { ratio: median(ratios), ...medianInterval(ratios) };
}

/** Whether a ratio is within the target: the whole interval has to be on one side, else the rounds do not decide it. */
export function verdict({ ratio, low, high }: Ratio, more: boolean): string {
  const isWithin = (value: number) => (more ? value >= 1 - TARGET : value <= 1 + TARGET);
  if (isWithin(low) && isWithin(high)) return 'yes';
  if (!isWithin(low) && !isWithin(high)) return 'no';
  return `not decided by these rounds; the median is ${isWithin(ratio) ? 'within' : 'beyond'}`;
}

/** The page for docs/results. */
export function page(result: Result): string {
  const { date, tree, machine, versions, seconds, loads, config, scale, results } = result;
  const works = Object.keys(WORKS);
  const rounds = Math.max(...results.map(({ round }) => round));
  return [
    '# What each way to the database costs',
    '',
    `Made by \`npm run bench:cost\` on ${date} at ${tree}: ${machine}, ${versions}; one replica, synchronous; TLS on, pooler on, no backend.`,
    `Load average of the machine (1 minute) before the rounds ${loads[0]}, after them ${loads[1]}; pgbench, HAProxy, pooler and PostgreSQL share its cores.`,
    '',
    `\`pgbench -S\` (select-only, scale ${scale}, \`--protocol=prepared\`; for connects \`-C\` instead) runs ${seconds} s for each way, and the order of the ways moves on by one with each of the ${rounds} rounds.`,
    'One container runs it for all ways. That container and the one with the empty HAProxy are in the network namespace of the stack’s HAProxy, because the nodes admit clients from',
    'HAProxy’s address only. So a statement reaches either HAProxy within that namespace, and PostgreSQL or the pooler over the Docker network; the pooler comes before our HAProxy. The ports that Docker publishes on the host were not measured.',
    'Nor were writes: a select spends the least time in PostgreSQL, so that what is in front of it shows most. The empty HAProxy has the image, the user and the number of threads of ours, no limit of the processor as ours, and this configuration:',
    '',
    '```',
    config.trimEnd(),
    '```',
    '',
    'Each figure is the median of the rounds. In brackets: the median of the ratios to the empty HAProxy’s run of the same round, and its 95 % interval (bootstrap).',
    'The latency of a statement is from pgbench’s log of each statement; the time of a connect is pgbench’s mean of a run, with login (SCRAM).',
    ...works.flatMap((work) => section(results, work)),
    '',
    `## Is ours within ${TARGET * 100} % of the empty one?`,
    '',
    'Only where the whole interval is on one side of the limit, the answer is yes or no.',
    '',
    `| | figure | ratio | 95 % interval | within ${TARGET * 100} % |`,
    '|---|---|---|---|---|',
    ...works.flatMap((work) =>
      measuresOf(work).map(({ title, of, more }) => {
        const ratio = ratioOf(results, work, OURS, of);
        return `| ${work} | ${title} | ${fixed(ratio.ratio)} | ${fixed(ratio.low)} to ${fixed(ratio.high)} | ${verdict(ratio, more)} |`;
      }),
    ),
    '',
    '## All runs',
    '',
    '| round | | way | a second | median latency, ms | p99 latency, ms | mean connect, ms |',
    '|---|---|---|---|---|---|---|',
    ...results.map(
      ({ round, work, way, rate, p50, p99, connectMs }) =>
        `| ${round} | ${work} | ${way} | ${show(rate)} | ${show(p50)} | ${show(p99)} | ${connectMs === null ? '' : show(connectMs)} |`,
    ),
    '',
  ].join('\n');
}

/** The ways under one kind of load. */
function section(results: readonly Round[], work: string): string[] {
  const measures = measuresOf(work);
  const ways = [...new Set(results.filter((run) => run.work === work && run.round === 1).map(({ way }) => way))];
  const cell = (way: string, { of }: Measure) => {
    const value = show(median(results.filter((run) => run.work === work && run.way === way).map(of)));
    if (way === EMPTY) return value;
    const { ratio, low, high } = ratioOf(results, work, way, of);
    return `${value} (${fixed(ratio)}, ${fixed(low)} to ${fixed(high)})`;
  };
  return [
    ...['', `## ${work[0]?.toUpperCase()}${work.slice(1)}`, ''],
    `| way | ${measures.map(({ title }) => title).join(' | ')} |`,
    `|---|${measures.map(() => '---|').join('')}`,
    ...ways.map((way) => `| ${way} | ${measures.map((measure) => cell(way, measure)).join(' | ')} |`),
  ];
}

/** A ratio with three places. */
const fixed = (ratio: number): string => ratio.toFixed(3);

/** Three significant digits at least, no fraction from a hundred on. */
const show = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
