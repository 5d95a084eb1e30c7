import { defineConfig } from 'vitest/config';

/** Many seeds of the simulator take minutes. */
const SIMULATIONS = [
  'test/exhaustive/exhaustive.test.ts',
  'test/sim/mutations.test.ts',
  'test/sim/seeds.test.ts',
  'test/sim/verdicts.test.ts',
];

/** They wait for nodes, pgBackRest, builds and Pulumi most of the time, and assert no short time. */
const DATA = [
  'test/keeper/{backup,backup-s3,consumers,extensions,restore,stream,tls,without-log}.docker.test.ts',
  'test/monitor/restore.docker.test.ts',
  'test/monitoring/alerts.docker.test.ts',
  'packages/pulumi-offline/test/kit.docker.test.ts',
];

/**
 * `sim` runs 500 seeds of the simulator and takes the rules out one by one, without Docker. Its time is not the
 * machine's, so its files run side by side. `unit` needs no Docker and ends in under a minute; `docker` needs an engine
 * (set-up starts it) and runs its files one after the other, because they share two cores and measure time. `data`
 * needs one, too, measures no time, and runs two files at once, before those of `docker`. `ui` is for `npm run test:ui`
 * alone: a browser, and stacks of its own.
 */
export default defineConfig({
  test: {
    // One worker a core: many tests talk to processes and sockets, and vitest would leave a core to itself.
    maxWorkers: '100%',
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts', 'packages/*/test/**/*.test.ts'],
          exclude: ['**/*.docker.test.ts', 'test/**/*.ui.test.ts', ...SIMULATIONS],
          pool: 'forks',
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'sim',
          include: SIMULATIONS,
          pool: 'forks',
          testTimeout: 900_000,
        },
      },
      {
        test: {
          name: 'data',
          include: DATA,
          globalSetup: ['test/rig/kept-layers.ts'],
          pool: 'forks',
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
          testTimeout: 300_000,
          hookTimeout: 900_000,
        },
      },
      {
        test: {
          name: 'docker',
          include: ['test/**/*.docker.test.ts', 'packages/*/test/**/*.docker.test.ts'],
          exclude: DATA,
          globalSetup: ['test/rig/kept-layers.ts'],
          pool: 'forks',
          fileParallelism: false,
          sequence: { groupOrder: 2 },
          testTimeout: 300_000,
          hookTimeout: 900_000,
        },
      },
      {
        test: {
          name: 'ui',
          include: ['test/**/*.ui.test.ts'],
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 900_000,
          hookTimeout: 1_500_000,
        },
      },
    ],
  },
});
