/**
 * Finds a stack's addresses and secrets in its own files and outputs, so that people need not type an address or a
 * token.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../failover/contract/errors';
import { run, runOk } from '../scripts/lib/exec';
import { PATHS } from '../scripts/lib/paths';
import { readStack, type StackInfo } from '../scripts/lib/stack';
import { nearest, speaksHttps, tlsMode } from '../stack/config-values';
import { NAMES, replicaName } from '../stack/naming';
import { EXIT, Failed } from './exit';
import type { Trust } from './trusting';

const OUTPUTS_MS = 60_000;
/** The token, for people who may not read the stack's state. */
const TOKEN_VARIABLE = 'PGFAILOVER_TOKEN';
/** The monitor's address, for people on another machine. */
const URL_VARIABLE = 'PGFAILOVER_URL';

/** File with the certificate of the authority that the monitor's certificate is from, as PEM. */
const CA_VARIABLE = 'PGFAILOVER_CA';

/** A stack as the commands see it. Nothing is kept after the command. */
export interface Target {
  stack: string;
  info: Pick<StackInfo, 'project' | 'value'>;
  /** Names of its nodes, the primary first. */
  nodes: readonly string[];
  /** `http://127.0.0.1:8008` */
  monitorUrl: string;
  /** `https` where page, API and backend are published beyond loopback. */
  scheme: 'http' | 'https';
  /** By what the monitor and the backends prove themselves there. */
  trust: () => Promise<Trust>;
  /** Host at which HAProxy's ports are. */
  host: string;
  token: () => Promise<string>;
  /** The database owner's password, from the same secret outputs. */
  password: () => Promise<string>;
  /** The passphrase of its backups, from the same outputs. */
  backupPassphrase: () => Promise<string>;
  /** Stores another password of that role in the stack's config; absent where there is none. */
  setPassword?: (password: string) => Promise<void>;
  /** Clients without TLS are refused. */
  requiresTls: boolean;
  /** Certificate of the stack's own authority, as PEM. */
  caCertificate: () => Promise<string>;
}

/**
 * Finds the stack.
 * @throws Failed (usage) when there is none of that name.
 */
export function targetOf(stack: string, env: NodeJS.ProcessEnv = process.env): Target {
  const info = readStack(stack);
  const known = stacks();
  if (!existsSync(join(PATHS.root, `Pulumi.${stack}.yaml`)) && env[URL_VARIABLE] === undefined)
    throw new Failed(EXIT.usage, noStack(stack, known));
  const bind = info.value('bindAddress', '127.0.0.1');
  const host = bind === '0.0.0.0' ? '127.0.0.1' : bind;
  const scheme = speaksHttps(info.value('tls', 'auto'), bind) ? 'https' : 'http';
  const secret = secretOutputs(stack);
  return {
    stack,
    info,
    nodes: nodeNames(info),
    host,
    scheme,
    trust: () => trustOf(info, env, secret),
    monitorUrl: (env[URL_VARIABLE] ?? `${scheme}://${host}:${info.value('monitorPort', '8008')}`).replace(/\/+$/, ''),
    token: async () => env[TOKEN_VARIABLE] ?? secret('adminToken'),
    password: () => secret('databasePassword'),
    backupPassphrase: () => secret('backupPassphrase'),
    setPassword: (password) => storePassword(stack, password),
    requiresTls: tlsMode(info.value('tls', 'auto'), bind) === 'require',
    caCertificate: () => secret('caCertificate'),
  };
}

/** The stack's own authority counts, and where the config names a certificate, that file and the public authorities. */
async function trustOf(
  info: Pick<StackInfo, 'value'>,
  env: NodeJS.ProcessEnv,
  secret: (name: string) => Promise<string>,
): Promise<Trust> {
  const { [CA_VARIABLE]: file } = env;
  if (file !== undefined && file !== '') return { authorities: [readCa(file)], isPublic: false };
  const own = info.value('tlsCertificate', '');
  const authority = await secret('caCertificate').catch((error: unknown) => {
    if (own !== '') return null;
    throw new Failed(EXIT.token, `${messageOf(error)} Or name the file of "npm run failover -- ca" in ${CA_VARIABLE}.`);
  });
  const pinned = own === '' || !existsSync(own) ? undefined : readFileSync(own, 'utf8');
  return { authorities: authority === null ? [] : [authority], isPublic: own !== '', pinned };
}

function readCa(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new Failed(EXIT.usage, `${CA_VARIABLE}=${file} cannot be read: ${messageOf(error)}`);
  }
}

function noStack(stack: string, known: readonly string[]): string {
  if (known.length === 0) return `There is no stack "${stack}", and no other one.`;
  return `There is no stack "${stack}"; did you mean ${nearest(stack, known)}? Known: ${known.join(', ')}.`;
}

function stacks(): string[] {
  return readdirSync(PATHS.root)
    .map((file) => /^Pulumi\.(.+)\.yaml$/.exec(file)?.[1])
    .filter((name): name is string => name !== undefined)
    .sort();
}

/** The stack's nodes by its config. */
export function nodeNames(info: Pick<StackInfo, 'value'>): string[] {
  const replicas = Number(info.value('replicas', '1'));
  const names = [NAMES.primary, ...Array.from({ length: replicas }, (_, i) => replicaName(i + 1))];
  return names.map((name) => `${info.value('namePrefix', '')}${name}`);
}

/**
 * Runs `pulumi stack output` once per process, when a value is needed first. The output comes through a pipe, never
 * through a file or an argument.
 */
function secretOutputs(stack: string): (name: string) => Promise<string> {
  let outputs: Promise<Record<string, unknown>> | null = null;
  return async (name) => {
    outputs ??= readOutputs(stack);
    const value = (await outputs)[name];
    if (typeof value === 'string' && value !== '') return value;
    throw new Failed(EXIT.token, `Stack ${stack} has no output ${name}: is it up? npm run up -- --stack ${stack}`);
  };
}

/** Through stdin, because every user can read arguments. */
async function storePassword(stack: string, password: string): Promise<void> {
  const { setUp } = await import('../scripts/lib/setup.js');
  const ready = await setUp(stack, 'state', { silent: true });
  const args = ['config', 'set', '--secret', 'databasePassword', '--stack', stack, '--non-interactive'];
  const options = { cwd: PATHS.root, env: ready.env, deadlineMs: OUTPUTS_MS, input: password };
  await runOk(ready.cli.command, args, options);
}

async function readOutputs(stack: string): Promise<Record<string, unknown>> {
  try {
    // Loaded only here, because it needs much that a command which only reads does not need.
    const { setUp } = await import('../scripts/lib/setup.js');
    const ready = await setUp(stack, 'state', { silent: true });
    const args = ['stack', 'output', '--json', '--show-secrets', '--stack', stack, '--non-interactive'];
    const options = { cwd: PATHS.root, env: ready.env, deadlineMs: OUTPUTS_MS };
    const result = await run(ready.cli.command, args, options);
    if (result.code !== 0) throw new Error(result.tail.filter((line) => !line.includes('"')).join('\n'));
    const outputs: unknown = JSON.parse(result.stdout);
    return typeof outputs === 'object' && outputs !== null ? { ...outputs } : {};
  } catch (error) {
    throw new Failed(
      EXIT.token,
      `The outputs of stack ${stack} cannot be read (${messageOf(error).trim()}). Set ${TOKEN_VARIABLE} to give the token by hand.`,
    );
  }
}
