// @ts-check
/**
 * The first step of every command. This is the only file that runs before anything is installed, so it is plain
 * JavaScript for Node 20 and imports only Node's own modules. It makes sure that the locked packages are installed, and
 * then runs `scripts/<command>.ts`, or for `failover` `cli/main.ts`, with the Node 24 from these packages.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const NODE_MAJOR_MIN = 20;
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, 'node_modules');
const stamp = join(modules, '.postgres-failover-lock');
const node24 = join(modules, '.bin', 'node');

/**
 * @param {string} message
 * @returns {never}
 */
function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

/** Hash of the lock file, which lists the required packages. */
function wantedHash() {
  return createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
}

function installedHash() {
  return existsSync(stamp) && existsSync(node24) ? readFileSync(stamp, 'utf8').trim() : '';
}

function installPackages() {
  const wanted = wantedHash();
  if (installedHash() === wanted) return;
  if (spawnSync('npm', ['--version'], { stdio: 'ignore' }).status !== 0)
    fail('npm was not found. Install it (on Debian: apt-get install npm) and run the command again.');
  process.stdout.write('Installing the locked packages (npm ci) …\n');
  const begin = process.hrtime.bigint();
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  // Without NODE_ENV npm installs the development packages too, and all of them are needed here.
  const env = { ...process.env, NODE_ENV: '' };
  const result = spawnSync('npm', ['ci', ...quiet], { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] });
  if (result.status !== 0)
    fail(`npm ci failed (${result.signal ?? `exit code ${result.status}`}); its output is above.`);
  writeFileSync(stamp, `${wanted}\n`);
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  process.stdout.write(`Installed the locked packages (${seconds.toFixed(1)} s)\n`);
}

/**
 * Runs the command and takes over its end. A terminal's Ctrl-C reaches the child by itself (same process group), so it
 * is handed on only where there is no terminal: Pulumi takes a second one for "stop at once".
 * @param {string} script
 * @param {string[]} args
 */
function runCommand(script, args) {
  const loader = pathToFileURL(join(modules, 'tsx', 'dist', 'loader.mjs')).href;
  const env = {
    ...process.env,
    PATH: `${join(modules, '.bin')}:${process.env.PATH ?? ''}`,
    // Caches compiled packages, so that each command starts a few tenths of a second sooner.
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(modules, '.cache', 'compile'),
  };
  const child = spawn(node24, ['--import', loader, script, ...args], { stdio: 'inherit', env });
  process.on('SIGINT', () => {
    if (!process.stdin.isTTY) child.kill('SIGINT');
  });
  for (const signal of /** @type {const} */ (['SIGTERM', 'SIGHUP'])) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => fail(`${node24} cannot be run: ${error.message}`));
  child.on('exit', (code, signal) => process.exit(code ?? 128 + (signal ? constants.signals[signal] : 1)));
}

const [command, ...args] = process.argv.slice(2);
const major = Number(process.versions.node.split('.')[0]);
if (major < NODE_MAJOR_MIN)
  fail(`Node.js ${process.versions.node} is too old: version ${NODE_MAJOR_MIN} or newer is needed.`);
const script = command === 'failover' ? join(root, 'cli', 'main.ts') : join(root, 'scripts', `${command}.ts`);
if (!command || !/^[a-z][a-z-]*$/.test(command) || !existsSync(script))
  fail(`usage: node scripts/start.mjs <setup | up | preview | destroy | pulumi | failover | test> [options]`);
installPackages();
runCommand(script, args);
