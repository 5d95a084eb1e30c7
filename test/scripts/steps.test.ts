import { describe, expect, test } from 'vitest';
import { runSteps, type Step, StepFailed, type StepView } from '../../scripts/lib/steps';

/** Records what a person would see. */
function recorder(): { view: StepView; seen: string[] } {
  const seen: string[] = [];
  const view: StepView = {
    started: (name) => seen.push(`start ${name}`),
    progress: (name, line) => seen.push(`${name}: ${line}`),
    finished: (report) => seen.push(`${report.outcome} ${report.name}`),
    failed: (name, _ms, error) => seen.push(`failed ${name}: ${error.message}`),
    close: () => seen.push('close'),
  };
  return { view, seen };
}

const done = { outcome: 'done' } as const;
const step = (name: string, needs: string[] = [], run: Step['run'] = async () => done): Step => ({ name, needs, run });

describe('the step runner', () => {
  test('starts steps without needs side by side and the others after what they need', async () => {
    const { view, seen } = recorder();
    const released = Promise.withResolvers<void>();
    const slow: Step['run'] = async () => {
      await released.promise;
      return done;
    };
    const skip: Step['run'] = async () => {
      released.resolve();
      return { outcome: 'skipped' };
    };
    const steps = [step('slow', [], slow), step('quick'), step('after quick', ['quick'], skip)];
    const reports = await runSteps([...steps, step('last', ['slow', 'after quick'])], view);
    expect(reports.map((report) => report.name)).toEqual(['quick', 'after quick', 'slow', 'last']);
    expect(seen.slice(0, 2)).toEqual(['start slow', 'start quick']);
    expect(seen).toContain('skipped after quick');
    expect(seen.at(-1)).toBe('close');
  });

  test('starts nothing more after a failure, stops what runs, and throws the first failure', async () => {
    const { view, seen } = recorder();
    const untilAborted: Step['run'] = ({ signal }) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    const fail = () => Promise.reject(new Error('apt says no'));
    const steps = [step('long', [], untilAborted), step('bad', [], fail), step('never', ['bad'])];
    const running = runSteps(steps, view);
    await expect(running).rejects.toThrow(StepFailed);
    await expect(running).rejects.toMatchObject({ step: 'bad' });
    expect(seen).toContain('failed bad: apt says no');
    expect(seen.filter((line) => line.includes('never'))).toEqual([]);
    expect(seen.filter((line) => line.startsWith('failed'))).toHaveLength(1);
  });

  test('passes the newest line of output on', async () => {
    const { view, seen } = recorder();
    const tell: Step['run'] = async ({ progress }) => {
      progress('42 %');
      return done;
    };
    await runSteps([step('a', [], tell)], view);
    expect(seen).toContain('a: 42 %');
  });

  test('refuses a need that comes no earlier', async () => {
    await expect(runSteps([step('a', ['b']), step('b')], recorder().view)).rejects.toThrow('step "a" needs "b"');
  });
});
