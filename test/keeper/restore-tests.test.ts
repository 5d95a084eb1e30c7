/** The supervisor of the tested restores, with a test that the case ends itself; and its connection to the monitor. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { derivedPassword } from '../../failover/contract/proof';
import type { RestoreTestResult } from '../../failover/contract/restore-test';
import {
  CHECKER_NAME,
  CHECKER_PROTOCOL,
  type FromChecker,
  MONITOR_LOST_MS,
  TEST_LIMIT_MS,
  type TestOrder,
  ToChecker,
} from '../../failover/contract/restore-tests';
import { seal } from '../../failover/contract/seal';
import { Supervisor } from '../../failover/keeper/restore-tests/supervisor';
import { Caller } from '../../failover/link/caller';
import { CheckerServer } from '../../failover/monitor/restore-tests/server';
import { waitFor } from '../rig/wait';

const KEY = derivedPassword('c'.repeat(48), 'checker');
const ORDER: TestOrder = { repository: 'local', stanza: 'c7', passphrase: 'THE-PASSPHRASE', promisedMs: null };
const RESULT: RestoreTestResult = {
  ...{ repository: 'local', result: 'done', message: 'sound', label: 'L', sizeBytes: 1, newest: null },
  ...{ ended: '2026-06-01T12:00:00.000Z', tookMs: 5 },
};

function rig() {
  const sent: FromChecker[] = [];
  const begun: { order: TestOrder; signal: AbortSignal; end: (result: RestoreTestResult) => void }[] = [];
  const gaveUp: string[] = [];
  const lines: string[] = [];
  let freeBytes = 1e12;
  const supervisor = new Supervisor(KEY, {
    test: (order, _ca, signal, tell) => {
      tell('it is restored');
      return new Promise((end) => {
        begun.push({ order, signal, end });
      });
    },
    send: (frame) => void sent.push(frame),
    free: async () => freeBytes,
    giveUp: (why) => void gaveUp.push(why),
    log: (line) => void lines.push(line),
    ...{ nowMs: () => Date.now(), wallMs: Date.now },
  });
  supervisor.start();
  const order = (id: string, one: TestOrder = ORDER) =>
    supervisor.receive({ type: 'test', id, order: seal(KEY, JSON.stringify(one)) });
  const state = () => {
    const last = sent.at(-1);
    return last?.type === 'state' ? last : null;
  };
  return {
    ...{ supervisor, sent, begun, gaveUp, lines, order, state },
    fill: () => {
      freeBytes = 1e6;
    },
  };
}
const flush = () => vi.advanceTimersByTimeAsync(0);

describe('the supervisor', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('runs one test at a time, and says how it goes and how it ended', async () => {
    const { order, begun, state, supervisor } = rig();
    order('a');
    order('a');
    order('b');
    expect(begun.map((one) => one.order)).toEqual([ORDER]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(state()?.running).toMatchObject({ id: 'a', repository: 'local', step: 'it is restored' });
    begun[0]?.end(RESULT);
    await flush();
    expect(state()).toMatchObject({ running: null, last: { id: 'a', result: RESULT } });
    // An order that was under way meanwhile.
    order('a');
    expect(begun).toHaveLength(1);
    supervisor.receive({ type: 'wanted', id: 'b' });
    order('b');
    expect(begun).toHaveLength(2);
  });

  it('takes no order that was sealed with another key, and logs no passphrase', async () => {
    const { supervisor, begun, lines } = rig();
    supervisor.receive({ type: 'test', id: 'a', order: seal('another', JSON.stringify(ORDER)) });
    expect(begun).toEqual([]);
    expect(lines.join()).toContain('sealed with another key');
    expect(lines.join()).not.toContain(ORDER.passphrase);
  });

  it('ends a test that is not wanted any more, or whose monitor is away for long: without a result', async () => {
    const unwanted = rig();
    unwanted.order('a');
    unwanted.supervisor.receive({ type: 'wanted', id: 'a' });
    expect(unwanted.begun[0]?.signal.aborted).toBe(false);
    unwanted.supervisor.receive({ type: 'wanted', id: null });
    const away = rig();
    away.order('a');
    await vi.advanceTimersByTimeAsync(MONITOR_LOST_MS);
    expect(away.begun[0]?.signal.aborted).toBe(false);
    await vi.advanceTimersByTimeAsync(2_000);
    for (const { begun, state } of [unwanted, away]) {
      expect(begun[0]?.signal.aborted).toBe(true);
      begun[0]?.end({ ...RESULT, result: 'failed', message: 'The operation was aborted' });
      await flush();
      expect(state()).toMatchObject({ running: null, last: null });
    }
  });

  it('ends a test when the disk becomes full, or the limit is over: it failed, and the cause is named', async () => {
    const full = rig();
    full.order('a');
    full.fill();
    await vi.advanceTimersByTimeAsync(2_000);
    const slow = rig();
    slow.order('a');
    const hear = setInterval(() => slow.supervisor.receive({ type: 'wanted', id: 'a' }), 60_000);
    await vi.advanceTimersByTimeAsync(TEST_LIMIT_MS + 2_000);
    clearInterval(hear);
    for (const [{ begun, state }, why] of [
      [full, 'the disk became full'],
      [slow, 'did not end within 24 h'],
    ] as const) {
      expect(begun[0]?.signal.aborted).toBe(true);
      begun[0]?.end({ ...RESULT, result: 'failed', message: 'The operation was aborted' });
      await flush();
      expect(state()?.last?.result).toMatchObject({ result: 'failed', message: expect.stringContaining(why) });
    }
  }, 60_000);

  it('gives the container up when an ended test does not end', async () => {
    const { order, supervisor, gaveUp } = rig();
    order('a');
    supervisor.receive({ type: 'wanted', id: null });
    await vi.advanceTimersByTimeAsync(59_000);
    expect(gaveUp).toEqual([]);
    await vi.advanceTimersByTimeAsync(3_000);
    expect(gaveUp[0]).toContain('does not end');
  });

  it('ends the test when the container stops, and waits for that no longer than its limit', async () => {
    const { order, supervisor, begun } = rig();
    order('a');
    const stopped: string[] = [];
    void supervisor.stop(15_000).then(() => stopped.push('stopped'));
    expect(begun[0]?.signal.aborted).toBe(true);
    await vi.advanceTimersByTimeAsync(14_000);
    expect(stopped).toEqual([]);
    begun[0]?.end(RESULT);
    await flush();
    expect(stopped).toEqual(['stopped']);
  });
});

describe('its connection to the monitor', () => {
  it('carries the order there, sealed, and the result back, and refuses another key', async () => {
    const codes: string[] = [];
    const log = { write: (_level: string, _subject: string, code: string) => void codes.push(code) };
    const clock = { nowMs: () => performance.now() };
    const server = new CheckerServer({ address: '127.0.0.1', port: 0 }, 'c'.repeat(48), clock, log);
    await server.listen();
    const monitor = { host: '127.0.0.1', port: server.port() };
    const got: ToChecker[] = [];
    const speech = { role: 'checker', name: CHECKER_NAME, version: CHECKER_PROTOCOL, frames: ToChecker } as const;
    const callers = [KEY, derivedPassword('d'.repeat(48), 'checker')].map(
      (key) => new Caller<ToChecker, FromChecker>({ monitor, key }, speech),
    );
    try {
      const [right, wrong] = callers;
      const idle: FromChecker = { type: 'state', running: null, last: null };
      void right?.run({
        connected: () => right.send(idle),
        receive: (frame) => void got.push(frame),
        log: () => undefined,
      });
      await waitFor('the state', 5_000, () => server.state !== null);
      server.wanted = { id: 'a', order: { id: 'a', order: ORDER } };
      await waitFor('the order', 5_000, () => got.some((frame) => frame.type === 'test'));
      expect(JSON.stringify(got)).not.toContain(ORDER.passphrase);
      right?.send({ ...idle, last: { id: 'a', result: RESULT } });
      await waitFor('the result', 5_000, () => server.state?.last?.result.message === 'sound');
      void wrong?.run({ connected: () => undefined, receive: () => undefined, log: () => undefined });
      await waitFor('the refusal', 5_000, () => codes.includes('CHECKER_REFUSED'));
      expect(server.state?.last?.id).toBe('a');
      right?.close();
      await waitFor('the end', 5_000, () => server.state === null);
      expect(codes).toContain('CHECKER_LOST');
    } finally {
      for (const caller of callers) caller.close();
      await server.close();
    }
  });
});
