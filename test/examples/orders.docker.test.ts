/** The example's program makes a cluster of its own: previewed with the kit, nothing of it comes to be. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { z } from 'zod';
import { installKit, kitPaths } from '../../packages/pulumi-offline/index';
import { runOk } from '../../scripts/lib/exec';
import { cacheFolder, PATHS } from '../../scripts/lib/paths';
import { bundleImages } from '../../scripts/lib/staging';
import { TIMEOUTS } from '../timeouts';

const FOLDER = join(PATHS.root, 'examples', 'orders');
const STACK = 'example';
const Steps = z.object({ steps: z.array(z.object({ op: z.string(), urn: z.string() })) });
const state = mkdtempSync(join(tmpdir(), 'postgres-failover-example-'));

afterAll(() => {
  rmSync(state, { recursive: true, force: true });
  rmSync(join(FOLDER, `Pulumi.${STACK}.yaml`), { force: true });
});

it(
  'is previewed: a cluster with two replicas, each part named after it',
  async () => {
    const place = kitPaths({ projectDir: PATHS.root, cacheDir: cacheFolder() });
    const [kit] = await Promise.all([installKit(place), bundleImages()]);
    const own = { PULUMI_BACKEND_URL: `file://${state}`, PULUMI_CONFIG_PASSPHRASE: STACK };
    const options = { cwd: FOLDER, env: { ...process.env, ...kit.env, ...own }, deadlineMs: TIMEOUTS.pulumi };
    const pulumi = async (...args: string[]) =>
      (await runOk(kit.pulumi, [...args, '--stack', STACK, '--non-interactive'], options)).stdout;
    await runOk(kit.pulumi, ['stack', 'init', STACK, '--non-interactive'], options);
    const { steps } = Steps.parse(JSON.parse(await pulumi('preview', '--json')));
    expect(new Set(steps.map(({ op }) => op))).toEqual(new Set(['create']));
    const containers = steps.filter(({ urn }) => urn.split('::').at(-2)?.endsWith(':Container') === true);
    expect(containers.map(({ urn }) => urn.split('::').at(-1)).sort()).toEqual([
      'orders-backup-check',
      'orders-failover-monitor',
      'orders-haproxy',
      'orders-postgres-primary',
      'orders-postgres-replica-1',
      'orders-postgres-replica-2',
    ]);
  },
  TIMEOUTS.firstUp,
);
