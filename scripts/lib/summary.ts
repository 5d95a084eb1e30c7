/** Reads the test phases' counts from their reports and adds them up. Pure. */
import { z } from 'zod';

export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
  /** What failed, for people. */
  notes: string[];
}

export interface PhaseReport extends Counts {
  name: string;
  ms: number;
}

const VitestReport = z.object({
  success: z.boolean(),
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numPendingTests: z.number(),
  numTodoTests: z.number().default(0),
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      message: z.string().default(''),
      assertionResults: z.array(z.object({ fullName: z.string(), status: z.string() })),
    }),
  ),
});

/**
 * Counts of vitest's JSON report. A file that fails before its tests (a bad import, a hook) is one failure, because its
 * tests are not counted anywhere.
 */
export function fromVitest(json: unknown): Counts {
  const report = VitestReport.parse(json);
  const failedTests = report.testResults.flatMap((file) =>
    file.assertionResults.filter((test) => test.status === 'failed').map((test) => `${file.name}: ${test.fullName}`),
  );
  const failedFiles = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  );
  const failed = report.numFailedTests + failedFiles.length;
  return {
    passed: report.numPassedTests,
    // An error outside of any test makes the run fail too.
    failed: failed === 0 && !report.success ? 1 : failed,
    skipped: report.numPendingTests + report.numTodoTests,
    notes: [...failedTests, ...failedFiles.map((file) => `${file.name}: ${file.message.split('\n')[0]}`)],
  };
}

/** Counts of a JUnit report as pytest writes it: the numbers are in its `testsuite` elements. */
export function fromJunit(xml: string): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0, notes: [] };
  for (const [suite] of xml.matchAll(/<testsuite\s[^>]*>/g)) {
    const number = (name: string) => Number(new RegExp(`\\s${name}="(\\d+)"`).exec(suite)?.[1] ?? 0);
    const failed = number('failures') + number('errors');
    const skipped = number('skipped');
    counts.failed += failed;
    counts.skipped += skipped;
    counts.passed += Math.max(0, number('tests') - failed - skipped);
  }
  for (const [, attributes] of xml.matchAll(/<testcase\s([^>]*[^/])>\s*<(?:failure|error)/g)) {
    const value = (name: string) => new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(attributes ?? '')?.[1] ?? '';
    counts.notes.push(`${value('classname')}: ${value('name')}`);
  }
  return counts;
}

/** The sums and the last line of `npm test`. */
export function summary(reports: readonly PhaseReport[]): { passed: number; failed: number; line: string } {
  const passed = reports.reduce((sum, report) => sum + report.passed, 0);
  const failed = reports.reduce((sum, report) => sum + report.failed, 0);
  return { passed, failed, line: `${passed} passed, ${failed} failed` };
}

/** Phases as a table: name, seconds, passed, failed, and skipped if any test was skipped. */
export function table(reports: readonly PhaseReport[]): string {
  const withSkipped = reports.some((report) => report.skipped > 0);
  const head = ['phase', 'seconds', 'passed', 'failed', ...(withSkipped ? ['skipped'] : [])];
  const rows = reports.map((report) => [
    report.name,
    (report.ms / 1000).toFixed(1),
    String(report.passed),
    String(report.failed),
    ...(withSkipped ? [String(report.skipped)] : []),
  ]);
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all
    .map((row) =>
      row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))),
    )
    .map((cells) => cells.join('  '))
    .join('\n');
}
