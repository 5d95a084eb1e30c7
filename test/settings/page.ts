/** What `npm run test:settings` prints and writes. Pure. */
import { PAUSE_LIMIT_MS, type Result } from './measure';

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;
const pauses = ({ held, fresh }: Result['kill']): string => `${held} / ${fresh} ms`;
const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

/** A result as a line for a terminal. */
export function row(r: Result): string {
  return [
    `${r.problems.length === 0 ? 'passed' : 'FAILED'} ${r.name}: up ${seconds(r.upMs)}; longest pause (held / fresh)`,
    `kill ${pauses(r.kill)}, switchover ${pauses(r.switchover)}; back after ${seconds(r.backMs)};`,
    `${r.acknowledged} acknowledged, ${r.lost} lost; doctor: ${r.doctor.join(', ') || 'nothing'}; load average ${r.load}`,
  ].join(' ');
}

/** The page for docs/results. */
export function page(results: readonly Result[], all: number, machine: string): string {
  const failed = results.filter(({ problems }) => problems.length > 0);
  const names = Object.keys(results[0]?.settings ?? {});
  const worst = (of: (r: Result) => Result['kill']) => Math.max(0, ...results.flatMap((r) => Object.values(of(r))));
  return [
    '# Extreme settings of PostgreSQL',
    '',
    `Made by \`npm run test:settings\`: ${results.length} of ${all} groups, ${failed.length} of them failed. ${machine}, one machine for`,
    'all of it, the clients too; one replica.',
    '',
    `Each group gives ${names.length} settings a value, and every pair of values of two settings is in one of the groups`,
    '(`test/settings/extremes.ts`). `npm run up` applies a group under a writer with a held and a fresh connection. Then the',
    'leader is killed and started again, and gets the lead back by a switchover. A group has passed when no acknowledged',
    `write was lost, no client waited for longer than ${seconds(PAUSE_LIMIT_MS)} for a write in either change of leader, the killed node`,
    'came back, and `doctor` found nothing but an archive that fails, where the group has one.',
    '',
    `Longest pause: ${worst((r) => r.kill)} ms in a kill, ${worst((r) => r.switchover)} ms in a switchover. Lost: ${results.reduce((sum, r) => sum + r.lost, 0)} of ${results.reduce((sum, r) => sum + r.acknowledged, 0)} acknowledged writes.`,
    '',
    '## Results',
    '',
    '| group | day, commit | `up` until all is well | kill: pause held / fresh | killed node back after | switchover: pause held / fresh | acknowledged | lost | `doctor` | load average | |',
    '|---|---|---|---|---|---|---|---|---|---|---|',
    ...results.map(
      (r) =>
        `| ${r.name} | ${r.date}, ${r.tree} | ${seconds(r.upMs)} | ${pauses(r.kill)} | ${seconds(r.backMs)} | ${pauses(r.switchover)} | ${r.acknowledged} | ${r.lost} | ${r.doctor.join(', ') || 'nothing'} | ${r.load} | ${r.problems.length === 0 ? 'passed' : `failed: ${cell(r.problems.join('; '))}`} |`,
    ),
    '',
    '## Values',
    '',
    `| setting | ${results.map(({ name }) => name).join(' | ')} |`,
    `|---|${results.map(() => '---|').join('')}`,
    ...names.map(
      (name) => `| \`${name}\` | ${results.map(({ settings }) => cell(settings[name] || '(empty)')).join(' | ')} |`,
    ),
    '',
  ].join('\n');
}
