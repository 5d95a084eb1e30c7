/** The passphrase that protects a stack's secrets in its state. */
import { createDecipheriv, pbkdf2Sync, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { configFolder } from './paths';
import { DEFAULT_STACK, type StackInfo } from './stack';

/** Public by design: the dev stack is for trials, and its secrets have no value. */
export const DEV_PASSPHRASE = 'dev';
/** Variables from which Pulumi takes a passphrase, in its order. */
const VARIABLES = ['PULUMI_CONFIG_PASSPHRASE', 'PULUMI_CONFIG_PASSPHRASE_FILE'] as const;
/** Pulumi's key derivation (PBKDF2 with SHA-256) and cipher (AES-256-GCM). */
const KEY_ROUNDS = 1_000_000;
const KEY_BYTES = 32;
const TAG_BYTES = 16;
/** The text that Pulumi encrypts into a stack's salt, so that a wrong passphrase is noticed. */
const PROBE = 'pulumi';

export interface Passphrase {
  /** Variables for Pulumi's environment. Empty when the person's own environment has them already. */
  env: Record<string, string>;
  /** A sentence for the person when a passphrase was generated just now. */
  notice: string | null;
}

/** File that holds the generated passphrase of a stack. */
export function passphraseFile(info: StackInfo, env: NodeJS.ProcessEnv = process.env): string {
  return join(configFolder(env), `${info.project}-${info.stack}.passphrase`);
}

/**
 * The passphrase of a stack. The dev stack always has `dev`. Another stack has the one in the person's environment, or
 * else the one in its file, which may have the stack's former name. Only `create` makes a missing file, so that a
 * mistyped name of a stack leaves no file behind.
 * @throws Error when the environment has another stack's passphrase, or when the stack has a passphrase already and
 *   neither the environment nor the file has it.
 */
export function passphraseFor(
  info: StackInfo,
  options: { create: boolean },
  env: NodeJS.ProcessEnv = process.env,
): Passphrase {
  const given = VARIABLES.find((key) => env[key] !== undefined);
  // A person may have given the dev stack a passphrase of their own. Then its salt does not fit `dev`.
  const isDev = info.stack === DEFAULT_STACK && (given === undefined || fits(info.salt, DEV_PASSPHRASE) !== false);
  if (isDev) return { env: { PULUMI_CONFIG_PASSPHRASE: DEV_PASSPHRASE }, notice: null };
  const file = passphraseFile(info, env);
  if (given !== undefined) {
    const passphrase = given === 'PULUMI_CONFIG_PASSPHRASE' ? env[given] : readMaybe(env[given] ?? '');
    if (passphrase !== undefined && fits(info.salt, passphrase) === false)
      throw new Error(notTheRightOne(info, given, file));
    return { env: {}, notice: null };
  }
  const found = { PULUMI_CONFIG_PASSPHRASE_FILE: file };
  if (existsSync(file)) return { env: found, notice: null };
  const former = formerPassphrase(info, env);
  if (former !== null) return { env: former, notice: null };
  if (info.salt !== undefined)
    throw new Error(
      `stack "${info.stack}" was made with a passphrase that is missing here: ${file} does not exist. ` +
        'Put it there (mode 0600) or set PULUMI_CONFIG_PASSPHRASE.',
    );
  if (!options.create) return { env: {}, notice: null };
  mkdirSync(configFolder(env), { recursive: true, mode: 0o700 });
  writeFileSync(file, `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600, flag: 'wx' });
  return {
    env: found,
    notice: `A passphrase for stack "${info.stack}" was generated and kept in ${file}. Keep a copy: without it the stack's secrets are lost.`,
  };
}

/** The passphrase that a stack had under another name, before it was renamed: its salt fits. Null: none is known. */
function formerPassphrase({ project, salt }: StackInfo, env: NodeJS.ProcessEnv): Record<string, string> | null {
  const folder = configFolder(env);
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const files = names.filter((name) => name.startsWith(`${project}-`) && name.endsWith('.passphrase'));
  for (const file of files.map((name) => join(folder, name)))
    if (fits(salt, readMaybe(file) ?? '') === true) return { PULUMI_CONFIG_PASSPHRASE_FILE: file };
  return fits(salt, DEV_PASSPHRASE) === true ? { PULUMI_CONFIG_PASSPHRASE: DEV_PASSPHRASE } : null;
}

function notTheRightOne({ stack }: StackInfo, variable: string, file: string): string {
  const next = existsSync(file)
    ? `Unset it (unset ${variable}); the stack's own passphrase is in ${file}.`
    : `Unset it (unset ${variable}), or set it to the passphrase of this stack.`;
  return `${variable} in the environment is not the passphrase of stack "${stack}". ${next}`;
}

/** The content of a passphrase file, or undefined when it cannot be read. Pulumi says why. */
function readMaybe(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
}

/**
 * True when a passphrase opens a salt of the form `v1:<salt>:v1:<nonce>:<encrypted probe>`, as Pulumi itself checks it.
 * Undefined when that is unknown: there is no salt, or it has another form.
 */
function fits(salt: string | undefined, passphrase: string): boolean | undefined {
  const [, salted, nonce, sealed] = /^v1:([^:]+):v1:([^:]+):([^:]+)$/.exec(salt ?? '') ?? [];
  if (salted === undefined || nonce === undefined || sealed === undefined) return undefined;
  const key = pbkdf2Sync(passphrase, Buffer.from(salted, 'base64'), KEY_ROUNDS, KEY_BYTES, 'sha256');
  const bytes = Buffer.from(sealed, 'base64');
  try {
    const cipher = createDecipheriv('aes-256-gcm', key, Buffer.from(nonce, 'base64'));
    cipher.setAuthTag(bytes.subarray(-TAG_BYTES));
    const text = Buffer.concat([cipher.update(bytes.subarray(0, -TAG_BYTES)), cipher.final()]);
    return text.toString('utf8') === PROBE;
  } catch {
    return false;
  }
}
