/** What `npm run test:change` prints and writes. Pure. */
import type { Result } from './measure';

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

/** A result as a line for a terminal. */
export function row(r: Result): string {
  return [
    `${r.problems.length === 0 ? 'passed' : 'FAILED'} ${r.name}: ${r.requests} requests, ${r.failed} failed, ${r.lost} lost, ${r.duplicated} duplicated;`,
    `${r.writes} writes, ${r.lostWrites} lost; longest pause held ${r.heldMs} ms, fresh ${r.freshMs} ms (calm before: ${r.calmMs} ms);`,
    `up ${seconds(r.upMs)}, all healthy after ${seconds(r.healthyMs)}; load average ${r.load}; ${r.notes.join('; ')}`,
  ].join(' ');
}

/** `replace Container a, b; update Command c`. */
function touched(preview: readonly string[]): string {
  const groups = Map.groupBy(preview, (line) => line.split(' ').slice(0, 2).join(' '));
  const words = [...groups].map(([head, lines]) => {
    const names = lines.map((line) => line.split(' ').slice(2).join(' '));
    return `${head} ${names.map((name) => `\`${name}\``).join(', ')}`;
  });
  return words.join('; ') || 'nothing';
}

/** The page for docs/results. */
export function page(results: readonly Result[], machine: string, rate: number, tree: string): string {
  return [
    '# Changing a running stack under load',
    '',
    `Made by \`npm run test:change\` on ${results.at(-1)?.date.slice(0, 10)} at ${tree}: ${machine}, one machine for all of it, the clients too. Two backends.`,
    `${rate} HTTP requests a second by clients that send nothing twice; an SQL writer with one held and one fresh connection; one session that is open throughout.`,
    '`failed`: no answer or not the right one. `lost`: acknowledged registrations and writes compared with the tables by SQL. The pause is the longest time without an acknowledgement',
    'from the beginning of `pulumi up` until 5 s after all nodes were healthy, of the held / the fresh connection; beside it the longest one in the calm before, which is the machine’s own.',
    'After each change `pulumi preview --expect-no-changes` has to pass.',
    '',
    '| point | change | `pulumi preview` said | requests | failed | lost | longest pause of the writer | calm before | `up` took | all healthy after | load average | notes | |',
    '|---|---|---|---|---|---|---|---|---|---|---|---|---|',
    ...results.map(
      (r) =>
        `| ${r.point} | ${r.title} | ${touched(r.preview)} | ${r.requests} | ${r.failed} | ${r.lost + r.lostWrites} | ${r.heldMs} / ${r.freshMs} ms | ${r.calmMs} ms | ${seconds(r.upMs)} | ${seconds(r.healthyMs)} | ${r.load} | ${r.notes.join('; ')} | ${r.problems.length === 0 ? 'passed' : `failed: ${r.problems.join('; ')}`} |`,
    ),
    '',
    'Where the lead moves, sessions of SQL clients end as in any planned hand-over and a client that sends nothing twice notices it; no new connection is refused. HAProxy’s own replacement is the one exception:',
    'see “The one gap” in [docs/config.md](../config.md). Point 5 is also held by `test/upgrade`, which previews today’s program against the state of every release, and point 6 by `test/components/config-effects`.',
    '',
  ].join('\n');
}
