import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, test } from 'vitest';

const ROOT = join(__dirname, '../..');
/** Stands for Pulumi: counts interrupts, winds down a while after the first one, ends with 7. */
const CHILD = `
  let interrupts = 0;
  process.on('SIGINT', () => { if (++interrupts === 1) setTimeout(() => { console.log('interrupts ' + interrupts); process.exit(7); }, 400); });
  setInterval(() => {}, 1000);
  console.log('ready');
`;

/** Runs a child through `runForeground` in a process without a terminal; resolves to its lines and exit code. */
function run(child: string, onReady: (pid: number) => void): Promise<{ lines: string[]; code: number | null }> {
  const script = `
    const { runForeground } = require('./scripts/lib/foreground');
    runForeground(process.execPath, ['-e', ${JSON.stringify(child)}], { cwd: '.', env: process.env }).then((code) => process.exit(code));
  `;
  const parent = spawn(process.execPath, ['--import', 'tsx', '--eval', script], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  createInterface({ input: parent.stdout }).on('line', (line) => {
    lines.push(line);
    if (line === 'ready' && parent.pid) onReady(parent.pid);
  });
  return new Promise((resolve) => parent.on('close', (code) => resolve({ lines, code })));
}

describe('a program in the foreground', () => {
  test('gets one interrupt where two come at once, winds down, and gives its exit code', async () => {
    const ended = await run(CHILD, (pid) => {
      process.kill(pid, 'SIGINT');
      setTimeout(() => process.kill(pid, 'SIGINT'), 50);
    });
    expect(ended).toEqual({ lines: ['ready', 'interrupts 1'], code: 7 });
  });

  test('is asked to wind down when its parent is told to end', async () => {
    const ended = await run(CHILD, (pid) => process.kill(pid, 'SIGTERM'));
    expect(ended).toEqual({ lines: ['ready', 'interrupts 1'], code: 7 });
  });

  test('that was killed by a signal gives 128 and the signal', async () => {
    const ended = await run("console.log('ready'); process.kill(process.pid, 'SIGKILL');", () => {});
    expect(ended.code).toBe(137);
  });
});

/** Runs a script whose reader goes after the first line; resolves to its exit code and what it wrote on stderr. */
function withoutReader(script: string): Promise<{ code: number | null; errors: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', '--eval', script], { cwd: ROOT });
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  child.stdout.once('data', () => child.stdout.destroy());
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, errors })));
}

describe('a command whose reader goes, as in `… | head -1`,', () => {
  const LINES =
    "const { say } = require('./scripts/lib/terminal'); const lines = setInterval(() => say('x'.repeat(1000)), 1);";

  test('ends as other Unix programs do, without a word', async () => {
    const script = `${LINES} require('./scripts/lib/command').runCommand(() => new Promise(() => {}));`;
    expect(await withoutReader(script)).toEqual({ code: 141, errors: '' });
  });

  test('goes on while Pulumi runs, and ends with its exit code', async () => {
    const pulumi = "setTimeout(() => process.exit(7), 1500); console.log('ready');";
    const script = `${LINES} const { runForeground } = require('./scripts/lib/foreground');
      require('./scripts/lib/command').runCommand(async () => {
        const code = await runForeground(process.execPath, ['-e', ${JSON.stringify(pulumi)}], { cwd: '.', env: process.env });
        clearInterval(lines);
        return code;
      });`;
    expect(await withoutReader(script)).toEqual({ code: 7, errors: '' });
  });
});
