/** Each sentence that says "writes wait" names a command, and this command ends the waiting. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import type { ClusterState, Policy } from '../../failover/core/state/cluster';
import { emptyState } from '../../failover/core/state/cluster';
import type { NodeView, Observation } from '../../failover/core/state/observation';
import {
  entry,
  gone,
  leaderView,
  NOW_MS,
  observation,
  POLICY,
  replicaView,
  type StatusPart,
  serving,
  view,
} from './world';

/** The decision after writes have waited for `startGrace`, or for `waitedMs`. */
const decided = (
  state: ClusterState,
  now: Observation,
  policy: Partial<Policy> = {},
  waitedMs = POLICY.startGraceMs,
) => {
  const watch = { ...now.watch, waitsSinceMs: NOW_MS - waitedMs };
  return decide(state, { ...now, watch }, NOW_MS, { ...POLICY, ...policy });
};
const COMMANDS = /start (\S+?)[ ;,]|start (\S+)$|promote (\S+) --accept-data-loss/g;
const commandsOf = (sentence: string) =>
  [...sentence.matchAll(COMMANDS)].map((m) => (m[3] === undefined ? `start ${m[1] ?? m[2]}` : `promote ${m[3]}`));

const alone = { leader: 'p', k: 0, members: [], term: 1 };
const standsStill: StatusPart = { postgres: { streamingFrom: null } };

/** Expects that a person's `promote` is accepted in this state, and that the named node then leads. */
function promotes(state: ClusterState, now: Observation, to: string): void {
  const request = { kind: 'promote' as const, to, acceptDataLoss: true };
  const decision = decided(state, { ...now, request });
  expect(decision).toMatchObject({
    code: 'DATA_LOSS_ACCEPTED',
    state: { adopting: false, leader: to, activity: { kind: 'promote' } },
  });
  expect(decision.state.members[to]).toBe(now.nodes[to]?.status?.dataId);
  expect(decision.state.orders[to]?.target.kind).toBe('lead');
  // The next decision does not take the promotion back.
  const next = decided(decision.state, { ...now, nodes: { ...now.nodes }, request: null });
  expect(next.state.leader).toBe(to);
  expect(next.code).not.toBe('NO_CANDIDATE');
}

