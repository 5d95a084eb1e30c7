/** A thousand failovers in one life of the monitor, in the simulator's world. */
import { Program, script } from '../rig/program';
import type { Block } from './life';
import type { Part } from './report';

const [FAILOVERS, BLOCK] = [1_000, 200];
const MB = 1024 * 1024;

export const LIFE_PART: Part = {
  name: 'life',
  title: 'a thousand kills, rejoins and copies in one life of the monitor, in the simulator’s world',
  run: async (report, say) => {
    const blocks: Block[] = [];
    const [node, args] = script('test/endurance/life.ts', [String(FAILOVERS), String(BLOCK)]);
    const program = new Program(node, ['--expose-gc', ...args], (line) => {
      say(line);
      blocks.push(JSON.parse(line) as Block);
    });
    const code = await program.ended;
    report.must(code === 0, `the run ended with ${code}`);
    const [first, last] = [blocks[0], blocks.at(-1)];
    if (first === undefined || last === undefined) return;
    report.must(last.failovers === FAILOVERS, `only ${last.failovers} failovers were made`);
    report.note(
      `first and last ${BLOCK} of ${FAILOVERS} failovers; every fifth time the killed node comes back without its data`,
    );
    report.constant('largest stored state', 'bytes', first.stateBytes, last.stateBytes, { plus: 200 });
    report.constant('entries of the ledger', '', first.ledger, last.ledger);
    report.constant('time of a decision (median)', 'µs', first.decideUs, last.decideUs, { factor: 1.5, plus: 5 });
    report.constant(
      'heap after a collection, without the simulated WAL',
      'MB',
      first.heapBytes / MB,
      last.heapBytes / MB,
      { plus: 2 },
    );
    report.constant('lines of the log for each failover', '', first.lines, last.lines, { factor: 1.1 });
    report.constant('kill until the new leader is open (simulated, median)', 'ms', first.openMs, last.openMs, {
      factor: 1.25,
    });
    report.constant(
      'start of the killed node until all is well (simulated, median)',
      'ms',
      first.rejoinMs,
      last.rejoinMs,
      { factor: 1.25 },
    );
  },
};
