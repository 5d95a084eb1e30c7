/** Which errors of a driver `npm run test:drivers` expects, and how its page shows them. */
import { describe, expect, it } from 'vitest';
import { type Noticed, page, problemOf } from './page';

const ERROR = 'statement: FATAL: terminating connection (57P01)';
const NOTICED: Noticed = {
  ...{ run: 1, event: 'failover', driver: 'pgx', kind: 'held', written: 40, calmMs: 60, pauseMs: 300 },
  ...{ errors: [ERROR], problem: null },
};

describe('what is expected of a driver', () => {
  it('is one error where the leader changes, and none in a renewal', () => {
    expect(problemOf(NOTICED, false)).toBeNull();
    expect(problemOf({ ...NOTICED, event: 'switchover' }, false)).toBeNull();
    expect(problemOf({ ...NOTICED, errors: [ERROR, ERROR] }, false)).toContain('2 errors');
    expect(problemOf({ ...NOTICED, event: 'renewal' }, false)).toContain('none is expected');
    expect(problemOf({ ...NOTICED, event: 'renewal', errors: [] }, false)).toBeNull();
  });

  it('is none in a switchover through the pooler', () => {
    expect(problemOf(NOTICED, true)).toBeNull();
    expect(problemOf({ ...NOTICED, event: 'switchover' }, true)).toContain('none is expected');
  });
});

it('has every error on its page, as text that cannot break the table', () => {
  const about = [
    { driver: 'pgx', version: '5', refusal: 'x509: unknown | authority', acknowledged: 9, missing: ['a 1'] },
  ];
  const noticed = [{ ...NOTICED, problem: 'two' }];
  const of = { date: 'd', tree: 't', machine: 'm', load: 1, pooler: false, perConnection: 5, paceMs: 50 };
  const text = page({ ...of, about, noticed });
  expect(text).toContain('| pgx | 5 | 9 | 1 | x509: unknown \\| authority |');
  expect(text).toContain(`| 1 | failover | pgx | held | 40 | 300 (60) | ${ERROR} | failed: two |`);
});
