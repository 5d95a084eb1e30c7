import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { FromPooler, PauseState } from '../../failover/contract/pooler';
import { type Paused, Supervisor } from '../../failover/pooler/supervisor';

/** A process that is paused when the test says so. */
function process() {
  const fake = { paused: 'no' as PauseState, wanted: false, look: async () => null, want: (_: boolean) => undefined };
  fake.want = (pause) => {
    fake.wanted = pause;
    return undefined;
  };
  return fake;
}

function rig(count = 2) {
  const sent: FromPooler[] = [];
  const log: string[] = [];
  const processes = Array.from({ length: count }, process);
  const supervisor = new Supervisor(
    processes satisfies Paused[],
    (frame) => sent.push(frame),
    (line) => log.push(line),
  );
  const set = (state: PauseState, ...which: number[]) => {
    for (const i of which) Object.assign(processes[i] ?? {}, { paused: state });
    supervisor.changed();
  };
  return { supervisor, processes, sent, log, set };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('a pause', () => {
  it('ends by itself when the monitor does not renew it', () => {
    const { supervisor, processes, log } = rig();
    supervisor.receive({ type: 'pause', forMs: 5_000 });
    expect(processes.map(({ wanted }) => wanted)).toEqual([true, true]);
    vi.advanceTimersByTime(4_900);
    supervisor.receive({ type: 'pause', forMs: 5_000 });
    vi.advanceTimersByTime(4_900);
    expect(processes.map(({ wanted }) => wanted)).toEqual([true, true]);
    vi.advanceTimersByTime(200);
    expect(processes.map(({ wanted }) => wanted)).toEqual([false, false]);
    expect(log).toEqual(['the monitor has not renewed the pause for 5000 ms; statements go on']);
  });

  it('ends when the monitor ends it, and its lease then resumes nothing', () => {
    const { supervisor, processes, log } = rig();
    supervisor.receive({ type: 'pause', forMs: 5_000 });
    supervisor.receive({ type: 'resume' });
    expect(processes.map(({ wanted }) => wanted)).toEqual([false, false]);
    vi.advanceTimersByTime(60_000);
    expect(log).toEqual([]);
  });

  it('counts when every process is paused', () => {
    const { sent, set, supervisor } = rig();
    supervisor.connected();
    set('pausing', 0, 1);
    set('paused', 0);
    expect(sent.at(-1)).toEqual({ type: 'state', pause: 'pausing' });
    set('paused', 1);
    set('no', 0, 1);
    const states = sent.map((frame) => (frame.type === 'state' ? frame.pause : ''));
    expect(states).toEqual(['no', 'pausing', 'paused', 'no']);
  });

  it('is told anew over a new connection', () => {
    const { sent, set, supervisor } = rig(1);
    set('paused', 0);
    supervisor.connected();
    expect(sent).toEqual([
      { type: 'state', pause: 'paused' },
      { type: 'state', pause: 'paused' },
    ]);
  });
});