describe('a sentence that says that writes wait', () => {
  const lone = { ...serving(['a']), joint: [alone] };

  it('names the leader that has to be started, and the node that can take over with data loss', () => {
    const now = observation([gone('p'), replicaView(lone, 'a', standsStill)]);
    const decision = decided(lone, now);
    expect(decision.code).toBe('NO_CANDIDATE');
    expect(commandsOf(decision.reason)).toEqual(['start p', 'promote a']);
    promotes(lone, now, 'a');
    const back = view('p', { status: leaderView(lone).status });
    const stopped = {
      ...back,
      status: back.status && { ...back.status, postgres: { ...back.status.postgres, state: 'stopped' as const } },
    };
    expect(decided(lone, observation([stopped, replicaView(lone, 'a', standsStill)])).code).toBe('LEADER_BACK');
  });

  it('names no promotion with data loss before writes have waited for startGrace, and none of a node that does not answer', () => {
    const now = observation([gone('p'), replicaView(lone, 'a', standsStill)]);
    expect(commandsOf(decided(lone, now, {}, POLICY.startGraceMs - 1).reason)).toEqual(['start p']);
    const silent = observation([gone('p'), replicaView(lone, 'a', standsStill, { silentMs: 3_000 })]);
    expect(commandsOf(decided(lone, silent).reason)).toEqual(['start p']);
  });

  it('does not say to start a leader whose container runs without data', () => {
    const empty = leaderView(lone, { dataId: null, lead: null, postgres: { state: 'absent' } });
    const now = observation([empty, replicaView(lone, 'a', standsStill)]);
    const decision = decided(lone, now);
    expect(decision.code).toBe('NO_CANDIDATE');
    expect(decision.reason).toContain('p has no data');
    expect(commandsOf(decision.reason)).toEqual(['promote a']);
    promotes(lone, now, 'a');
  });

  it('says to restart a leader that hangs', () => {
    const hung = leaderView(lone, {}, { silentMs: 10_000 });
    const decision = decided(lone, observation([hung, replicaView(lone, 'a', standsStill)]));
    expect(decision.code).toBe('NO_CANDIDATE');
    expect(decision.reason).toContain('restart p');
  });

  it('names the nodes that an election lacks, and the node that can take over with data loss', () => {
    const state = serving(['a', 'b'], { term: 2, activity: { kind: 'elect', cause: 'LEADER_DEAD' } });
    const now = observation([gone('p'), gone('a'), replicaView(state, 'b', standsStill)]);
    const decision = decided(state, now);
    expect(decision.code).toBe('NO_CANDIDATE');
    expect(commandsOf(decision.reason)).toEqual(['start p', 'promote b']);
    promotes(state, now, 'b');
  });

  it('says which standby still replays its WAL while an election waits for its vote', () => {
    const state = serving(['a', 'b'], { term: 2, activity: { kind: 'elect', cause: 'LEADER_DEAD' } });
    const promise = (lsn: string | null): StatusPart => ({
      accepted: { incarnation: 1, term: 2, seq: 11, kind: 'freeze' },
      done: lsn !== null,
      postgres: { lsn, streamingFrom: null },
    });
    const now = observation([
      gone('p'),
      replicaView(state, 'a', promise('0/5000')),
      replicaView(state, 'b', promise(null)),
    ]);
    const decision = decided(state, now);
    expect(decision.code).toBe('ELECTING');
    expect(decision.reason).toContain('b still applies the write-ahead log that is on its disk');
  });

  it('names a candidate that is off', () => {
    const ledger = [entry(), entry({ term: 2, node: 'a', dataId: '1:a', opened: false })];
    const state = serving(['a', 'b'], {
      term: 2,
      leader: 'a',
      ledger,
      joint: [alone, { ...alone, leader: 'a', term: 2 }],
      activity: { kind: 'promote', cause: 'LEADER_DEAD' },
    });
    const now = observation([gone('p'), gone('a', { everConnected: false }), replicaView(state, 'b', standsStill)]);
    const decision = decided(state, now);
    expect(decision.code).toBe('PROMOTING');
    expect(commandsOf(decision.reason)).toEqual(['start a', 'promote b']);
    promotes(state, now, 'b');
  });

  it('names the node that has data, when no state describes the data', () => {
    const known = { ...emptyState(), adopting: false };
    const now = observation([view('a', { status: replicaView(lone, 'a').status })]);
    const decision = decided(known, now);
    expect(decision.code).toBe('BOOTSTRAP_WAIT');
    expect(commandsOf(decision.reason)).toEqual(['promote a']);
    promotes(known, now, 'a');
  });

  it('names the most advanced node, when no state describes the data', () => {
    const state = emptyState();
    const at = (lsn: string, timeline: number): StatusPart => ({ postgres: { lsn, timeline, streamingFrom: null } });
    const views: NodeView[] = [
      replicaView(lone, 'a', at('0/9000', 1)),
      replicaView(lone, 'b', at('0/6000', 2)),
      replicaView(lone, 'c', at('0/7000', 2)),
    ];
    const now = observation(views);
    const decision = decided(state, now);
    expect(decision.code).toBe('ADOPT_UNKNOWN');
    expect(commandsOf(decision.reason)).toEqual(['promote c']);
    promotes(state, now, 'c');
  });

  it('names the node that has to create the first database', () => {
    const state: ClusterState = { ...emptyState(), adopting: false, activity: { kind: 'bootstrap', node: 'p' } };
    const decision = decided(state, observation([gone('p')]));
    expect(decision.code).toBe('BOOTSTRAPPING');
    expect(commandsOf(decision.reason)).toEqual(['start p']);
  });
});

