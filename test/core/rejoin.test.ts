import { describe, expect, it } from 'vitest';
import { addEntry, LEDGER_MAX, rejoinMethod } from '../../failover/core/facts/ledger';
import { lastOpened } from '../../failover/core/facts/view';
import type { LedgerEntry } from '../../failover/core/state/cluster';
import { entry, observation, serving, situation, status } from './world';

/** `a` leads in term 2 on timeline 2, which forked from timeline 1 at 0/6000. */
const state = {
  ...serving(['a', 'b']),
  term: 2,
  leader: 'a',
  ledger: [entry(), entry({ term: 2, node: 'a', dataId: '1:a', timeline: 2, forkLsn: '0/6000' })],
};
const stopped = (lsn: string | null, clean: boolean, timeline = 1) => ({
  postgres: { state: 'stopped' as const, lsn, cleanShutdown: clean, timeline, streamingFrom: null },
});

describe('the way back into the cluster', () => {
  it('streams when the former leader shut down cleanly before the fork', () => {
    expect(rejoinMethod(situation(state, observation([])), 'p', status('p', stopped('0/5F00', true)))).toBe('stream');
  });

  it('rewinds a former leader that crashed, or whose shutdown checkpoint begins at the fork or after it', () => {
    expect(rejoinMethod(situation(state, observation([])), 'p', status('p', stopped(null, false)))).toBe('rewind');
    expect(rejoinMethod(situation(state, observation([])), 'p', status('p', stopped('0/6000', true)))).toBe('rewind');
  });

  it('rewinds a former leader that was frozen and still runs as a primary', () => {
    const awake = { postgres: { state: 'primary' as const, streamingFrom: null } };
    expect(rejoinMethod(situation(state, observation([])), 'p', status('p', awake))).toBe('rewind');
  });

  it('lets a standby stream that is not ahead of the fork, and rewinds one that is', () => {
    expect(rejoinMethod(situation(state, observation([])), 'b', status('b', { postgres: { lsn: '0/6000' } }))).toBe(
      'stream',
    );
    expect(rejoinMethod(situation(state, observation([])), 'b', status('b', { postgres: { lsn: '0/6001' } }))).toBe(
      'rewind',
    );
  });

  it('lets a restarted standby of the current timeline stream', () => {
    expect(rejoinMethod(situation(state, observation([])), 'b', status('b', stopped(null, false, 2)))).toBe('stream');
  });

  it('copies data that was promoted in a term that the ledger no longer has: two timelines may have this number (S3)', () => {
    const standby = (promotedTerm: number | null) => status('b', { promotedTerm, postgres: { timeline: 2 } });
    expect(rejoinMethod(situation(state, observation([])), 'b', standby(null))).toBe('stream');
    expect(rejoinMethod(situation(state, observation([])), 'b', standby(2))).toBe('copy');
    expect(
      rejoinMethod(
        situation(state, observation([])),
        'p',
        status('p', { ...stopped('0/5F00', true), promotedTerm: 1 }),
      ),
    ).toBe('stream');
    expect(
      rejoinMethod(
        situation(state, observation([])),
        'p',
        status('p', { ...stopped('0/5F00', true), promotedTerm: 2 }),
      ),
    ).toBe('copy');
  });

  it('copies when the node has no data, or not the data directory that is recorded (S10)', () => {
    expect(rejoinMethod(situation(state, observation([])), 'b', status('b', { dataId: null }))).toBe('copy');
    expect(rejoinMethod(situation(state, observation([])), 'b', status('b', { dataId: '1:other' }))).toBe('copy');
    expect(rejoinMethod(situation({ ...state, rebuild: { b: '1:b' } }, observation([])), 'b', status('b'))).toBe(
      'copy',
    );
  });

  it('copies a candidate that was never opened, although its timeline has the same number (S3)', () => {
    const ledger = [
      entry(),
      entry({ term: 2, node: 'b', dataId: '1:b', timeline: null, opened: false }),
      entry({ term: 3, node: 'a', dataId: '1:a', timeline: 2, forkLsn: '0/6000' }),
    ];
    expect(
      rejoinMethod(situation({ ...state, ledger }, observation([])), 'b', status('b', { postgres: { timeline: 2 } })),
    ).toBe('copy');
  });

  it('copies a standby that was promoted by hand', () => {
    const byHand = { postgres: { state: 'primary' as const, timeline: 2, streamingFrom: null } };
    expect(rejoinMethod(situation(state, observation([])), 'b', status('b', byHand))).toBe('copy');
    expect(rejoinMethod(situation(state, observation([])), 'b', status('b', stopped('0/7000', true, 3)))).toBe('copy');
  });

  it('copies after an unfinished rewind (S12) and after a promotion that is not recorded', () => {
    expect(rejoinMethod(situation(state, observation([])), 'p', status('p', { rewinding: true }))).toBe('copy');
    expect(rejoinMethod(situation(state, observation([])), 'b', status('b', { promotingTerm: 7 }))).toBe('copy');
  });
});

describe('the ledger', () => {
  const unopened = (part: Partial<LedgerEntry>) => entry({ node: 'b', dataId: '1:b', opened: false, ...part });
  const grown = (first: LedgerEntry[], leaderships: number) => {
    let kept = { ...state, ledger: first };
    for (let term = 2; term <= leaderships + 1; term++) kept = { ...kept, ...addEntry(kept, entry({ term })) };
    return kept;
  };

  it('compares no data with entries of an earlier generation', () => {
    const old = entry({ term: 1, node: 'b', dataId: '1:b', timeline: 9, forkLsn: '0/9000' });
    const now = { ...state, generation: 2, ledger: [old] };
    const added = addEntry(now, entry({ term: 2, node: 'p', dataId: '1:p', timeline: 1, opened: true }));
    expect(added.ledger.at(-1)).toMatchObject({ generation: 2 });
    const next = { ...now, ...added };
    expect(lastOpened({ ...now, ledger: [old] })).toBeNull();
    expect(rejoinMethod(situation(next, observation([])), 'b', status('b'))).toBe('stream');
    expect(rejoinMethod(situation({ ...next, generation: 1 }, observation([])), 'b', status('b'))).not.toBe('stream');
  });

  it('is bounded, and keeps the newest entry of each member', () => {
    const kept = grown([unopened({ term: 1 })], 10 * LEDGER_MAX);
    expect(kept.ledger).toHaveLength(LEDGER_MAX);
    expect(kept.members).toEqual(state.members);
    expect(kept.ledger[0]).toMatchObject({ node: 'b', term: 1 });
    expect(rejoinMethod(situation(kept, observation([])), 'b', status('b'))).toBe('copy');
  });

  it('drops an entry whose data directory is no longer a member’s', () => {
    const kept = grown([unopened({ term: 1, dataId: '1:former' })], LEDGER_MAX);
    expect(kept.ledger).toHaveLength(LEDGER_MAX);
    expect(kept.ledger.every((e) => e.node === 'p')).toBe(true);
  });

  it('keeps all attempts of one data directory in one entry with a count, and never drops the newest opened entry', () => {
    let kept = { ...state, ledger: [entry({ term: 1 })] };
    for (let term = 2; term <= 200; term++) {
      const node = term % 2 === 0 ? 'b' : 'a';
      kept = { ...kept, ...addEntry(kept, unopened({ term, node, dataId: `1:${node}` })) };
    }
    expect(kept.ledger).toEqual([
      entry({ term: 1 }),
      unopened({ term: 199, node: 'a', dataId: '1:a', attempts: 99 }),
      unopened({ term: 200, attempts: 100 }),
    ]);
    expect(kept.members).toEqual(state.members);
  });
});
