/** The part of the page about backups: what can be restored, the last and the next run, and the archive. */
import { createElement as h, type JSXNode } from 'hono/jsx/dom';
import type { BackupPart, BackupSummary } from '../contract/api';
import { placeName, placeWords } from '../contract/backup-place';
import { restoreTestWords } from '../contract/restore-test-words';
import { type BandPart, bandOf } from './coverage';
import { ago, bytes, clock, span } from './format';

/** The lines of the section. */
export function backupsOf(backup: BackupSummary): JSXNode[] {
  const { second } = backup;
  return [
    ...partOf(backup, ''),
    ...(second === undefined
      ? []
      : [h('h3', null, `Second place: ${placeName(second.repository)}`), ...partOf(second, `-${second.repository}`)]),
    h('p', null, h('small', { id: 'backup-place' }, placeWords(backup))),
  ];
}

/** The lines of one place. `ending`: of the ids of its lines. */
function partOf(backup: BackupPart, ending: string): JSXNode[] {
  const { window, archive, old, problem, lastJob, restoreTest } = backup;
  const test = restoreTest === undefined ? null : restoreTestWords(restoreTest, clock);
  const reach =
    window === null
      ? 'nothing yet: there is no backup that can be restored'
      : `each moment from ${clock(window.from)} to ${clock(window.to)}`;
  const bad = [
    archive.gap === null
      ? null
      : `Gap: the files ${archive.gap.from} to ${archive.gap.to} of the write-ahead log are in no backup.`,
    lastJob?.result === 'failed' ? `The last job failed: ${lastJob.message}` : null,
    old === null ? null : `Too old: ${old}.`,
    problem,
    ...(test?.failed ?? []),
  ].filter((words) => words !== null);
  return [
    line('A restore can reach', reach, `backup-window${ending}`),
    ...bandLines(bandOf(backup, Date.now()), `backup-band${ending}`),
    line('Last', lastOf(backup), `backup-last${ending}`),
    line('Next', nextOf(backup), `backup-next${ending}`),
    ...(test === null ? [] : [line('Restore test', test.words, `backup-test${ending}`)]),
    line('Archive', archiveOf(backup), `backup-archive${ending}`),
    ...(archive.gap === null && archive.gaps.length > 0
      ? [line('Gaps', gapsOf(archive.gaps), `backup-gaps${ending}`)]
      : []),
    ...bad.map((words) => h('p', { class: 'panel bad', role: 'alert' }, words)),
  ];
}

/** The time from the oldest backup to now as a band, and the same in words for those that do not see it. */
function bandLines(parts: readonly BandPart[], id: string): JSXNode[] {
  const first = parts[0];
  if (first === undefined) return [];
  const words = parts.map(wordsOf);
  const drawn = parts.map(({ kind, share }, i) =>
    h('span', { class: kind === 'gap' ? 'bad' : kind, style: { flexGrow: share }, title: words[i] }),
  );
  const from = clock(new Date(first.fromMs).toISOString());
  return [
    h('div', { id, class: 'bar band', role: 'img', 'aria-label': `Coverage: ${words.join('; ')}` }, ...drawn),
    h('p', { class: 'legend ends', 'aria-hidden': 'true' }, h('span', null, from), h('span', null, 'now')),
  ];
}

function wordsOf({ fromMs, toMs, reason }: BandPart): string {
  const stretch = [fromMs, toMs].map((ms) => clock(new Date(ms).toISOString())).join(' to ');
  return reason === null ? `${stretch} can be restored` : `${stretch} cannot be restored: ${reason}`;
}

/** The gaps before the newest usable backup. */
function gapsOf(gaps: BackupPart['archive']['gaps']): string {
  const { from, to } = gaps.at(-1) ?? {};
  return `${gaps.length}, before the window; the newest: ${from} to ${to}`;
}

function line(label: string, words: string, id: string): JSXNode {
  return h('p', null, h('span', { class: 'label' }, label), ' ', h('span', { id }, words));
}

function lastOf({ last, lastFull }: BackupPart): string {
  if (last === null || lastFull === null) return 'none';
  const of = ({ type, at, sizeBytes }: typeof last) => `${type}, ${ago(at)} ago, ${bytes(sizeBytes)}`;
  return last.label === lastFull.label ? of(last) : `${of(last)}; ${of(lastFull)}`;
}

function nextOf({ next, job }: BackupPart): string {
  if (job !== null) {
    const progress = job.progress === null ? '' : ` (${Math.round(job.progress * 100)} %)`;
    return job.since === null ? `${job.kind}, waits to begin` : `${job.kind} runs now${progress}`;
  }
  return next === null ? 'not known' : `${next.kind}, ${clock(next.at)}`;
}

function archiveOf({ archive, storedBytes, freeBytes }: BackupPart): string {
  const state = archive.open ? 'up to date' : 'the leader does not archive now';
  const lag = archive.lagSeconds === null ? '' : `, the newest archived change is ${span(archive.lagSeconds)} old`;
  const waits = (archive.waitingBytes ?? 0) === 0 ? '' : `, ${bytes(archive.waitingBytes ?? 0)} wait`;
  const free = freeBytes === null ? '' : `, ${bytes(freeBytes)} free`;
  return `${state}${lag}${waits}; ${bytes(storedBytes)} for all backups${free}`;
}
