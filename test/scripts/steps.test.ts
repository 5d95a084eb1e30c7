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
    let release = () => {};
    const slow = new Promise<void>((resolve) => {
      release = resolve;
    });
    const running = runSteps(
      [
        step('slow', [], async () => {
          await slow;
          return done;
        }),
        step('quick'),
        step('after quick', ['quick'], async () => {
          release();
          return { outcome: 'skipped' };
        }),
        step('last', ['slow', 'after quick']),
      ],
      view,
    );
    const reports = await running;
    expect(reports.map((report) => report.name)).toEqual(['quick', 'after quick', 'slow', 'last']);
    expect(seen.slice(0, 2)).toEqual(['start slow', 'start quick']);
    expect(seen).toContain('skipped after quick');
    expect(seen.at(-1)).toBe('close');
  });

  test('starts nothing more after a failure, stops what runs, and throws the first failure', async () => {
    const { view, seen } = recorder();
    const running = runSteps(
      [
        step(
          'long',
          [],
          ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
        ),
        step('bad', [], async () => {
          throw new Error('apt says no');
        }),
        step('never', ['bad']),
      ],
      view,
    );
    await expect(running).rejects.toThrow(StepFailed);
    await expect(running).rejects.toMatchObject({ step: 'bad' });
    expect(seen).toContain('failed bad: apt says no');
    expect(seen.filter((line) => line.includes('never'))).toEqual([]);
    expect(seen.filter((line) => line.startsWith('failed'))).toHaveLength(1);
  });

  test('passes the newest line of output on', async () => {
    const { view, seen } = recorder();
    await runSteps(
      [
        step('a', [], async ({ progress }) => {
          progress('42 %');
          return done;
        }),
      ],
      view,
    );
    expect(seen).toContain('a: 42 %');
  });

  test('refuses a need that comes no earlier', async () => {
    await expect(runSteps([step('a', ['b']), step('b')], recorder().view)).rejects.toThrow('step "a" needs "b"');
  });
});
