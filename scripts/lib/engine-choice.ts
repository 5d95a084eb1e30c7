/**
 * The choice of the Docker engine. The `docker` command takes DOCKER_HOST, else the context that DOCKER_CONTEXT names,
 * else the context that `docker context use` chose. The program and the offline kit know DOCKER_HOST only, so the
 * context is turned into DOCKER_HOST, and every part uses one engine.
 */
import { z } from 'zod';
import { type RunResult, run } from './exec';

const ASK_MS = 10_000;
/** The context that stands for DOCKER_HOST and the engine's default address. */
const DEFAULT_CONTEXT = 'default';

const Inspected = z.object({
  Name: z.string(),
  Endpoints: z.object({ docker: z.object({ Host: z.string() }) }),
  TLSMaterial: z.record(z.string(), z.array(z.string()).nullable()).nullish(),
});

/**
 * Turns the Docker context that is in force into DOCKER_HOST, in `env`.
 * @returns the name of that context; null when DOCKER_HOST or the default context is in force.
 * @throws Error when there is no such context, or when only the `docker` command can reach its engine.
 */
export async function useOneEngine(
  env: NodeJS.ProcessEnv = process.env,
  ask: () => Promise<RunResult> = inspectContext,
): Promise<string | null> {
  const context = env.DOCKER_HOST ? null : await contextInForce(env, ask);
  if (context !== null) env.DOCKER_HOST = context.host;
  // Some Docker clients take the context before DOCKER_HOST.
  if (env.DOCKER_HOST) delete env.DOCKER_CONTEXT;
  return context?.name ?? null;
}

async function contextInForce(
  env: NodeJS.ProcessEnv,
  ask: () => Promise<RunResult>,
): Promise<{ name: string; host: string } | null> {
  const wanted = env.DOCKER_CONTEXT || null;
  if (wanted === DEFAULT_CONTEXT) return null;
  const result = await ask();
  if (result.code !== 0) {
    // Without a client, or with one that knows no contexts, there is nothing but the default.
    if (wanted === null) return null;
    throw new Error(
      `DOCKER_CONTEXT=${wanted} cannot be used (${result.tail.join(' ').trim()}): ` +
        'name a context that "docker context ls" shows, or unset DOCKER_CONTEXT.',
    );
  }
  const { Name: name, Endpoints, TLSMaterial } = Inspected.parse(JSON.parse(result.stdout));
  if (name === DEFAULT_CONTEXT) return null;
  const host = Endpoints.docker.Host;
  const needsKeys = (TLSMaterial?.docker ?? []).length > 0;
  if (needsKeys || !/^(unix|tcp):\/\//.test(host))
    throw new Error(
      `The Docker context "${name}" (${host}${needsKeys ? ', with TLS' : ''}) cannot be used here: ` +
        'set DOCKER_HOST to a unix:// or tcp:// address, or take the default engine with DOCKER_CONTEXT=default.',
    );
  return { name, host };
}

function inspectContext(): Promise<RunResult> {
  return run('docker', ['context', 'inspect', '--format', '{{json .}}'], { deadlineMs: ASK_MS });
}
