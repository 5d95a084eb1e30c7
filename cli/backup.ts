/** `backup status|list|now|verify`: what they ask the monitor, and what they print. */
import type { BackupPart, BackupSummary, BackupsPart, RestoreTestStatus } from '../failover/contract/api';
import { placeName, placeWords } from '../failover/contract/backup-place';
import { type Gap, type JobKind, partsOf, RepositoryName } from '../failover/contract/backups';
import { localTime } from '../failover/contract/log-line';
import { restoreTestWords } from '../failover/contract/restore-test-words';
import type { Client } from './client';
import { type Common, clientOf } from './commands';
import { EXIT, type ExitCode, Failed } from './exit';
import type { Io } from './io';
import { Patience } from './patience';
import { bytes } from './render';

/** Interval between two questions for a job's progress, ms. */
const ASK_MS = 1_000;
/** A job has to begin within this time, ms. A keeper hears of it with the next ping. */
const BEGIN_MS = 60_000;

export interface BackupOptions extends Common {
  json?: boolean;
}
/** Options of the commands that begin a job. */
export interface JobOptions extends BackupOptions {
  repository?: string;
}
export interface NowOptions extends JobOptions {
  full?: boolean;
  diff?: boolean;
}

type Job = NonNullable<BackupPart['lastJob']>;

export async function backupStatus(io: Io, options: BackupOptions): Promise<ExitCode> {
  const { second: other, ...first } = await clientOf(io.target(options.stack)).backups();
  const summary: BackupSummary = { ...inShort(first), ...(other && { second: inShort(other) }) };
  if (options.json) io.out(JSON.stringify(summary, null, 2));
  else for (const line of summaryLines(summary, io)) io.out(line);
  const isWell = partsOf<BackupPart>(summary).every(
    ({ old, problem, restoreTest: test }) =>
      old === null && problem === null && (test?.old ?? null) === null && test?.last?.result !== 'failed',
  );
  return isWell ? EXIT.ok : EXIT.failed;
}

function inShort({ backups: _, leftOut: __, ...part }: BackupsPart): BackupPart {
  return part;
}

export async function backupList(io: Io, options: BackupOptions): Promise<ExitCode> {
  const answer = await clientOf(io.target(options.stack)).backups();
  if (options.json) io.out(JSON.stringify(answer, null, 2));
  else {
    listPart(answer, io);
    const { second } = answer;
    if (second !== undefined) {
      io.out(`\nIn the second place, ${placeName(second.repository)}:`);
      listPart(second, io);
    }
  }
  return EXIT.ok;
}

function listPart(answer: BackupsPart, io: Io): void {
  for (const line of table(answer)) io.out(line);
  if (answer.leftOut > 0) io.out(`${answer.leftOut} older ones are left out.`);
  io.out(windowLine(answer));
  for (const line of gapLines(answer.archive.gaps, answer.archive.gap, io)) io.out(line);
  if (answer.restoreTest !== undefined) for (const line of testLines(answer.restoreTest, io)) io.out(line);
}

export function backupNow(io: Io, options: NowOptions): Promise<ExitCode> {
  if (options.full && options.diff) throw new Failed(EXIT.usage, 'Give --full or --diff, not both.');
  return runJob(io, options, options.full ? 'full' : options.diff ? 'diff' : 'incr');
}

export function backupVerify(io: Io, options: JobOptions): Promise<ExitCode> {
  return runJob(io, options, 'verify');
}

/** Begins a job, shows its progress and ends with it. */
async function runJob(io: Io, options: JobOptions, kind: JobKind): Promise<ExitCode> {
  const repository = repositoryOf(options);
  const client = clientOf(io.target(options.stack));
  const {
    done,
    message,
    job: id,
  } = await client.command('backup', { kind, ...(repository && { repository }) }, { dryRun: false });
  if (!done || id === undefined) throw new Failed(EXIT.failed, `refused: ${message}`);
  io.err(`${message}. Ctrl-C ends only this display.`);
  const job = await follow(io, client, id);
  if (job === null) return EXIT.failed;
  if (options.json) io.out(JSON.stringify(job, null, 2));
  else if (job.result === 'done') io.out(`${job.message} (${Math.round(job.tookMs / 100) / 10} s)`);
  else io.err(io.paint('red', `${kind} failed: ${job.message}`));
  return job.result === 'done' ? EXIT.ok : EXIT.failed;
}

function repositoryOf({ repository }: JobOptions): RepositoryName | undefined {
  if (repository === undefined) return undefined;
  const parsed = RepositoryName.safeParse(repository);
  if (parsed.success) return parsed.data;
  throw new Failed(
    EXIT.usage,
    `--repository: ${JSON.stringify(repository)} is refused; must be ${RepositoryName.options.join(' or ')}`,
  );
}

