import { describe, expect, test } from 'vitest';
import { useOneEngine } from '../../scripts/lib/engine-choice';

/** What `docker context inspect` says of a context. */
function says(name: string, host: string, keys: string[] = []) {
  const context = { Name: name, Metadata: {}, Endpoints: { docker: { Host: host } }, TLSMaterial: { docker: keys } };
  return async () => ({ code: 0, stdout: `${JSON.stringify(context)}\n`, tail: [] });
}
const fails = (words: string) => async () => ({ code: 1, stdout: '', tail: [words] });
const notAsked = async () => {
  throw new Error('docker was asked');
};

describe('the engine', () => {
  test('of a Docker context is the one of every part', async () => {
    const env: NodeJS.ProcessEnv = { DOCKER_CONTEXT: 'other' };
    expect(await useOneEngine(env, says('other', 'unix:///run/other.sock'))).toBe('other');
    expect(env).toEqual({ DOCKER_HOST: 'unix:///run/other.sock' });
  });

  test('of a context that was chosen by `docker context use` is taken as well', async () => {
    const env: NodeJS.ProcessEnv = {};
    expect(await useOneEngine(env, says('rootless', 'unix:///run/user/1000/docker.sock'))).toBe('rootless');
    expect(env).toEqual({ DOCKER_HOST: 'unix:///run/user/1000/docker.sock' });
  });

  test('of DOCKER_HOST comes before a context, as for the docker command', async () => {
    const env: NodeJS.ProcessEnv = { DOCKER_HOST: 'tcp://10.0.0.1:2375', DOCKER_CONTEXT: 'other' };
    expect(await useOneEngine(env, notAsked)).toBeNull();
    expect(env).toEqual({ DOCKER_HOST: 'tcp://10.0.0.1:2375' });
  });

  test('stays the default one where no context is chosen, or there is no client', async () => {
    for (const ask of [says('default', 'unix:///var/run/docker.sock'), fails('docker: not found')]) {
      const env: NodeJS.ProcessEnv = {};
      expect(await useOneEngine(env, ask)).toBeNull();
      expect(env).toEqual({});
    }
    expect(await useOneEngine({ DOCKER_CONTEXT: 'default' }, notAsked)).toBeNull();
  });

  test('is refused in one sentence where the context is not there or cannot be used', async () => {
    await expect(useOneEngine({ DOCKER_CONTEXT: 'gone' }, fails('context "gone": not found'))).rejects.toThrow(
      /^DOCKER_CONTEXT=gone cannot be used \(context "gone": not found\): name a context .* or unset DOCKER_CONTEXT\.$/,
    );
    for (const ask of [says('far', 'ssh://me@far'), says('far', 'tcp://far:2376', ['ca.pem', 'cert.pem', 'key.pem'])])
      await expect(useOneEngine({ DOCKER_CONTEXT: 'far' }, ask)).rejects.toThrow(
        /^The Docker context "far" .* cannot be used here: set DOCKER_HOST .* DOCKER_CONTEXT=default\.$/,
      );
  });
});
