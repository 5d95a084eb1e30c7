/** `command.local.Command` */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import type { Operation, ResourceKind } from '../resource-kind';
import { flag, type Props, text, textMap, texts } from '../values';

/** Time that a command may take to end after it was asked to, ms. */
const END_LIMIT_MS = 5_000;
/** Largest output of a command; more would not fit into a state. */
const OUTPUT_LIMIT_BYTES = 16 * 1024 * 1024;

const exact = { exact: true };

export const localCommand: ResourceKind = {
  type: 'command:local:Command',
  rules: {
    create: exact,
    update: exact,
    delete: exact,
    triggers: { exact: true, replace: true },
    stdin: exact,
    environment: exact,
    dir: exact,
    interpreter: exact,
    logging: exact,
    addPreviousOutputInEnv: exact,
  },
  deleteBeforeReplace: () => false,
  outputsFromInputs: ['stdout', 'stderr'],
  changedByUpdate: ['stdout', 'stderr'],
  create: async (inputs, operation) => {
    const id = `${operation.name}${randomBytes(4).toString('hex')}`;
    return { id, outputs: { ...inputs, ...(await run(text(inputs, 'create'), inputs, {}, operation)) } };
  },
  read: async (_id, outputs) => outputs,
  update: (_id, olds, news, operation) => run(text(news, 'update') ?? text(news, 'create'), news, olds, operation),
  remove: async (_id, outputs, operation) => {
    await run(text(outputs, 'delete'), outputs, outputs, operation);
  },
};

interface Written {
  stdout: string;
  stderr: string;
}

/**
 * @param before the outputs of the previous run, which the command finds in its environment
 * @throws with the command's whole output when it fails
 */
async function run(
  command: string | undefined,
  inputs: Props,
  before: Props,
  operation: Operation,
): Promise<Written & Props> {
  const last = { stdout: text(before, 'stdout') ?? '', stderr: text(before, 'stderr') ?? '' };
  if (command === undefined) return last;
  const interpreter = texts(inputs, 'interpreter');
  const [program = '/bin/sh', ...args] = [...(interpreter.length > 0 ? interpreter : ['/bin/sh', '-c']), command];
  const env: NodeJS.ProcessEnv = { ...process.env, ...textMap(inputs, 'environment') };
  if (flag(inputs, 'addPreviousOutputInEnv') ?? true) {
    if (last.stdout) env.PULUMI_COMMAND_STDOUT = last.stdout;
    if (last.stderr) env.PULUMI_COMMAND_STDERR = last.stderr;
  }
  operation.signal.throwIfAborted();
  // A process group of its own, so that the processes that the shell started end with it.
  const child = spawn(program, args, { cwd: text(inputs, 'dir'), env, stdio: 'pipe', detached: true });
  const onAbort = () => endGroup(child);
  operation.signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await finish(child, command, inputs, operation);
  } finally {
    operation.signal.removeEventListener('abort', onAbort);
  }
}

function finish(child: ChildProcess, command: string, inputs: Props, operation: Operation): Promise<Written & Props> {
  const logging = text(inputs, 'logging') ?? 'stdoutAndStderr';
  const written = { stdout: '', stderr: '' };
  let both = '';
  for (const stream of ['stdout', 'stderr'] as const) {
    const source = child[stream];
    source?.setEncoding('utf8').on('data', (chunk: string) => {
      written[stream] += chunk;
      both += chunk;
      if (both.length > OUTPUT_LIMIT_BYTES) endGroup(child);
    });
    const shown = logging === stream || logging === 'stdoutAndStderr';
    if (source && shown) createInterface(source).on('line', (line) => operation.progress(line));
  }
  // A command that does not read its input closes it early. That is no failure.
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(text(inputs, 'stdin') ?? '');
  return new Promise((resolve, reject) => {
    child.on('error', (error) => reject(new Error(`cannot run ${JSON.stringify(command)}: ${error.message}`)));
    child.on('close', (code, signal) => {
      const how = operation.signal.aborted ? operation.signal.reason.message : (signal ?? `exit status ${code}`);
      if (code !== 0) reject(new Error(`${how}: running ${JSON.stringify(command)}:\n${both}`));
      else resolve({ stdout: written.stdout.replace(/\n$/, ''), stderr: written.stderr.replace(/\n$/, '') });
    });
  });
}

function endGroup(child: ChildProcess): void {
  const send = (signal: NodeJS.Signals) => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // The process has ended already.
    }
  };
  send('SIGTERM');
  setTimeout(() => child.exitCode === null && send('SIGKILL'), END_LIMIT_MS).unref();
}
