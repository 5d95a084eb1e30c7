/** A look that fails gives a leader's older answer: nothing is proven by it (S4). */
import { afterEach, describe, expect, it } from 'vitest';
import { lead, Rig, streaming, WITH_B } from './fakes';

let rig: Rig;

afterEach(async () => {
  await rig.end();
});

describe('a sync setting', () => {
  it('is not proven by an answer that is older than the setting', async () => {
    rig = await Rig.leader();
    rig.postgres.standbys = [streaming()];
    rig.postgres.stale = true;
    rig.order(1, lead(WITH_B));
    const failing = await rig.until((s) => s.failure?.code === 'POSTGRES_SILENT');
    expect(failing).toMatchObject({ done: false, lead: { syncInForce: null } });
    rig.postgres.stale = false;
    expect((await rig.until((s) => s.done)).lead?.syncInForce).toEqual(WITH_B);
  });
});
