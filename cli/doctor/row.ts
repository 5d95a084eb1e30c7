/** The form of doctor's table of findings, and how it is read. Pure. */
import type { FindingCode } from './codes';

/**
 * `error`: something does not work now. `warning`: everything works, but a next fault may not be survived, or something
 * will soon fail.
 */
export type Severity = 'error' | 'warning';

export interface Finding {
  code: FindingCode;
  severity: Severity;
  /** Subject of the finding: a container, a file or a port. */
  about: string;
  /** What is wrong. */
  sentence: string;
  /** What to do, often a command. */
  next: string;
}

/** A finding before the values of its subject stand in the holes of its texts: `{name}` is the subject's `name`. */
export interface Row<S> extends Omit<Finding, 'severity'> {
  severity: Severity | ((subject: S) => Severity);
  when: (subject: S) => boolean;
}

type Holes<T extends string> = T extends `${string}{${infer Hole}}${infer Rest}` ? Hole | Holes<Rest> : never;
/** What a row says. `about` is the subject's `name` unless it is given, and without `when` each subject matches. */
interface Sayings<S, T extends string> {
  about?: T;
  when?: (subject: S) => boolean;
  sentence: T;
  next: T;
}
/** A row that fits only subjects with a value for each hole of its texts. */
type Checked<S, T extends string> = Row<S & Record<Holes<T>, unknown>>;

const always = () => true;

export function error<S, const T extends string>(code: FindingCode, row: Sayings<S, T>): Checked<S, T> {
  return { code, severity: 'error', about: '{name}', when: always, ...row };
}

export function warning<S, const T extends string>(code: FindingCode, row: Sayings<S, T>): Checked<S, T> {
  return { ...error(code, row), severity: 'warning' };
}

/** A part of the table: the rows are there for the documents and the tests, `find` applies them. */
export interface Group<Input> {
  rows: readonly Row<never>[];
  find: (input: Input) => Finding[];
}

/** Finds, for each subject, the first row that matches: it is the cause of what the later ones would name. */
export function first<Input, S>(subjects: (input: Input) => readonly S[], rows: readonly Row<S>[]): Group<Input> {
  return { rows, find: (input) => subjects(input).flatMap((one) => findings(rows, one).slice(0, 1)) };
}

/** Finds, for each subject, every row that matches. */
export function every<Input, S>(subjects: (input: Input) => readonly S[], rows: readonly Row<S>[]): Group<Input> {
  return { rows, find: (input) => subjects(input).flatMap((one) => findings(rows, one)) };
}

/** Applies groups in turn to each part of the input. When `cause` finds something, the others are not asked. */
export function nested<Input, Part>(
  parts: (input: Input) => readonly Part[],
  cause: Group<Part>,
  others: readonly Group<Part>[],
): Group<Input> {
  const findIn = (part: Part) => {
    const found = cause.find(part);
    return found.length > 0 ? found : others.flatMap(({ find }) => find(part));
  };
  const rows = [cause, ...others].flatMap((one) => one.rows);
  return { rows, find: (input) => parts(input).flatMap(findIn) };
}

function findings<S>(rows: readonly Row<S>[], subject: S): Finding[] {
  const values = new Map(Object.entries(Object(subject)));
  const filled = (text: string) => text.replaceAll(/\{(\w+)\}/g, (_, hole: string) => String(values.get(hole)));
  return rows
    .filter(({ when }) => when(subject))
    .map(({ code, severity, about, sentence, next }) => ({
      code,
      severity: typeof severity === 'string' ? severity : severity(subject),
      about: filled(about),
      sentence: filled(sentence),
      next: filled(next),
    }));
}