describe('a promotion by a person’s command', () => {
  /** A state that release 0.1.0 wrote after a crash loop: the leader runs, is no member, and no term was opened. */
  const forgotten: ClusterState = {
    ...serving(['a']),
    term: 70,
    members: {},
    joint: [{ leader: 'p', k: 0, members: [] }],
    ledger: [entry({ term: 69, opened: false }), entry({ term: 70, opened: false })],
    activity: { kind: 'promote', cause: 'LEADER_BACK' },
  };

  it('is accepted for a recorded leader that is missing among the members; the monitor also adds it by itself', () => {
    const runs = leaderView(forgotten, { dataId: '1:p' });
    const now = observation([runs, gone('a')]);
    promotes(forgotten, now, 'p');
    const known = decided(forgotten, now);
    expect(known).toMatchObject({ code: 'LEADER_KNOWN', state: { members: { p: '1:p' } } });
  });

  it('is accepted for a primary that runs without an order, and rebuilds the other nodes because its timeline number proves nothing', () => {
    const state = serving(['a', 'b'], {
      leader: 'b',
      term: 2,
      ledger: [entry(), entry({ term: 2, node: 'b', dataId: '1:b', timeline: 2 })],
      joint: [{ ...alone, leader: 'b', term: 2 }],
    });
    const byHand: StatusPart = {
      promotedByHand: true,
      postgres: { state: 'primary', timeline: 2, streamingFrom: null },
    };
    const now = observation([replicaView(state, 'p', byHand), gone('b')]);
    now.haproxy = { ...now.haproxy, slot: null, closed: true };
    const marked = decided(state, now);
    expect(marked).toMatchObject({ code: 'PROMOTED_BY_HAND', state: { rebuild: { p: '1:p' } } });
    const waits = decided(marked.state, now);
    expect(waits.code).toBe('NO_CANDIDATE');
    promotes(marked.state, now, 'p');
    const { state: led } = decided(marked.state, {
      ...now,
      request: { kind: 'promote', to: 'p', acceptDataLoss: true },
    });
    expect(led.rebuild).toMatchObject({ b: '1:b' });
    expect(led.rebuild.p).toBeUndefined();
  });
});

describe('a leader whose PostgreSQL ends again and again', () => {
  const lone = { ...serving([]), joint: [alone] };
  const crashed = (crashes: number) =>
    leaderView(lone, {
      done: false,
      lead: null,
      failure: { code: 'POSTGRES_CRASHED', message: 'No space left on device' },
      postgres: { state: 'stopped', crashes },
    });
  const at = (crashes: number, downForMs: number) => {
    const now = observation([crashed(crashes)]);
    return decided(lone, { ...now, watch: { ...now.watch, leaderDownSinceMs: NOW_MS - downForMs } });
  };

  it('leads again at once the first time, and waits longer each further time', () => {
    expect(at(1, 0).code).toBe('LEADER_BACK');
    expect(at(2, 0).code).toBe('LEADER_RESTS');
    expect(at(2, 500).code).toBe('LEADER_BACK');
    expect(at(5, 3_900).code).toBe('LEADER_RESTS');
    expect(at(5, 4_000).code).toBe('LEADER_BACK');
    expect(at(2, 0).reason).toContain('No space left on device');
  });

  it('is promoted again after a wait that grows with the attempts', () => {
    const attempt = (attempts: number, sinceMs: number) => {
      const state = {
        ...lone,
        ledger: [entry(), entry({ term: 2, opened: false, attempts })],
        term: 2,
        activity: { kind: 'promote' as const, cause: 'LEADER_DEAD' as const },
      };
      const failed = leaderView(state, {
        done: false,
        lead: null,
        accepted: { incarnation: 1, term: 2, seq: 9, kind: 'lead' },
        failure: { code: 'POSTGRES_CRASHED', message: 'x' },
        postgres: { state: 'stopped' },
      });
      const now = observation([failed]);
      return decided(state, { ...now, watch: { ...now.watch, stepSinceMs: NOW_MS - sinceMs } });
    };
    expect(attempt(1, 0)).toMatchObject({ code: 'PROMOTE_AGAIN', state: { term: 3 } });
    expect(attempt(2, 400).code).toBe('PROMOTING');
    expect(attempt(2, 500).code).toBe('PROMOTE_AGAIN');
    expect(attempt(60, 29_000).code).toBe('PROMOTING');
    expect(attempt(60, 29_000).reason).toContain('60 attempts so far');
    expect(attempt(60, 30_000)).toMatchObject({ code: 'PROMOTE_AGAIN', state: { members: { p: '1:p' } } });
  });
});
