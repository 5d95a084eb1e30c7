import { describe, expect, test } from 'vitest';
import { fromJunit, fromVitest, type PhaseReport, summary, table } from '../../scripts/lib/summary';

const report = (name: string, passed: number, failed: number): PhaseReport => {
  return { name, ms: 1500, passed, failed, skipped: 0, notes: [] };
};

describe('the last line of npm test', () => {
  test('adds up all phases', () => {
    const both = summary([report('a', 3, 0), report('b', 0, 2)]);
    expect(both).toEqual({ passed: 3, failed: 2, line: '3 passed, 2 failed' });
    expect(summary([]).line).toBe('0 passed, 0 failed');
  });

  test('stands below an aligned table', () => {
    expect(table([report('types', 1, 0), report('a longer name', 120, 3)]).split('\n')).toEqual([
      'phase          seconds  passed  failed',
      'types              1.5       1       0',
      'a longer name      1.5     120       3',
    ]);
  });
});

describe('counting vitest', () => {
  const file = (status: string, tests: [string, string][]) => ({
    name: 'x.test.ts',
    status,
    message: status === 'failed' && tests.length === 0 ? 'Cannot find module\nmore' : '',
    assertionResults: tests.map(([fullName, one]) => ({ fullName, status: one })),
  });
  const json = (
    files: ReturnType<typeof file>[],
    [numPassedTests, numFailedTests]: [number, number],
    success: boolean,
  ) => {
    return { success, numPassedTests, numFailedTests, numPendingTests: 0, testResults: files };
  };

  test('takes its numbers and names what failed', () => {
    const tests = { 'a works': 'passed', 'b breaks': 'failed' };
    const counts = fromVitest(json([file('failed', Object.entries(tests))], [1, 1], false));
    expect(counts).toEqual({ passed: 1, failed: 1, skipped: 0, notes: ['x.test.ts: b breaks'] });
  });

  test('counts a file that could not be loaded as one failure', () => {
    const counts = fromVitest(json([file('failed', [])], [0, 0], false));
    expect(counts).toMatchObject({ failed: 1, notes: ['x.test.ts: Cannot find module'] });
  });

  test('counts a run that failed outside its tests as one failure', () => {
    expect(fromVitest(json([file('passed', [['a', 'passed']])], [1, 0], false)).failed).toBe(1);
  });
});

describe('counting pytest', () => {
  test('takes the numbers of its JUnit report', () => {
    const xml = [
      '<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests">',
      '<testsuite name="pytest" errors="1" failures="2" skipped="1" tests="10" time="1.0">',
      '<testcase classname="tests.test_api" name="test_ok" time="0.1" />',
      '<testcase classname="tests.test_api" name="test_bad[a&gt;b]" time="0.1"><failure message="no">…</failure></testcase>',
      '</testsuite></testsuites>',
    ].join('\n');
    const notes = ['tests.test_api: test_bad[a&gt;b]'];
    expect(fromJunit(xml)).toEqual({ passed: 6, failed: 3, skipped: 1, notes });
  });
});
