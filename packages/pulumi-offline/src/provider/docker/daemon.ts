/** The connection to the Docker daemon, and errors with the daemon's own messages. */
import Docker from 'dockerode';
import { pause, within } from '../operations';

/** Time that containers may take to leave a network or a volume that is being removed, ms. */
const REMOVE_LIMIT_MS = 30_000;
const LOOK_EVERY_MS = 250;

let connection: Docker | undefined;

/** @param host the daemon's address in the program's provider config; without it `DOCKER_HOST` or the default socket */
export function useHost(host: string | undefined): void {
  if (host) process.env.DOCKER_HOST = host;
  if (/^ssh:/.test(process.env.DOCKER_HOST ?? '')) {
    throw new Error('the offline kit reaches Docker through unix:// or tcp:// only; DOCKER_HOST says ssh://');
  }
  connection = undefined;
}

export function daemon(): Docker {
  connection ??= new Docker();
  return connection;
}

/** @returns the HTTP status of a daemon's answer, undefined when it gave none */
export function statusOf(error: unknown): number | undefined {
  const status = error instanceof Error ? (error as { statusCode?: unknown }).statusCode : undefined;
  return typeof status === 'number' ? status : undefined;
}

/**
 * @param doing the attempted action, e.g. `create the container postgres-primary`
 * @returns an error that names it, followed by the daemon's own message
 */
export function daemonError(doing: string, error: unknown): Error {
  const { json, message: own, code } = error as { json?: { message?: string }; message?: string; code?: string };
  const message = json?.message ?? own ?? String(error);
  const unreachable = code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'EACCES';
  const place = process.env.DOCKER_HOST ?? 'unix:///var/run/docker.sock';
  return new Error(`cannot ${doing}: ${unreachable ? `no Docker daemon answers at ${place}: ` : ''}${message.trim()}`);
}

/** Runs a call to the daemon. The error of a failure names the attempted action. */
export async function ask<T>(doing: string, call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    throw daemonError(doing, error);
  }
}

/** Like {@link ask}, with undefined for an object that does not exist. */
export async function askMaybe<T>(doing: string, call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw daemonError(doing, error);
  }
}

/**
 * Removes an object that containers may use for another moment after they were removed. An object that does not exist
 * counts as removed.
 * @param isBusy whether the daemon's error says that a container still uses it
 * @throws Error naming the attempted action when it is still in use after half a minute
 */
export async function removeWhenFree(
  doing: string,
  remove: () => Promise<unknown>,
  isBusy: (error: unknown) => boolean,
  signal: AbortSignal,
): Promise<void> {
  const deadlineMs = Date.now() + REMOVE_LIMIT_MS;
  for (;;) {
    try {
      await within(signal, remove());
      return;
    } catch (error) {
      if (statusOf(error) === 404) return;
      if (!isBusy(error) || Date.now() > deadlineMs) throw daemonError(doing, error);
    }
    await pause(LOOK_EVERY_MS, signal);
  }
}
