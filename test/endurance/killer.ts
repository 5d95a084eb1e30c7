/**
 * Waits inside a node's container for a program to run, waits a little longer, and kills it.
 *
 *     node killer.mjs <name of the program> <ms>
 */
import { readdirSync, readFileSync } from 'node:fs';

const [NAME = '', AFTER = 0] = [process.argv[2], Number(process.argv[3])];

function find(): number | null {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    try {
      const [program = ''] = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
      if (program.split('/').at(-1) === NAME) return Number(entry);
    } catch {
      // It has ended.
    }
  }
  return null;
}

const look = setInterval(() => {
  const pid = find();
  if (pid === null) return;
  clearInterval(look);
  clearTimeout(limit);
  setTimeout(() => {
    try {
      process.kill(pid, 'SIGKILL');
      process.stdout.write('killed\n');
    } catch {
      process.stdout.write('ended before\n');
    }
  }, AFTER);
}, 3);
const limit = setTimeout(() => process.exit(0), 20_000);
process.stdout.write('waits\n');
