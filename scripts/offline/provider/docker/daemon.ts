/** The connection to the Docker daemon, and its errors in its own words. */
import Docker from 'dockerode';

let connection: Docker | undefined;

/** @param host where the program's provider config says the daemon is; without it `DOCKER_HOST` or the default socket */
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
 * @param doing what was tried, e.g. `create the container postgres-primary`
 * @returns an error that says so, followed by the daemon's own words
 */
export function daemonError(doing: string, error: unknown): Error {
  const { json, message, code } = error as { json?: { message?: string }; message?: string; code?: string };
  const words = json?.message ?? message ?? String(error);
  const unreachable = code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'EACCES';
  const place = process.env.DOCKER_HOST ?? 'unix:///var/run/docker.sock';
  return new Error(`cannot ${doing}: ${unreachable ? `no Docker daemon answers at ${place}: ` : ''}${words.trim()}`);
}

/** Runs a call to the daemon; a failure names what was being done. */
export async function ask<T>(doing: string, call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    throw daemonError(doing, error);
  }
}

/** The same, with undefined for what is not there. */
export async function askMaybe<T>(doing: string, call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw daemonError(doing, error);
  }
}
