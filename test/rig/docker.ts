/** Docker for tests of real stacks. */
import { removeImage } from '../../scripts/lib/docker';
import { runOk } from '../../scripts/lib/exec';

/** Limit for one command on a very busy machine, ms. */
const DOCKER_LIMIT_MS = 120_000;
/** Limit for `docker stop` and `docker restart`, which wait for PostgreSQL's shutdown, ms. */
const STOP_LIMIT_MS = 2 * DOCKER_LIMIT_MS;

/** Runs `docker …` and returns its output, trimmed. @throws CommandError with Docker's message. */
export function docker(...args: readonly string[]): Promise<string> {
  return dockerWithin(['stop', 'restart'].includes(args[0] ?? '') ? STOP_LIMIT_MS : DOCKER_LIMIT_MS, ...args);
}

/** As {@link docker}, with a limit of its own. */
export async function dockerWithin(limitMs: number, ...args: readonly string[]): Promise<string> {
  return (await runOk('docker', args, { deadlineMs: limitMs })).stdout.trim();
}

/** A statement by the superuser over the node's local socket; columns of a row are separated by a blank. */
export function sqlInside(node: string, sql: string, database = 'postgres'): Promise<string> {
  return docker('exec', node, 'psql', '-U', 'postgres', '-d', database, '-AtqX', '-F', ' ', '-c', sql);
}

/**
 * The base image, which all tests need. `destroy --volumes` removes it if set-up made it. So a test calls `keepBase`,
 * which gives it a second name, and at its end `giveBaseBack`.
 */
const BASE = 'debian:trixie-slim';
const KEPT_BASE = 'e2e-kept-base:latest';

export async function keepBase(): Promise<void> {
  await docker('tag', BASE, KEPT_BASE);
}

export async function giveBaseBack(): Promise<void> {
  await docker('tag', KEPT_BASE, BASE);
  await removeImage(KEPT_BASE);
}
