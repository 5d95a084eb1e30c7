/** Explains what a killed Pulumi left behind, before or after it causes trouble. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { localStateFolder, lockFolder, optionOf, type StackInfo } from './stack';

/** A lock as Pulumi's local backend writes it. */
const Lock = z.object({ pid: z.number(), username: z.string(), hostname: z.string() });

/**
 * Explains a lock on the stack, or returns null when there is none: held by a running Pulumi (wait), or left over by a
 * killed one (how to remove it). Only the local backend's locks can be seen.
 */
export function lockHint(info: StackInfo, folder?: string): string | null {
  for (const lock of locksOf(info, folder)) {
    const option = optionOf(info);
    if (lock.hostname !== hostname())
      return `Stack ${info.stack} is locked by process ${lock.pid} of ${lock.username} on ${lock.hostname}. If nothing runs there: npm run pulumi -- cancel --yes${option}`;
    if (isRunning(lock.pid))
      return `Stack ${info.stack} is being changed by another Pulumi (process ${lock.pid}). Wait until it has ended.`;
    return [
      `Stack ${info.stack} is still locked by a Pulumi that was killed (process ${lock.pid}).`,
      'npm run up and npm run destroy unlock it and clear up what was half made. For another command:',
      `  npm run pulumi -- cancel --yes${option}`,
    ].join('\n');
  }
  return null;
}

/** Process id of the killed Pulumi of this machine that left the only lock of the stack; null when there is none. */
export function staleLock(info: StackInfo, folder?: string): number | null {
  const [lock, ...others] = locksOf(info, folder);
  return lock !== undefined && others.length === 0 && lock.hostname === hostname() && !isRunning(lock.pid)
    ? lock.pid
    : null;
}

function locksOf(info: StackInfo, folder?: string): z.infer<typeof Lock>[] {
  const state = localStateFolder(info, folder);
  const locks = state ? lockFolder(info, state) : undefined;
  if (!locks || !existsSync(locks)) return [];
  const names = readdirSync(locks).filter((entry) => entry.endsWith('.json'));
  return names.map((name) => readLock(join(locks, name))).filter((lock) => lock !== null);
}

function readLock(file: string): z.infer<typeof Lock> | null {
  try {
    return Lock.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return null; // Just removed, or in an unknown format: Pulumi will report it.
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
