/** The passphrase that protects a stack's secrets in its state. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { configFolder } from './paths';
import { DEFAULT_STACK, type StackInfo } from './stack';

/** Public by design: the dev stack is for trials, and its secrets have no value. */
export const DEV_PASSPHRASE = 'dev';

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
 * The passphrase of a stack: from the person's environment; else `dev` for the dev stack; else from a file that is made
 * once. The file is made only with `create`, so that a mistyped name leaves no trace.
 * @throws Error when the stack has a passphrase already but neither the environment nor the file has it.
 */
export function passphraseFor(
  info: StackInfo,
  options: { create: boolean },
  env: NodeJS.ProcessEnv = process.env,
): Passphrase {
  if (env.PULUMI_CONFIG_PASSPHRASE !== undefined || env.PULUMI_CONFIG_PASSPHRASE_FILE !== undefined)
    return { env: {}, notice: null };
  if (info.stack === DEFAULT_STACK) return { env: { PULUMI_CONFIG_PASSPHRASE: DEV_PASSPHRASE }, notice: null };
  const file = passphraseFile(info, env);
  const found = { PULUMI_CONFIG_PASSPHRASE_FILE: file };
  if (existsSync(file)) return { env: found, notice: null };
  if (info.hasSalt)
    throw new Error(
      `stack "${info.stack}" was made with a passphrase that is not at hand: ${file} does not exist. ` +
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
