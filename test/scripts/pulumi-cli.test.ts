import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { dependencies } from '../../package.json';
import { exportLine, provideCli } from '../../scripts/lib/pulumi-cli';
import { testFolder } from '../rig/folder';

const context = { progress: () => {}, signal: new AbortController().signal };

let folder: string;
beforeEach(() => {
  folder = testFolder();
  vi.stubEnv('PULUMI_HOME', join(folder, 'home'));
  vi.stubEnv('XDG_CACHE_HOME', join(folder, 'cache'));
  vi.stubEnv('PATH', `${join(folder, 'bin')}:${process.env.PATH}`);
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

/** Puts something on PATH that answers as a Pulumi CLI would. */
function fakeCli(script: string): string {
  mkdirSync(join(folder, 'bin'), { recursive: true });
  const file = join(folder, 'bin', 'pulumi');
  writeFileSync(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return file;
}

function fakePlugins(): void {
  for (const name of ['docker', 'command', 'random'] as const)
    mkdirSync(join(folder, 'home/plugins', `resource-${name}-v${dependencies[`@pulumi/${name}`]}`), {
      recursive: true,
    });
}

describe('which Pulumi runs', () => {
  test("the vendor's CLI on PATH whose plugins are there, without asking the network", async () => {
    const command = fakeCli('echo v3.280.0');
    fakePlugins();
    const network = vi.spyOn(globalThis, 'fetch');
    const { cli, result } = await provideCli(context);
    expect(network).not.toHaveBeenCalled();
    expect(result.outcome).toBe('skipped');
    expect(cli).toMatchObject({ kind: 'vendor', command, description: `Pulumi v3.280.0 (${command})` });
    expect(cli.env.PULUMI_HOME).toBeUndefined();
  });

  test("an explicit wish for the vendor's CLI is refused where it cannot be had", async () => {
    vi.stubEnv('POSTGRES_FAILOVER_PULUMI', 'vendor');
    fakeCli('exit 1');
    vi.spyOn(globalThis, 'fetch').mockRejectedValue(new Error('no route'));
    await expect(provideCli(context)).rejects.toThrow('cannot be downloaded');
    // The second time the answer is remembered.
    vi.mocked(globalThis.fetch).mockClear();
    await expect(provideCli(context)).rejects.toThrow('cannot be downloaded');
    expect(globalThis.fetch).not.toHaveBeenCalled();
  });

  test('a choice that does not exist is refused by name', async () => {
    vi.stubEnv('POSTGRES_FAILOVER_PULUMI', 'terraform');
    await expect(provideCli(context)).rejects.toThrow('POSTGRES_FAILOVER_PULUMI="terraform": must be kit or vendor');
  });
});

describe('the line for plain pulumi', () => {
  test('is one export, quoted where the shell needs it', () => {
    const cli = {
      kind: 'kit' as const,
      command: '/home/a b/kit/pulumi',
      description: '',
      env: { PULUMI_HOME: "/home/it's/here", NODE_COMPILE_CACHE: '/x' },
    };
    const line = exportLine(cli, { PULUMI_CONFIG_PASSPHRASE: 'dev' });
    expect(line).toMatch(
      /^export PULUMI_CONFIG_PASSPHRASE=dev PULUMI_HOME='\/home\/it'\\''s\/here' PATH='\/home\/a b\/kit:\/.*node_modules\/\.bin':"\$PATH"$/,
    );
    expect(exportLine(cli, { DOCKER_HOST: 'unix:///run/it.sock' })).toContain(' DOCKER_HOST=unix:///run/it.sock ');
  });
});
