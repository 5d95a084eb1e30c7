import { describe, expect, it } from 'vitest';
import { OwnTime, TICK_MS } from '../../failover/keeper/postgres/own-time';

/** A process that ticks while it runs. */
function process() {
  const clock = { ms: 1_000, nowMs: () => clock.ms };
  const time = new OwnTime(clock);
  return {
    time,
    runs(ms: number) {
      for (const endMs = clock.ms + ms; clock.ms < endMs; ) {
        clock.ms += TICK_MS;
        time.nowMs();
      }
    },
    standsStill(ms: number) {
      clock.ms += ms;
    },
  };
}

describe('the time in which a process ran', () => {
  it('passes as the clock does while the process runs', () => {
    const { time, runs } = process();
    const fromMs = time.nowMs();
    runs(5_000);
    expect(time.nowMs() - fromMs).toBe(5_000);
  });

  it('does not count a standstill, also when it is read before the first tick after it', () => {
    const { time, runs, standsStill } = process();
    const fromMs = time.nowMs();
    runs(1_000);
    standsStill(30_000);
    expect(time.nowMs() - fromMs).toBe(1_000);
    runs(1_000);
    expect(time.nowMs() - fromMs).toBe(2_000);
  });

  it('never falls, also where it was read between the last tick and the standstill', () => {
    const { time, runs, standsStill } = process();
    runs(1_000);
    standsStill(60);
    const readMs = time.nowMs();
    standsStill(5_000);
    expect(time.nowMs()).toBe(readMs);
  });

  it('counts ticks that come late by less than a standstill', () => {
    const { time, standsStill } = process();
    const fromMs = time.nowMs();
    standsStill(400);
    time.nowMs();
    expect(time.nowMs() - fromMs).toBe(400);
  });
});
