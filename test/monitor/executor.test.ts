import { describe, expect, it } from 'vitest';
import { type Action, type Decision, emptyState } from '../../failover/core/state/cluster';
import { Executor } from '../../failover/monitor/executor';

const NODES = [
  { name: 'p', address: '10.0.0.20' },
  { name: 'a', address: '10.0.0.21' },
  { name: 'b', address: '10.0.0.22' },
];
/** One action of each kind that a decision can contain. */
const ACTIONS: Action[] = [
  { kind: 'route-write', route: { kind: 'closed', keep: null } },
  { kind: 'route-read', nodes: ['a'], stay: ['b'] },
  { kind: 'order', node: 'a', order: { term: 2, seq: 7, target: { kind: 'freeze' } } },
  { kind: 'probe', node: 'p' },
  { kind: 'certify', node: 'a', term: 2 },
];
const DECISION: Decision = {
  state: emptyState(),
  actions: ACTIONS,
  rule: 'elected',
  code: 'ELECTED',
  level: 'INFO',
  reason: 'a is promoted',
};

/** An executor that notes what it does. HAProxy confirms the closed slot when the test resolves `closed`. */
function rig(waits = false) {
  const did: string[] = [];
  const closed = Promise.withResolvers<boolean>();
  const executor = new Executor(
    {
      order: (node) => did.push(`order ${node}`),
      probe: (node) => did.push(`probe ${node}`),
      archive: (by) => by !== null && did.push(`archive ${by.node}`),
      removeKept: (id) => id !== undefined && did.push(`remove what ${id} kept`),
    },
    {
      write: () => did.push('write'),
      read: (open, stay) => did.push(`read ${open.join()}, stay ${stay.join()}`),
      closed: () => closed.promise,
    },
    { want: (check) => did.push(`check ${check?.node}`) },
    { holdsBack: () => waits },
    { incarnation: 1 },
    () => did.push('closed'),
  );
  return { executor, did, closed };
}

describe('the actions of a decision', () => {
  it('are carried out one after the other; orders are sent only when the slot is closed', async () => {
    const { executor, did, closed } = rig();
    const done = executor.execute(DECISION, NODES);
    expect(did).toEqual(['check a', 'write']);
    closed.resolve(true);
    await done;
    expect(did.slice(2)).toEqual(['closed', 'read 10.0.0.21, stay 10.0.0.22', 'order a', 'probe p']);
    expect(executor.revoked).toBe(false);
  });

  it('are not carried out at all when the decision was revoked after it was stored', async () => {
    const { executor, did } = rig();
    executor.revoked = true;
    await executor.execute(DECISION, NODES);
    expect(did).toEqual([]);
    expect(executor.revoked).toBe(true);
  });

  it('end when the decision is revoked while the executor waits for HAProxy', async () => {
    const { executor, did, closed } = rig();
    const done = executor.execute(DECISION, NODES);
    executor.revoked = true;
    closed.resolve(false);
    await done;
    expect(did).toEqual(['check a', 'write']);
  });

  it('that cut the leader’s clients off are left out while the pooler still works, and no others', async () => {
    const held: Action[] = [
      { kind: 'route-write', route: { kind: 'held', node: 'p', address: '10.0.0.20' } },
      { kind: 'order', node: 'p', order: { term: 2, seq: 7, target: { kind: 'stop', drainMs: 5_000 } } },
      { kind: 'order', node: 'a', order: { term: 2, seq: 7, target: { kind: 'stop' } } },
      { kind: 'route-read', nodes: ['a'], stay: [] },
    ];
    const decision: Decision = { ...DECISION, state: { ...DECISION.state, leader: 'p' }, actions: held };
    const waiting = rig(true);
    await waiting.executor.execute(decision, NODES);
    expect(waiting.did).toEqual(['check undefined', 'order a', 'read 10.0.0.21, stay ']);
    const quiet = rig(false);
    await quiet.executor.execute(decision, NODES);
    expect(quiet.did).toEqual(['check undefined', 'write', 'order p', 'order a', 'read 10.0.0.21, stay ']);
  });

  it('are carried out for the next decision, which is not revoked', async () => {
    const { executor, did, closed } = rig();
    executor.revoked = true;
    executor.revoked = false;
    closed.resolve(true);
    await executor.execute(DECISION, NODES);
    expect(did).toContain('order a');
  });
});
