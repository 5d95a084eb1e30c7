/** A terminal for the commands: remembers what they say. */

import { hostCommands } from '../../cli/host';
import type { Io } from '../../cli/io';
import { runCli } from '../../cli/program';
import type { Run } from '../../cli/superuser';
import { nodeNames, type Target } from '../../cli/target';
import { TOKEN } from './fake-monitor';

export interface Said {
  code: number;
  out: string[];
  err: string[];
  questions: string[];
  /** Programs that were run in the foreground. */
  programs: { command: string; args: readonly string[]; env: NodeJS.ProcessEnv }[];
}

export interface Setting {
  /** What the person answers; null: nobody is there. */
  yes?: boolean | null;
  token?: string;
  config?: Record<string, string>;
  /** Answers programs that are run without a terminal; absent: all of them fail. */
  run?: Run;
  /** What is on stdin. */
  input?: string;
  setPassword?: Target['setPassword'];
  /** Called at each wait of a command that goes on; returns false when the person ends it. */
  goOn?: () => boolean;
}

/** Runs a command against a monitor and returns what it said. */
export async function cli(url: string, args: readonly string[], setting: Setting = {}): Promise<Said> {
  const { io, said } = fakeIo(url, setting);
  said.code = await runCli(args, io, hostCommands);
  return said;
}

export function fakeIo(url: string, setting: Setting = {}): { io: Io; said: Said } {
  const said: Said = { code: -1, out: [], err: [], questions: [], programs: [] };
  const stop = new AbortController();
  const yes = setting.yes === undefined ? null : setting.yes;
  const io: Io = {
    out: (line) => said.out.push(...line.split('\n')),
    err: (line) => said.err.push(...line.split('\n')),
    paint: (_, text) => text,
    clear: null,
    confirm:
      yes === null
        ? null
        : async (question) => {
            said.questions.push(question);
            return yes;
          },
    input: async () => setting.input ?? '',
    sleep: async () => {
      if (setting.goOn?.() !== true) stop.abort();
    },
    stopped: stop.signal,
    stack: 'dev',
    target: (stack = 'dev') => target(stack, url, setting),
    foreground: async (command, programArgs, env) => {
      said.programs.push({ command, args: programArgs, env });
      return 0;
    },
    run: setting.run ?? (async () => ({ code: 1, stdout: '', tail: ['no engine'] })),
  };
  return { io, said };
}

function target(stack: string, url: string, { token = TOKEN, config = {}, setPassword }: Setting): Target {
  const value = (key: string, fallback: string) => config[key] ?? fallback;
  return {
    stack,
    info: { project: 'postgres-failover', value },
    nodes: nodeNames({ value }),
    monitorUrl: url,
    scheme: 'http',
    trust: async () => ({ authorities: [], isPublic: true }),
    host: '127.0.0.1',
    token: async () => token,
    password: async () => 'the-password',
    setPassword,
    requiresTls: false,
    caCertificate: async () => 'the-certificate\n',
    backupPassphrase: async () => 'the-passphrase',
  };
}
