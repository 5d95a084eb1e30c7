/**
 * Makes the fixture of a release, from that release's own tree: brings a stack up, keeps its state (secrets encrypted)
 * and config in test/fixtures/, and takes it down.
 *
 *     npx tsx test/upgrade/make-fixture.ts
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { runOk } from '../../scripts/lib/exec';
import { PATHS } from '../../scripts/lib/paths';
import { setUp } from '../../scripts/lib/setup';
import { say } from '../../scripts/lib/terminal';
import { runProgram } from '../rig/progress';
import { OwnStack } from '../rig/stack';
import { TIMEOUTS } from '../timeouts';
import { configOf, FIXTURES, ROOT_MARK, STACK, stateOf } from './fixture';

/** Where in the source a resource was made, and when: of no matter, and other at every run. */
const LEFT_OUT = new Set(['sourcePosition', 'stackTrace', 'created', 'modified']);

async function main(): Promise<boolean> {
  const { version } = z
    .object({ version: z.string() })
    .parse(JSON.parse(readFileSync(join(PATHS.root, 'package.json'), 'utf8')));
  const stack = new OwnStack({
    name: STACK,
    ...{ ports: 22_000, subnet: '10.98.61' },
    config: { replicas: 2, backendReplicas: 2, databasePassword: 'test' },
  });
  try {
    await stack.up(say);
    Object.assign(process.env, stack.env);
    const { cli, env } = await setUp(STACK, 'state', { silent: true });
    const options = { cwd: PATHS.root, env, deadlineMs: TIMEOUTS.pulumi };
    const { stdout } = await runOk(cli.command, ['stack', 'export', '--stack', STACK], options);
    const state: unknown = JSON.parse(stdout.replaceAll(PATHS.root, ROOT_MARK), (key, value: unknown) =>
      LEFT_OUT.has(key) ? undefined : value,
    );
    mkdirSync(FIXTURES, { recursive: true });
    writeFileSync(stateOf(version), `${JSON.stringify(state, null, 2)}\n`);
    writeFileSync(configOf(version), readFileSync(join(PATHS.root, `Pulumi.${STACK}.yaml`), 'utf8'));
    say(`test/fixtures/state-${version}.json; format it with "npm run format"`);
    return true;
  } finally {
    await stack.down(say);
  }
}

runProgram(main);
