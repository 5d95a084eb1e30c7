import { describe, expect, it } from 'vitest';
import { Notifier } from '../../failover/monitor/outside/notify';

const URL_WITH_SECRET = 'https://hooks.example/T0/very-secret';
const failover = (term: number) => ({ at: 'now', from: 'p', node: 'a', term, cause: 'LEADER_DEAD', steps: [] });

function notifier(answers: (boolean | Error)[]) {
  const posted: { url: string; body: unknown; limited: boolean }[] = [];
  const log: string[] = [];
  const rests: number[] = [];
  const notify = new Notifier(
    URL_WITH_SECRET,
    'dev',
    { write: (level, subject, code, message) => log.push(`${level} ${subject} ${code} ${message}`) },
    async (url, { body, signal }) => {
      posted.push({ url, body: JSON.parse(String(body)), limited: signal instanceof AbortSignal });
      const answer = answers.shift() ?? true;
      if (answer instanceof Error) throw answer;
      return { ok: answer, status: answer ? 200 : 500 };
    },
    async (ms) => {
      rests.push(ms);
    },
  );
  return { notify, posted, log, rests };
}

describe('notifyWebhook', () => {
  it('gets each change of leader as JSON; a call has a time limit', async () => {
    const { notify, posted, log } = notifier([]);
    notify.failover(failover(2));
    await notify.idle();
    expect(posted).toEqual([{ url: URL_WITH_SECRET, body: { stack: 'dev', ...failover(2) }, limited: true }]);
    expect(log).toEqual([]);
  });

  it('is called again after growing waits, and its address is never shown', async () => {
    const { notify, posted, log, rests } = notifier([false, new Error(`cannot reach ${URL_WITH_SECRET}`), true]);
    notify.failover(failover(2));
    await notify.idle();
    expect(posted).toHaveLength(3);
    expect(rests).toEqual([1_000, 2_000]);
    expect(log).toEqual([
      'WARN monitor NOTIFY_FAILED the webhook did not take a notification (status 500); it is tried again',
    ]);
  });

  it('loses a notification after a limited number of attempts, and still gets the next one', async () => {
    const { notify, posted, log, rests } = notifier(Array.from({ length: 15 }, () => new Error('secret')));
    notify.failover(failover(2));
    notify.failover(failover(3));
    await notify.idle();
    expect(posted).toHaveLength(16);
    expect(Math.max(...rests)).toBe(60_000);
    expect(log.at(-1)).toBe('ERROR monitor NOTIFY_GIVEN_UP the webhook did not take the notification of term 2');
    expect(log.join()).not.toContain('secret');
  });

  it('has a limited number of waiting notifications', async () => {
    const { notify, posted, log } = notifier([]);
    for (let term = 1; term <= 40; term++) notify.failover(failover(term));
    await notify.idle();
    expect(posted.length).toBeLessThanOrEqual(21);
    expect(posted.at(-1)?.body).toMatchObject({ term: 40 });
    expect(log.some((line) => line.includes('NOTIFY_DROPPED'))).toBe(true);
  });
});
