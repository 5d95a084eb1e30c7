/**
 * Prometheus's own tool checks the alert rules and plays monitoring/alerts.test.yml against them. test/ui/alerts.ui.test.ts
 * makes alerts fire on a real stack.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runOk } from '../../scripts/lib/exec';
import { PATHS } from '../../scripts/lib/paths';
import { docker } from '../rig/docker';

const BUILD_LIMIT_MS = 300_000;
const IMAGE = 'postgres-failover-promtool:test';
const NAME = 'promtool-test';
const DOCKERFILE = `FROM debian:trixie-slim
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends promtool \\
 && rm -rf /var/lib/apt/lists/*
USER 65534:65534
WORKDIR /tmp
CMD ["sleep", "300"]
`;
const FILES = ['alerts.yml', 'alerts.test.yml'];
const promtool = (...args: string[]) => docker('exec', NAME, 'promtool', ...args);

beforeAll(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'promtool-'));
  try {
    writeFileSync(join(folder, 'Dockerfile'), DOCKERFILE);
    // The classic builder, as the other images.
    const options = { env: { ...process.env, DOCKER_BUILDKIT: '0' }, deadlineMs: BUILD_LIMIT_MS };
    await runOk('docker', ['build', '-q', '-t', IMAGE, folder], options);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  await docker('rm', '-f', NAME).catch(() => undefined);
  await docker('run', '-d', '--init', '--name', NAME, '--network', 'none', '--cap-drop', 'ALL', IMAGE);
  for (const file of FILES) await docker('cp', join(PATHS.root, 'monitoring', file), `${NAME}:/tmp/${file}`);
});

afterAll(async () => {
  await docker('rm', '-f', NAME);
});

it('takes the rules', async () => {
  expect(await promtool('check', 'rules', 'alerts.yml')).toMatch(/SUCCESS: \d+ rules found/);
});

it('fires each alert when monitoring/alerts.test.yml says so, and not otherwise', async () => {
  expect(await promtool('test', 'rules', 'alerts.test.yml')).toContain('SUCCESS');
});
