/** Which standbys have to have a change before a consumer of a logical slot gets it. */
import { describe, expect, it } from 'vitest';
import { consumerSlots, standbysFirst } from '../../failover/keeper/consumers';
import type { SqlView } from '../../failover/keeper/ports';

const standby = (name: string, state = 'streaming'): SqlView['standbys'][number] => ({
  ...{ name, state, syncState: 'quorum', flushLsn: null, replayLsn: null },
});

/** All subsets of this size. */
function subsets(names: readonly string[], size: number): string[][] {
  if (size === 0) return [[]];
  return names.flatMap((name, i) => subsets(names.slice(i + 1), size - 1).map((rest) => [name, ...rest]));
}

describe('the standbys that have a change first', () => {
  it.each([
    [['a', 'b'], [], ['a', 'b'], ['a']],
    [['a', 'b'], [], ['b'], ['b']],
    // One that is named stays as long as it streams.
    [['a', 'b'], ['b'], ['a', 'b'], ['b']],
    [['a', 'b'], ['b'], ['a'], ['a']],
    [['a', 'b'], ['b'], [], ['b']],
    // One that does not count any more is not named.
    [['a'], ['b'], ['b'], ['a']],
  ])('of %j, after %j, while %j stream, are %j', (members, before, streaming, expected) => {
    const standbys = streaming.map((name) => standby(name));
    expect(standbysFirst({ leader: 'p', k: 1, members }, before, standbys)).toEqual(expected);
  });

  it('are none when the leader is alone, and do not follow what catches up', () => {
    expect(standbysFirst({ leader: 'p', k: 0, members: [] }, ['a'], [standby('a')])).toEqual([]);
    const standbys = [standby('a', 'catchup'), standby('b')];
    expect(standbysFirst({ leader: 'p', k: 1, members: ['a', 'b'] }, [], standbys)).toEqual(['b']);
  });

  it('meet every set of standbys that can elect a leader (S1)', () => {
    const all = ['a', 'b', 'c', 'd', 'e'];
    for (let n = 1; n <= all.length; n++) {
      const members = all.slice(0, n);
      for (let k = 1; k <= n; k++) {
        for (const streaming of subsets(all, 2)) {
          const first = standbysFirst(
            { leader: 'p', k, members },
            [],
            streaming.map((name) => standby(name)),
          );
          const blind = subsets(members, n - k + 1).filter(
            (electors) => !electors.some((name) => first.includes(name)),
          );
          expect([members, k, streaming, blind]).toEqual([members, k, streaming, []]);
        }
      }
    }
  });
});

it('are named by their slots', () => {
  expect(consumerSlots(['postgres-replica-2', 'postgres-replica'])).toBe('postgres_replica, postgres_replica_2');
  expect(consumerSlots([])).toBe('');
});