/** Waits for the end of a job, also across a change of leader. Null: the person does not wait for it. */
async function follow(io: Io, client: Client, id: string): Promise<Job | null> {
  let shown = '';
  let seenMs = performance.now();
  const patience = new Patience();
  while (!io.stopped.aborted) {
    const answer = await patience.answerTo(client.backups());
    if (answer !== null) {
      const parts = partsOf<BackupPart>(answer);
      const end = parts.find(({ lastJob }) => lastJob?.id === id)?.lastJob;
      if (end != null && end.result !== 'stopped') return end;
      const part = parts.find(({ job }) => job?.id === id) ?? answer;
      if (part.job?.id === id) seenMs = performance.now();
      else if (performance.now() - seenMs > BEGIN_MS) {
        throw new Failed(EXIT.failed, 'The monitor does not know this job any more; backup list shows what was made.');
      }
      const words = progressOf(part, id);
      if (words !== shown) io.err(words);
      shown = words;
    }
    await io.sleep(ASK_MS);
  }
  return null;
}

function progressOf({ job }: BackupPart, id: string): string {
  if (job?.id !== id || job.since === null) return 'waits to begin';
  return job.progress === null ? `runs (${job.kind})` : `runs (${job.kind}): ${Math.round(job.progress * 100)} %`;
}

/** The backups in short, as lines for people. */
export function summaryLines(summary: BackupSummary, io: Pick<Io, 'paint'>): string[] {
  const { second } = summary;
  return [
    ...partLines(summary, io),
    ...(second === undefined
      ? []
      : [
          '',
          `The second place, ${placeName(second.repository)}:`,
          ...partLines(second, io).map((line) => `  ${line}`),
        ]),
    placeWords(summary),
  ];
}

function partLines(summary: BackupPart, io: Pick<Io, 'paint'>): string[] {
  const { lastFull, last, next, job, lastJob, archive, old, problem } = summary;
  const made = (one: BackupPart['last']) =>
    one === null ? 'none' : `${one.label} (${one.type}), ${time(one.at)}, ${bytes(one.sizeBytes)}`;
  const waits = archive.waitingBytes === null ? '' : `, ${bytes(archive.waitingBytes)} wait for the archive`;
  const free = summary.freeBytes === null ? '' : `, ${bytes(summary.freeBytes)} free`;
  return [
    windowLine(summary),
    `Last full backup: ${made(lastFull)}`,
    `Last backup: ${made(last)}`,
    next === null ? 'Next backup: not known' : `Next backup: ${next.kind}, ${time(next.at)}`,
    ...(job === null ? [] : [`Now: ${progressOf(summary, job.id)}`]),
    ...(lastJob === null
      ? []
      : [`Last job: ${lastJob.kind} ${lastJob.result}, ${time(lastJob.ended)}: ${lastJob.message}`]),
    ...(summary.restoreTest === undefined ? [] : testLines(summary.restoreTest, io)),
    `Archive: ${archive.open ? 'the leader archives' : 'the leader does NOT archive now'}${waits}`,
    `Stored: ${bytes(summary.storedBytes)} for all backups${free}`,
    ...(archive.gap === null ? [] : gapLines([archive.gap], archive.gap, io)),
    ...(old === null ? [] : [io.paint('red', `Too old: ${old}`)]),
    ...(problem === null ? [] : [io.paint('red', `Problem: ${problem}`)]),
  ];
}

/** The tested restores. */
function testLines(test: RestoreTestStatus, io: Pick<Io, 'paint'>): string[] {
  const { failed, words } = restoreTestWords(test, time);
  return [`Restore test: ${words}`, ...failed.map((sentence) => io.paint('red', sentence))];
}

function windowLine({ window }: Pick<BackupPart, 'window'>): string {
  if (window === null) return 'A restore can reach: nothing yet, there is no backup that can be restored.';
  return `A restore can reach: from ${time(window.from)} to ${time(window.to)}`;
}

/** A line for each gap. `open`: the one after which there is no backup yet. */
function gapLines(gaps: readonly Gap[], open: Gap | null, io: Pick<Io, 'paint'>): string[] {
  return gaps.map(({ from, to }) => {
    const line = `Gap: the files ${from} to ${to} of the write-ahead log are in no backup`;
    return to === open?.to ? io.paint('red', `${line}, and no backup made since can be restored.`) : `${line}.`;
  });
}

type Row = BackupsPart['backups'][number];

const COLUMNS: readonly (readonly [string, (one: Row) => string])[] = [
  ['label', ({ label }) => label],
  ['type', ({ type }) => type],
  ['begin', ({ start }) => time(start)],
  ['end', ({ stop }) => time(stop)],
  ['size', ({ sizeBytes }) => bytes(sizeBytes)],
  ['stored', ({ storedBytes }) => bytes(storedBytes)],
  ['write-ahead log', ({ walStart, walStop }) => `${walStart ?? '?'} … ${walStop ?? '?'}`],
  [
    '',
    ({ usable, hasErrors }) =>
      [...(usable ? [] : ['not restorable']), ...(hasErrors ? ['wrong pages'] : [])].join(', '),
  ],
];

function table({ backups }: BackupsPart): string[] {
  const rows = [COLUMNS.map(([name]) => name), ...backups.map((one) => COLUMNS.map(([, cell]) => cell(one)))];
  const widths = COLUMNS.map((_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** Local time with its zone and without milliseconds, as a restore takes it: `2026-11-24 21:55:22+07:00`. */
function time(at: string): string {
  const text = localTime(new Date(at));
  return `${text.slice(0, 19).replace('T', ' ')}${text.slice(23)}`;
}
