/** What a part found: figures of its beginning and its end, and what did not stay as it was. */
import { z } from 'zod';
import { medianOf } from './figures';

const Row = z.object({ what: z.string(), first: z.string(), last: z.string() });

/** Result of a part. Figures are texts with their units. */
export const Result = z.object({
  name: z.string(),
  seconds: z.number(),
  /** Load average of the machine at the end. */
  load: z.number(),
  rows: z.array(Row),
  notes: z.array(z.string()),
  problems: z.array(z.string()),
});
export type Result = z.infer<typeof Result>;

const shown = (value: number): string => (Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 2 : 1));

export class Report {
  readonly rows: z.infer<typeof Row>[] = [];
  readonly notes: string[] = [];
  readonly problems: string[] = [];

  /** A figure that may grow by this factor and by this much beside it; more is a problem. */
  constant(what: string, unit: string, first: number, last: number, { factor = 1, plus = 0 } = {}): void {
    this.rows.push({ what: unit === '' ? what : `${what}, ${unit}`, first: shown(first), last: shown(last) });
    const most = first * factor + plus;
    if (!(last <= most)) this.problems.push(`${what}: ${shown(first)} ${unit} grew to ${shown(last)} ${unit}`);
  }

  /** Times of one kind, ms: the median of the first `part` of them, and of the last ones. */
  times(what: string, all: readonly number[], part: number, limits: { factor: number; plus: number }): void {
    const [first, last] = [medianOf(all.slice(0, part)), medianOf(all.slice(-part))];
    this.constant(`${what}, median of ${part}`, 'ms', first, last, limits);
  }

  /** A figure that must not be above a bound at any time. */
  bounded(what: string, unit: string, most: number, bound: number): void {
    this.rows.push({
      what: unit === '' ? what : `${what}, ${unit}`,
      first: `bound ${shown(bound)}`,
      last: shown(most),
    });
    if (!(most <= bound)) this.problems.push(`${what}: ${shown(most)} ${unit}, allowed are ${shown(bound)}`);
  }

  note(words: string): void {
    this.notes.push(words);
  }

  must(holds: boolean, words: string): void {
    if (!holds) this.problems.push(words);
  }
}

/** A part of the run. It writes into the report, and tells what it does. */
export interface Part {
  name: string;
  title: string;
  run: (report: Report, say: (line: string) => void) => Promise<void>;
}
