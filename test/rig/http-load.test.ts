import { describe, expect, it } from 'vitest';
import type { Answer } from './http-clients';
import { judge, latencyOf, type Row } from './http-load';

const row = (id: number, name: string): Row => ({ id, username: name, email: `${name}@example.com` });
const registration = { kind: 'register' as const, dueMs: 0 };
const registered = (id: number, name: string): Answer => {
  return { ...registration, latencyMs: id, status: 201, problem: null, user: row(id, name) };
};
const refused = (status: number): Answer => ({ ...registration, latencyMs: 5, status, problem: `${status}` });

describe('the comparison of HTTP answers with the table', () => {
  it('finds nothing when every acknowledged registration is in the table', () => {
    const verdict = judge([registered(1, 'r_user0'), registered(2, 'r_user3')], [row(1, 'r_user0'), row(2, 'r_user3')]);
    const wrong = { failed: [], lost: [], duplicated: [], unacknowledged: [] };
    expect(verdict).toEqual({ requests: 2, acknowledged: 2, ...wrong });
  });

  it('finds a lost registration, also when its name is in the table with another id', () => {
    const answers = [registered(1, 'r_user0'), registered(2, 'r_user3')];
    expect(judge(answers, [row(7, 'r_user0')]).lost).toEqual(['r_user0', 'r_user3']);
  });

  it('finds what was done twice: a second row, an id given twice, a 409 to a request that was sent once', () => {
    const rows = [row(1, 'r_user0'), { ...row(2, 'r_user0b'), email: 'r_user0@example.com' }];
    const answers = [registered(1, 'r_user0'), registered(1, 'r_user3'), refused(409)];
    const expected = ['r_user0@example.com is there 2 times', 'id 1 was given to 2 users', '409'];
    expect(judge(answers, rows).duplicated).toEqual(expected);
  });

  it('finds failures with their answers, and rows whose registration was not acknowledged', () => {
    const verdict = judge([refused(503)], [row(1, 'r_user0')]);
    expect(verdict).toMatchObject({ failed: ['register: 503'], unacknowledged: ['r_user0'] });
  });

  it('gives the latency in whole milliseconds', () => {
    const answers = Array.from({ length: 200 }, (_, i) => registered(i + 1, `r_user${i}`));
    expect(latencyOf(answers)).toEqual({ p50: 101, p99: 199, max: 200 });
    expect(latencyOf([])).toEqual({ p50: 0, p99: 0, max: 0 });
  });
});
