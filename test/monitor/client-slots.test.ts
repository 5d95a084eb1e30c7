/** The monitor's view of the slots that people made, and of what a change of leader lost for their readers. */
import { expect, it } from 'vitest';
import { statusLines } from '../../cli/render';
import type { ClientSlot, ClientSlotsRecord } from '../../failover/contract/client-slots';
import { decide } from '../../failover/core/decide';
import { Situation } from '../../failover/core/facts/situation';
import { Metrics } from '../../failover/monitor/outside/metrics';
import { clusterStatus } from '../../failover/monitor/outside/status-view';
import { leaderView, NOW_MS, observation, POLICY, replicaView, serving } from '../core/world';

const reader: ClientSlot = {
  ...{ name: 'reader', type: 'physical', plugin: null, database: null, failover: false },
  ...{ active: true, lsn: '0/500', invalidation: null },
};
const slots: ClientSlotsRecord = {
  term: 1,
  known: [{ name: 'reader', type: 'physical', failover: false }],
  gone: ['old'],
  gaps: [
    { name: 'reader', type: 'physical', from: '0/300', to: '0/400', term: 1 },
    { name: 'cdc', type: 'logical', from: null, to: null, term: 1 },
  ],
};

function shown(record: ClientSlotsRecord | undefined) {
  const state = serving(['a'], { ...(record && { slots: record }) });
  const gaps = slots.gaps.map(({ term: _, ...gap }) => gap);
  const leader = { ...leaderView(state), ...(record && { clientSlots: { term: 1, slots: [reader], gaps } }) };
  const seen = observation([leader, replicaView(state, 'a')]);
  const decision = decide(state, seen, NOW_MS, POLICY);
  const s = new Situation(decision.state, seen, NOW_MS, POLICY);
  const status = clusterStatus(s, { stack: 'dev', version: '1.2.3', decision, lastFailover: null, wallMs: 0 });
  return { status, metrics: () => new Metrics('1.2.3', POLICY, { nowMs: () => NOW_MS }).text(status, seen) };
}

it('are in the API, in status and in the metrics', async () => {
  const { status, metrics } = shown(slots);
  expect(status.clientSlots).toMatchObject({ slots: [reader], gaps: [{ name: 'reader' }, { name: 'cdc', to: null }] });
  const lines = statusLines({ ...status, events: [] }, (_style, text) => text);
  expect(lines).toEqual(
    expect.arrayContaining([
      'Slots: reader (physical, in use)',
      'Slot reader has a possible gap from 0/300 to 0/400 (docs/replication.md#replication-slots)',
      'Slot cdc is lost (docs/replication.md#replication-slots)',
    ]),
  );
  const { text } = await metrics();
  expect(text).toContain('pgfailover_slot_gap{slot="reader",kind="gap"} 1');
  expect(text).toContain('pgfailover_slot_gap{slot="cdc",kind="lost"} 1');
});

it('are nowhere while there never was one', async () => {
  const { status, metrics } = shown(undefined);
  expect(status.clientSlots).toBeUndefined();
  expect((await metrics()).text).not.toContain('pgfailover_slot_gap{');
});
