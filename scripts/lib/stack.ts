/** Reads a stack's config files without Pulumi: names, ports and the base image, for commands and messages. */

import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { messageOf } from '../../failover/contract/errors';
import { PATHS } from './paths';

export const DEFAULT_STACK = 'dev';
/** Pulumi's own rule for stack names, without the organisation's part. */
const STACK_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/;

const ProjectFile = z.object({
  name: z.string(),
  backend: z.object({ url: z.string() }).optional(),
  config: z.record(z.string(), z.unknown()).optional(),
});
const StackFile = z.object({
  encryptionsalt: z.string().optional(),
  config: z.record(z.string(), z.unknown()).optional(),
});

/** A stack as its files describe it. */
export interface StackInfo {
  project: string;
  stack: string;
  /** `file://…` backend of the project file, else undefined. */
  backendUrl: string | undefined;
  /** The encryption salt of the stack's file, else undefined. With a salt the passphrase is fixed. */
  salt: string | undefined;
  /** Value of a key of the project's namespace as text: the stack's, else the schema's default, else `fallback`. */
  value: (key: string, fallback: string) => string;
}

/** Refuses a stack name that Pulumi would refuse, before it becomes a part of file names. */
export function checkStackName(stack: string): string {
  if (STACK_NAME.test(stack)) return stack;
  throw new Error(`stack name "${stack}": only letters, digits, "_", "." and "-" are allowed, at most 100`);
}

/**
 * Reads `Pulumi.yaml` and `Pulumi.<stack>.yaml`.
 * @throws Error when the project file is missing or a file is not what Pulumi expects.
 */
export function readStack(stack: string, folder: string = PATHS.root): StackInfo {
  checkStackName(stack);
  const project = readYaml(join(folder, 'Pulumi.yaml'), ProjectFile);
  const stackFile = join(folder, `Pulumi.${stack}.yaml`);
  const own = existsSync(stackFile) ? readYaml(stackFile, StackFile) : {};
  return {
    project: project.name,
    stack,
    backendUrl: project.backend?.url,
    salt: own.encryptionsalt,
    value: (key, fallback) =>
      plain(own.config?.[`${project.name}:${key}`]) ?? defaultOf(project.config?.[key]) ?? fallback,
  };
}

function readYaml<T>(file: string, schema: z.ZodType<T>): T {
  try {
    return schema.parse(parse(readFileSync(file, 'utf8')) ?? {});
  } catch (error) {
    throw new Error(`${file}: ${messageOf(error)}`);
  }
}

function plain(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? `${value}` : undefined;
}

/** The `default` of a schema entry. */
function defaultOf(entry: unknown): string | undefined {
  const schema = z.object({ default: z.unknown() }).safeParse(entry);
  return schema.success ? plain(schema.data.default) : undefined;
}

/** Label that the program gives to all objects of a stack: `postgres-failover.stack=<project>/<stack>`. */
export function stackLabel(info: Pick<StackInfo, 'project' | 'stack'>): string {
  return `postgres-failover.stack=${info.project}/${info.stack}`;
}

/** ` --stack NAME` for commands that people are advised to type; empty for the stack that is meant without it. */
export function optionOf({ stack }: Pick<StackInfo, 'stack'>): string {
  return stack === DEFAULT_STACK ? '' : ` --stack ${stack}`;
}

/**
 * Folder of a local backend, or undefined when the state is kept elsewhere. As for Pulumi itself, the environment comes
 * before the project file.
 */
export function localStateFolder(
  info: StackInfo,
  folder: string = PATHS.root,
  env: NodeJS.ProcessEnv = process.env,
): string | undefined {
  const path = /^file:\/\/(.*)$/.exec(env.PULUMI_BACKEND_URL ?? info.backendUrl ?? '')?.[1];
  return path === undefined ? undefined : resolve(folder, path);
}

/** File that holds the stack's state in a local backend. */
export function stateFile(info: StackInfo, stateFolder: string): string {
  return join(stateFolder, '.pulumi', 'stacks', info.project, `${info.stack}.json`);
}

/** Folder that holds the locks of the stack in a local backend. */
export function lockFolder(info: StackInfo, stateFolder: string): string {
  return join(stateFolder, '.pulumi', 'locks', 'organization', info.project, info.stack);
}
