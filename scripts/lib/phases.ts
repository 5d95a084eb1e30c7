/** The phases of `npm test`, in their order. */
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { removeAllOf } from './docker';
import { run } from './exec';
import { PATHS } from './paths';
import { type Counts, fromJunit, fromVitest } from './summary';
import { say } from './terminal';

const MINUTE_MS = 60_000;
const CHECK_MS = 10 * MINUTE_MS;
const UNIT_MS = 10 * MINUTE_MS;
const SIM_MS = 15 * MINUTE_MS;
const BACKEND_MS = 15 * MINUTE_MS;
const DOCKER_MS = 60 * MINUTE_MS;
/** Label of the end-to-end test's stack. Remains of an interrupted earlier run are removed first. */
export const E2E_LABEL = 'postgres-failover.stack=postgres-failover/e2e';

export interface Phase {
  name: string;
  about: string;
  /** Needs Docker, the base image and a Pulumi CLI. */
  needsSetUp: boolean;
  /** The phase measures no time, so it may run beside its neighbours. */
  sideBySide: boolean;
  run: () => Promise<Counts>;
}

export const PHASES: readonly Phase[] = [
  check('types', 'tsc', ['tsc', '--noEmit']),
  check('page-types', 'tsc of the status page', ['tsc', '--noEmit', '-p', 'failover/page']),
  check('biome', 'format and lint', ['biome', 'check', '.']),
  check('eslint', 'the rules that need types', ['eslint', '.', '--max-warnings', '0']),
  check('docs', 'generated parts of the documents are up to date', ['tsx', 'scripts/docs.ts', '--check']),
  { ...check('backend-lint', 'ruff and mypy', ['sh', 'backend/scripts/lint.sh']), sideBySide: false },
  vitestPhase('unit', 'TypeScript without Docker', { needsSetUp: false, deadlineMs: UNIT_MS }),
  vitestPhase('sim', '500 seeds of the simulator, each rule taken out once, every history of a small world', {
    needsSetUp: false,
    deadlineMs: SIM_MS,
  }),
  { name: 'backend', about: 'pytest', needsSetUp: true, sideBySide: false, run: pytest },
  // One run, so that the layers of the images are built once for both.
  vitestPhase(
    'docker',
    'offline kit, images, backups, the whole story on Docker',
    { needsSetUp: true, deadlineMs: DOCKER_MS },
    ['data', 'docker'],
  ),
];

/** Path of a phase's report. */
function report(name: string): string {
  mkdirSync(PATHS.reports, { recursive: true });
  const file = join(PATHS.reports, name);
  rmSync(file, { force: true });
  return file;
}

/** A tool that passes or fails as a whole; its output is shown when it fails. */
function check(name: string, about: string, command: readonly string[]): Phase {
  return {
    name,
    about,
    needsSetUp: false,
    sideBySide: true,
    run: async () => {
      const [program = '', ...args] = command;
      const lines: string[] = [];
      const onLine = (line: string) => lines.push(line);
      const result = await run(program, args, { cwd: PATHS.root, deadlineMs: CHECK_MS, onLine });
      if (result.code === 0) return { passed: 1, failed: 0, skipped: 0, notes: [] };
      say(lines.join('\n'));
      return { passed: 0, failed: 1, skipped: 0, notes: [`${command.join(' ')} (exit code ${result.code})`] };
    },
  };
}

function vitestPhase(
  name: string,
  about: string,
  options: { needsSetUp: boolean; deadlineMs: number },
  projects: readonly string[] = [name],
): Phase {
  return {
    name,
    about,
    needsSetUp: options.needsSetUp,
    sideBySide: false,
    run: async () => {
      if (options.needsSetUp) await removeLeftovers();
      const file = report(`${name}.json`);
      const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
      // Prints output immediately, because people watch the progress of a long test.
      const chosen = projects.flatMap((project) => ['--project', project]);
      const args = ['run', ...chosen, '--disable-console-intercept', ...reporters];
      const result = await run('vitest', args, { cwd: PATHS.root, deadlineMs: options.deadlineMs, onLine: say });
      return counted(result.code, result.tail, () => fromVitest(JSON.parse(readFileSync(file, 'utf8'))));
    },
  };
}

async function removeLeftovers(): Promise<void> {
  const removed = await removeAllOf(E2E_LABEL);
  if (removed.length > 0) say(`Removed what an earlier run left: ${removed.join(', ')}`);
}

async function pytest(): Promise<Counts> {
  const file = report('backend.xml');
  const args = ['backend/scripts/test.sh', `--junitxml=${file}`];
  const result = await run('sh', args, { cwd: PATHS.root, deadlineMs: BACKEND_MS, onLine: say });
  return counted(result.code, result.tail, () => fromJunit(readFileSync(file, 'utf8')));
}

/** Counts of a report. A failed run never counts as passed, with or without a report. */
function counted(code: number, tail: readonly string[], read: () => Counts): Counts {
  try {
    const counts = read();
    if (code === 0 || counts.failed > 0) return counts;
    return { ...counts, failed: 1, notes: [`exit code ${code}`, ...tail] };
  } catch {
    return { passed: 0, failed: 1, skipped: 0, notes: [`no report, exit code ${code}`, ...tail] };
  }
}
