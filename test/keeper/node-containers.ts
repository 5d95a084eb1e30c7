/** Real PostgreSQL nodes in containers for the keeper's tests, on a network of their own. */
import { execFile } from 'node:child_process';
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { PATHS } from '../../failover/contract/layout';

const execute = promisify(execFile);
const ROOT = join(__dirname, '../..');

export async function docker(...args: string[]): Promise<string> {
  const { stdout } = await execute('docker', args, { maxBuffer: 16 * 1024 * 1024 });
  return stdout.trim();
}

/** Runs docker and ignores that what it names is not there. */
export async function dockerQuietly(...args: string[]): Promise<void> {
  await docker(...args).catch(() => undefined);
}

/** Builds the image from a staged folder, as the shipped one is. */
export async function buildImage(tag: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'keeper-image-'));
  try {
    for (const name of ['Dockerfile', 'keeper-health']) {
      copyFileSync(join(ROOT, 'images/postgres', name), join(folder, name));
    }
    chmodSync(join(folder, 'keeper-health'), 0o755);
    await build({
      entryPoints: [join(ROOT, 'failover/keeper/main.ts')],
      outfile: join(folder, 'keeper.mjs'),
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node24',
      external: ['pg-native'],
      loader: { '.conf': 'text', '.sql': 'text' },
      banner: {
        js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
      },
      logLevel: 'silent',
    });
    await execute('docker', ['build', '-q', '-t', tag, folder], { env: { ...process.env, DOCKER_BUILDKIT: '0' } });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export interface NodeOptions {
  name: string;
  image: string;
  network: string;
  address: string;
  monitor: { host: string; port: number };
  clusterKey: string;
}

/** Creates and starts a node the way the program does: config uploaded, all capabilities dropped, an init as PID 1. */
export async function startNode(options: NodeOptions): Promise<void> {
  const { name, image, network, address, monitor, clusterKey } = options;
  await docker(
    ...['create', '--name', name, '--network', network, '--ip', address, '--init', '--cap-drop', 'ALL'],
    ...['--security-opt', 'no-new-privileges:true', '--stop-timeout', '60', '--shm-size', '128m', '--memory', '512m'],
    ...['--memory-swap', '512m', '--mount', `type=volume,source=${name}-data,target=${PATHS.nodeVolume}`, image],
  );
  const folder = mkdtempSync(join(tmpdir(), 'keeper-config-'));
  try {
    writeFileSync(join(folder, 'keeper.json'), JSON.stringify({ node: name, monitor, clusterKey }));
    chmodSync(folder, 0o755);
    await docker('cp', folder, `${name}:/etc/postgres-failover`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  await docker('start', name);
}

export async function removeNode(name: string): Promise<void> {
  await dockerQuietly('rm', '-f', '-v', name);
  await dockerQuietly('volume', 'rm', `${name}-data`);
}
