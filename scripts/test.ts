/**
 * `npm test`: set-up if needed, then all checks. All phases run even if one fails; only a failed set-up prevents them.
 * The last line says how many checks passed and failed in all phases.
 *
 *   npm test -- --list           the phases
 *   npm test -- --only unit      one phase (may be given again)
 */

import { parseArgs } from 'node:util';
import { messageOf } from '../failover/contract/errors';
import { runCommand } from './lib/command';
import { PHASES, type Phase } from './lib/phases';
import { setUp } from './lib/setup';
import { DEFAULT_STACK } from './lib/stack';
import { StepFailed } from './lib/steps';
import { type PhaseReport, summary, table } from './lib/summary';
import { aligned, paint, say, seconds } from './lib/terminal';

/** Set-up is also a phase: its time is measured, and it counts as one failure when it fails. */
const SET_UP = 'set-up';

async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: { only: { type: 'string', multiple: true }, list: { type: 'boolean' } },
  });
  if (values.list) {
    say(aligned(PHASES.map((phase) => [phase.name, phase.about])));
    return 0;
  }
  const phases = chosen(values.only);
  const reports: PhaseReport[] = [];
  if (!phases.some((phase) => phase.needsSetUp) || (await prepared(reports))) await runPhases(phases, reports);
  say(`\n${table(reports)}\n`);
  for (const report of reports.filter((one) => one.failed > 0))
    say(paint('red', `${report.name}: ${report.notes.join('\n  ')}`));
  const total = summary(reports);
  say(total.line);
  return total.failed === 0 ? 0 : 1;
}

function chosen(only: readonly string[] | undefined): readonly Phase[] {
  if (!only) return PHASES;
  const unknown = only.filter((name) => !PHASES.some((phase) => phase.name === name));
  if (unknown.length > 0)
    throw new Error(`--only ${unknown.join(', ')}: allowed are ${PHASES.map((phase) => phase.name).join(', ')}`);
  return PHASES.filter((phase) => only.includes(phase.name));
}

async function prepared(reports: PhaseReport[]): Promise<boolean> {
  say(paint('bold', SET_UP));
  const begin = performance.now();
  const report = (passed: number, notes: string[] = []) =>
    reports.push({ name: SET_UP, ms: performance.now() - begin, passed, failed: 1 - passed, skipped: 0, notes });
  try {
    await setUp(DEFAULT_STACK, 'tests');
    report(1);
    return true;
  } catch (error) {
    if (!(error instanceof StepFailed)) say(messageOf(error));
    report(0, [messageOf(error), 'the other phases could not run']);
    return false;
  }
}

/** Runs phases in order. Neighbouring phases that measure no time run in parallel. */
async function runPhases(phases: readonly Phase[], reports: PhaseReport[]): Promise<void> {
  const waiting = [...phases];
  while (waiting.length > 0) {
    const first = waiting.findIndex((phase) => !phase.sideBySide);
    const lane = first === 0 ? waiting.splice(0, 1) : waiting.splice(0, first < 0 ? waiting.length : first);
    reports.push(...(await Promise.all(lane.map(runPhase))));
  }
}

async function runPhase(phase: Phase): Promise<PhaseReport> {
  say(paint('bold', `\n${phase.name}: ${phase.about}`));
  const begin = performance.now();
  try {
    const result = await phase.run();
    const report = { name: phase.name, ms: performance.now() - begin, ...result };
    const mark = report.failed > 0 ? paint('red', '✗') : paint('green', '✓');
    say(`  ${mark} ${phase.name} (${seconds(report.ms)}): ${report.passed} passed, ${report.failed} failed`);
    return report;
  } catch (error) {
    const notes = [messageOf(error)];
    return { name: phase.name, ms: performance.now() - begin, passed: 0, failed: 1, skipped: 0, notes };
  }
}

void runCommand(main);
