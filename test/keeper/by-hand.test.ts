/** What people do to a standby: they promote it, or pause its replay. */
import { afterEach, describe, expect, it } from 'vitest';
import { follow, lead, Rig } from './fakes';

let rig: Rig;

async function standby(): Promise<void> {
  rig = await Rig.standby();
  await rig.done(1, follow('stream'));
  rig.journal.length = 0;
}

/** `SELECT pg_promote()` */
function promoteByHand(): void {
  rig.postgres.inRecovery = false;
  rig.postgres.timeline += 1;
}

afterEach(async () => {
  await rig.end();
});

describe('a standby that was promoted by hand', () => {
  it('remembers it before it is shut down, and after a restart', async () => {
    await standby();
    promoteByHand();
    await rig.until((s) => s.promotedByHand === true);
    await rig.until((s) => s.postgres.state === 'stopped' && s.failure?.code === 'MUST_COPY');
    expect(rig.journal.findIndex((l) => l.startsWith('save'))).toBeLessThan(rig.journal.indexOf('stop'));
    expect(rig.link.notes()).toContain('PROMOTED_BY_HAND');
    await rig.restart();
    expect((await rig.until(() => true)).promotedByHand).toBe(true);
  });

  it('finds it by the control file when the node died before it was seen', async () => {
    await standby();
    promoteByHand();
    await rig.restart();
    const status = await rig.until((s) => s.promotedByHand === true);
    expect(status.postgres.state).toBe('stopped');
  });

  it('is not found on data that was led by an order and ended as a primary', async () => {
    await standby();
    await rig.done(2, lead());
    await rig.restart();
    expect((await rig.done(3, follow('stream'))).promotedByHand).toBeUndefined();
    expect(rig.link.notes()).not.toContain('PROMOTED_BY_HAND');
  });

  it('remembers it while it waits for a leader, and is shut down then, too', async () => {
    await standby();
    rig.order(1, { kind: 'wait', reason: 'no leader' });
    await rig.until((s) => s.done && s.accepted?.kind === 'wait');
    promoteByHand();
    const status = await rig.until((s) => s.promotedByHand === true && s.postgres.state === 'stopped');
    expect(status.done).toBe(true);
  });

  it('is no stranger any more once it was copied, or leads by an order', async () => {
    await standby();
    promoteByHand();
    await rig.until((s) => s.promotedByHand === true);
    const status = await rig.done(2, follow('copy', { replaces: rig.dataId() }));
    expect(status.promotedByHand).toBeUndefined();
    await rig.done(2, follow('stream'));
    promoteByHand();
    await rig.until((s) => s.promotedByHand === true);
    const led = await rig.done(3, lead());
    expect(led.promotedByHand).toBeUndefined();
    expect(led).toMatchObject({ promotedTerm: 3, lead: { term: 3, forkLsn: '0/3000060' } });
  });

  it('is not seen in a promotion that was ordered', async () => {
    await standby();
    const led = await rig.done(2, lead());
    expect(led.promotedByHand).toBeUndefined();
    expect(rig.link.notes()).not.toContain('PROMOTED_BY_HAND');
  });
});

describe('a promise', () => {
  it('lets replay go on that a person paused, and votes with what was received (S6)', async () => {
    await standby();
    rig.postgres.replayPaused = true;
    const status = await rig.done(2, { kind: 'freeze' });
    expect(status.postgres.lsn).toBe('0/3000060');
    expect(rig.journal).toContain('resume replay');
  });

  it('counts no position of a server whose receiver has not run and whose log is not applied (S6)', async () => {
    await standby();
    rig.postgres.neverReceived = true;
    rig.postgres.replayPaused = true;
    rig.postgres.resumes = false;
    rig.order(2, { kind: 'freeze' });
    const status = await rig.until((s) => s.accepted?.kind === 'freeze' && s.postgres.state === 'standby');
    expect(status).toMatchObject({ done: false, postgres: { lsn: null } });
    rig.postgres.replayPaused = false;
    expect((await rig.until((s) => s.done)).postgres.lsn).toBe('0/3000060');
  });

  it('is not made while a receiver connects that the old configuration started (S1)', async () => {
    await standby();
    rig.postgres.receiverRuns = true;
    rig.order(2, { kind: 'freeze' });
    const status = await rig.until((s) => s.accepted?.kind === 'freeze' && s.postgres.streamingFrom === null);
    expect(status.done).toBe(false);
    rig.postgres.receiverRuns = false;
    await rig.until((s) => s.done);
  });
});

describe('an order to wait', () => {
  it('is not carried out while the node has to become something else first', async () => {
    await standby();
    rig.order(1, { kind: 'wait', reason: 'c is copied first', unready: true });
    const status = await rig.until((s) => s.accepted?.kind === 'wait');
    expect(status.done).toBe(false);
    expect(rig.keeper.healthy()).toBe(false);
  });
});
