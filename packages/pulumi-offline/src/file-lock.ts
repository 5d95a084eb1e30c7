/** A lock between processes: a file with its owner's process id. */
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface LockOptions {
  /** How long to wait for another holder. */
  limitMs: number;
  /** Called once when another process holds the lock. */
  onWait: (holderPid: number) => void;
}

/**
 * Runs `work` while holding the lock at `path`. A lock whose owner is dead is taken over. Two waiting processes may
 * take it over at the same instant. So the lock only avoids double work; the work must be correct without it.
 * @throws when another process still holds it after `limitMs`
 */
export async function withLock<T>(path: string, options: LockOptions, work: () => Promise<T>): Promise<T> {
  const deadlineMs = Date.now() + options.limitMs;
  let hasReported = false;
  mkdirSync(dirname(path), { recursive: true });
  while (!tryLock(path)) {
    const holder = livingHolder(path);
    if (holder === undefined) {
      rmSync(path, { force: true });
      continue;
    }
    if (Date.now() > deadlineMs) {
      throw new Error(`process ${holder} has held ${path} for too long; end that process and try again`);
    }
    if (!hasReported) options.onWait(holder);
    hasReported = true;
    await sleep(500);
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}

function tryLock(path: string): boolean {
  try {
    writeFileSync(path, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false;
    throw error;
  }
}

function livingHolder(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(path, 'utf8'));
    // The file is empty for a moment between its creation and the write of the id.
    if (pid === 0) return Date.now() - statSync(path).mtimeMs < 5_000 ? pid : undefined;
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    // EPERM: the process is alive and belongs to another user.
    return errorCode(error) === 'EPERM' ? 0 : undefined;
  }
}

function errorCode(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}
