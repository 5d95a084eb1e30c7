import { describe, expect, it } from 'vitest';
import { onlyAdvances } from '../../failover/monitor/nodes/progress';

const standby = { name: 'replica-1', state: 'streaming', syncState: 'quorum', flushLsn: '0/30', replayLsn: '0/30' };
const before = {
  n: 7,
  done: true,
  failure: null,
  postgres: { state: 'primary', timeline: 2, lsn: '0/30', heartbeatSeen: 4 },
  lead: {
    term: 3,
    flushLsn: '0/30',
    heartbeat: 4,
    heartbeatAgeMs: 3,
    syncInForce: { k: 1, members: ['replica-1'] },
    standbys: [standby],
  },
};

describe('a status that shows nothing but growth', () => {
  it.each([
    ['nothing at all', {}],
    ['position and heartbeat', { n: 8, postgres: { ...before.postgres, lsn: '0/40', heartbeatSeen: 5 } }],
    [
      'what the leader measures',
      { lead: { ...before.lead, flushLsn: '0/40', heartbeat: 5, heartbeatAgeMs: 90, commitMs: 2 } },
    ],
    ['the position of a standby', { lead: { ...before.lead, standbys: [{ ...standby, flushLsn: '0/40' }] } }],
    ['a new look at the replication slots', { slots: [{ name: 'replica_1', active: true }] }],
  ])('%s', (_, change) => {
    expect(onlyAdvances(before, { ...before, ...change })).toBe(true);
  });

  it.each([
    ['PostgreSQL stopped', { postgres: { ...before.postgres, state: 'stopped' } }],
    ['a position became known or unknown', { postgres: { ...before.postgres, lsn: null } }],
    ['the order is no longer carried out', { done: false }],
    ['something failed', { failure: { code: 'STEP_FAILED', message: 'no' } }],
    ['it no longer leads', { lead: null }],
    [
      'another sync configuration is in force',
      { lead: { ...before.lead, syncInForce: { k: 1, members: ['replica-2'] } } },
    ],
    ['a standby appeared', { lead: { ...before.lead, standbys: [standby, { ...standby, name: 'replica-2' }] } }],
    ['a standby disappeared', { lead: { ...before.lead, standbys: [] } }],
    ['a standby no longer streams', { lead: { ...before.lead, standbys: [{ ...standby, state: 'catchup' }] } }],
    ['a flag is set', { rewinding: true }],
  ])('is not one in which %s', (_, change) => {
    expect(onlyAdvances(before, { ...before, ...change })).toBe(false);
    expect(onlyAdvances({ ...before, ...change }, before)).toBe(false);
  });
});
