/** A leader that is told to stop has ended before Docker kills it, also when every step takes its longest time. */
import { expect, it } from 'vitest';
import { STOP_SECONDS } from '../../components/postgres-node';
import { ARCHIVE_LIMIT_MS, CHECKPOINT_LIMIT_MS, HANDOVER_LIMIT_MS, NOTICE_MS } from '../../failover/keeper/keeper';
import { KILL_LIMIT_MS, STOP_LIMIT_MS } from '../../failover/keeper/postgres/postmaster';

it('ends within the time that Docker gives the container', () => {
  const steps = [CHECKPOINT_LIMIT_MS, HANDOVER_LIMIT_MS, NOTICE_MS, STOP_LIMIT_MS, KILL_LIMIT_MS, ARCHIVE_LIMIT_MS];
  expect(steps.reduce((sum, ms) => sum + ms, 0)).toBeLessThan(STOP_SECONDS * 1_000 - 1_000);
});
