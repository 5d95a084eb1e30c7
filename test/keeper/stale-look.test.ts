/** A look that fails gives a leader's older answer: nothing is proven by it (S4). */
import { afterEach, describe, expect, it } from 'vitest';
import type { SyncConfig } from '../../failover/contract/messages';
import { Rig } from './fakes';

const ALONE: SyncConfig = { leader: 'a', k: 0, members: [] };
const WITH_B: SyncConfig = { leader: 'a', k: 1, members: ['b'] };
const streaming = { name: 'b', state: 'streaming', syncState: 'quorum', flushLsn: '0/3000100', replayLsn: null };

let rig: Rig;

afterEach(async () => {
  await rig.end();
});

describe('a sync setting', () => {
  it('is not proven by an answer that is older than the setting', async () => {
    rig = new Rig();
    await rig.begin();
    await rig.done(1, { kind: 'bootstrap' });
    await rig.done(1, { kind: 'lead', sync: ALONE });
    rig.postgres.standbys = [streaming];
    rig.postgres.stale = true;
    rig.order(1, { kind: 'lead', sync: WITH_B });
    const failing = await rig.until((s) => s.failure?.code === 'POSTGRES_SILENT');
    expect(failing).toMatchObject({ done: false, lead: { syncInForce: null } });
    rig.postgres.stale = false;
    expect((await rig.until((s) => s.done)).lead?.syncInForce).toEqual(WITH_B);
  });
});
