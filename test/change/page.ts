/** What `npm run test:change` prints and writes. Pure. */
import type { Result } from './measure';

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

/** One result as a line for the terminal. */
export function row(r: Result): string {
  return [
    `${r.problems.length === 0 ? 'passed' : 'FAILED'} ${r.name}: ${r.requests} requests, ${r.failed} failed, ${r.lost} lost, ${r.duplicated} duplicated;`,
    `${r.writes} writes, ${r.lostWrites} lost; longest pause held ${r.heldMs} ms, fresh ${r.freshMs} ms (calm before: ${r.calmMs} ms);`,
    `up ${seconds(r.upMs)}, all healthy after ${seconds(r.healthyMs)}; load average ${r.load}; ${r.notes.join('; ')}`,
  ].join(' ');
}

/** The announced steps in one line, for example `replace Container a, b; update Command c`. */
function touched(preview: readonly string[]): string {
  const groups = Map.groupBy(preview, (line) => line.split(' ').slice(0, 2).join(' '));
  const parts = [...groups].map(([head, lines]) => {
    const names = lines.map((line) => line.split(' ').slice(2).join(' '));
    return `${head} ${names.map((name) => `\`${name}\``).join(', ')}`;
  });
  return parts.join('; ') || 'nothing';
}

/** The page for docs/results. */
export function page(results: readonly Result[], machine: string, rate: number, tree: string): string {
  return [
    '# Changing a running stack under load',
    '',
    `Made by \`npm run test:change\` on ${results.at(-1)?.date.slice(0, 10)} at ${tree}: ${machine}, which also runs the clients. Two backends.`,
    `${rate} HTTP requests a second by clients that repeat no request; an SQL writer with one held and one fresh connection; one session that stays open.`,
    '`failed`: no answer or a wrong one. `lost`: acknowledged registrations and writes that are not in the tables. The pause is the longest time without an acknowledgement',
    'from the beginning of `pulumi up` until 5 s after all nodes were healthy, of the held / the fresh connection. `calm before` is the longest pause in the seconds before the change: it comes from the machine.',
    'After each change `pulumi preview --expect-no-changes` must pass.',
    '',
    '| kind | change | steps of `pulumi preview` | requests | failed | lost | longest pause of the writer | calm before | `up` took | healthy after | load average | notes | |',
    '|---|---|---|---|---|---|---|---|---|---|---|---|---|',
    ...results.map(
      (r) =>
        `| ${r.point} | ${r.title} | ${touched(r.preview)} | ${r.requests} | ${r.failed} | ${r.lost + r.lostWrites} | ${r.heldMs} / ${r.freshMs} ms | ${r.calmMs} ms | ${seconds(r.upMs)} | ${seconds(r.healthyMs)} | ${r.load} | ${r.notes.join('; ')} | ${r.problems.length === 0 ? 'passed' : `failed: ${r.problems.join('; ')}`} |`,
    ),
    '',
    'When the lead moves, sessions of SQL clients end as in every planned switchover, and a client that repeats nothing notices it. No new connection is refused. The one exception is the replacement of HAProxy’s container:',
    'see “The one gap” in [docs/config.md](../config.md). `test/upgrade` also tests upgrades: it previews today’s program against the state of every release. `test/components/config-effects` tests what a change of each config key does.',
    '',
  ].join('\n');
}
