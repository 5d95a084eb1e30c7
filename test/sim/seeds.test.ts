import { describe, expect, it } from 'vitest';
import { APART, FROZEN } from '../../simulator/aimed-faults';
import { STARVATION } from '../../simulator/random-faults';
import { simulate } from '../../simulator/run';

const SEEDS = 500;
const GROUP = 50;

describe('500 seeds of the simulator', () => {
  const groups = Array.from({ length: SEEDS / GROUP }, (_, i) => i * GROUP + 1);
  it.each(groups)('show no violation from seed %i on', async (first) => {
    const found: string[] = [];
    for (let seed = first; seed < first + GROUP; seed++) {
      const { violations } = await simulate({ seed });
      if (violations.length > 0) found.push(`${violations[0]} (replay: npm run sim -- --seed ${seed} --verbose)`);
    }
    expect(found).toEqual([]);
  });
});

const BACKUP_SEEDS = 20;

it(`with backups each file is archived, or written down as missing, in ${BACKUP_SEEDS} seeds`, async () => {
  const found: string[] = [];
  for (let seed = 1; seed <= BACKUP_SEEDS; seed++) {
    const { violations } = await simulate({ seed, policy: { backup: true } });
    if (violations.length > 0) found.push(`seed ${seed}: ${violations[0]}`);
  }
  expect(found).toEqual([]);
});

const GAP_SEEDS = 5;

it(`a leader knows what the former one let go, also when that one's volume is lost, in ${GAP_SEEDS} seeds`, async () => {
  const found: string[] = [];
  for (let seed = 1; seed <= GAP_SEEDS; seed++) {
    const { violations, story } = await simulate({ seed, policy: { backup: true }, faults: ['archiveRefuses'] });
    if (violations.length > 0) found.push(`seed ${seed}: ${violations[0]}`);
    if (!story.some((line) => line.includes('let write-ahead log go'))) found.push(`seed ${seed}: no gap`);
  }
  expect(found).toEqual([]);
});

const KEPT_SEEDS = 2;

it(`no gap is left by a leader that is lost with its volume and what it had not archived, in ${KEPT_SEEDS} seeds`, async () => {
  const found: string[] = [];
  for (let seed = 1; seed <= KEPT_SEEDS; seed++) {
    const run = { seed, replicas: 1, policy: { backup: true }, faults: ['leaderIsLost'] };
    const { violations, story } = await simulate(run);
    if (violations.length > 0) found.push(`seed ${seed}: ${violations[0]}`);
    if (!story.some((line) => line.includes('that it need not keep'))) found.push(`seed ${seed}: no leader is lost`);
  }
  expect(found).toEqual([]);
});

const CANDIDATE_SEEDS = 3;

it(`a candidate that is never opened reaches neither the archive nor a client of replication, in ${CANDIDATE_SEEDS} seeds`, async () => {
  const found: string[] = [];
  for (let seed = 1; seed <= CANDIDATE_SEEDS; seed++) {
    const run = { seed, replicas: 2, policy: { backup: true, replication: true }, faults: ['candidateLingers'] };
    const { violations } = await simulate(run);
    if (violations.length > 0) found.push(`seed ${seed}: ${violations[0]}`);
  }
  expect(found).toEqual([]);
});

const CLIENT_SEEDS = 20;
const CLIENT_FAULTS = [
  ...['kill', 'killLeader', 'killCandidate', 'killRewinding', 'killAtGrowth', 'stop', 'pause', 'crash'],
  ...['partition', 'switchover', 'restartMonitor', 'behind', 'badMinute'],
];

it(`clients of replication get one history, and a logical consumer all of it, in ${CLIENT_SEEDS} seeds`, async () => {
  const found: string[] = [];
  for (let seed = 1; seed <= CLIENT_SEEDS; seed++) {
    const { violations } = await simulate({ seed, policy: { replication: true }, faults: CLIENT_FAULTS });
    if (violations.length > 0) found.push(`seed ${seed}: ${violations[0]}`);
  }
  expect(found).toEqual([]);
});

const RESTORE_SEEDS = 20;

it(`restores in place and their way back leave one history, whatever dies meanwhile, in ${RESTORE_SEEDS} seeds`, async () => {
  const found: string[] = [];
  for (let seed = 1; seed <= RESTORE_SEEDS; seed++) {
    const { violations } = await simulate({ seed, policy: { backup: true }, faults: ['restoreInPlace'] });
    if (violations.length > 0) found.push(`seed ${seed}: ${violations[0]}`);
  }
  expect(found).toEqual([]);
});

/** Seeds in which the machine is only slow, each time for less than `hangTimeout` (S28). */
const SLOW_SEEDS = 50;
const FROZEN_SEEDS = 20;

const SLOW: readonly [string, readonly string[], number, true | 'leader'][] = [
  ['a machine that is only slow', Object.keys(STARVATION), SLOW_SEEDS, true],
  ['a monitor whose process stands still for long while messages are late', Object.keys(FROZEN), FROZEN_SEEDS, true],
  ['a leader that does not answer the monitor, but writes (S21)', Object.keys(APART), FROZEN_SEEDS, 'leader'],
];

describe.each(SLOW)('%s', (_what, faults, seeds, steady) => {
  it(`shows no change of the leader at all in ${seeds} seeds`, async () => {
    const found: string[] = [];
    for (let seed = 1; seed <= seeds; seed++) {
      const { violations } = await simulate({ seed, faults, steady });
      if (violations.length > 0) found.push(`seed ${seed}: ${violations[0]}`);
    }
    expect(found).toEqual([]);
  });
});
