/** The offline kit under the real Pulumi CLI and a real Docker daemon. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as dockerSdk from '@pulumi/docker';
import type { OpType, OutputMap } from '@pulumi/pulumi/automation';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  cleanUp,
  docker,
  inlineStack,
  leftOf,
  makeProject,
  type Project,
  pulumi,
  setOptions,
  startPulumi,
  stateFile,
  until,
} from './kit-stack';
import { makeBox } from './program/box';

type Changes = Partial<Record<OpType, number>> | undefined;

/** What an update did, apart from what it left alone. */
function changed(changes: Changes): Changes {
  const { same: _same, ...rest } = changes ?? {};
  return rest;
}

function boxId(project: Project): Promise<string> {
  return docker('inspect', '--format', '{{.Id}}', `${project.options.prefix}-box`);
}

describe('a stack through the Automation API', () => {
  let project: Project;
  beforeAll(async () => {
    project = await makeProject('story', 11);
  });
  afterAll(() => cleanUp(project));

  test('comes up, changes as asked, heals after a refresh, and goes away', async () => {
    let options = project.options;
    const stack = await inlineStack(project, async () => ({ ...makeBox(options) }));

    const made = await stack.up();
    const outputs: OutputMap = made.outputs;
    expect(changed(made.summary.resourceChanges)).toEqual({ create: 6 });
    expect(outputs.address?.value).toBe('10.211.11.20');
    const id = await boxId(project);

    // Nothing to do, however often it is asked.
    await stack.up({ expectNoChanges: true });
    await stack.refresh({ expectNoChanges: true });
    await stack.preview({ expectNoChanges: true });

    // Sets in another order are the same sets.
    options = { ...options, envs: ['M=middle'] };
    expect(changed((await stack.up()).summary.resourceChanges)).toEqual({ replace: 1 });
    const replaced = await boxId(project);
    expect(replaced).not.toBe(id);

    options = { ...options, memory: 96 };
    expect(changed((await stack.up()).summary.resourceChanges)).toEqual({ update: 1 });
    expect(await boxId(project)).toBe(replaced);
    expect(await docker('inspect', '--format', '{{.HostConfig.Memory}}', replaced)).toBe(String(96 * 1024 * 1024));

    // A new image reaches the container through its digest.
    options = { ...options, greeting: 'good day' };
    expect(changed((await stack.up()).summary.resourceChanges)).toEqual({ update: 1, replace: 1 });
    expect(await docker('exec', `${options.prefix}-box`, 'cat', '/greeting')).toBe('good day');

    // Plain `up` does not look; a refresh sees a stopped container, and `up` starts that very one.
    const before = await boxId(project);
    await docker('stop', '--time', '1', before);
    await stack.refresh();
    expect(changed((await stack.up()).summary.resourceChanges)).toEqual({ update: 1 });
    expect(await boxId(project)).toBe(before);
    expect(await docker('inspect', '--format', '{{.State.Running}}', before)).toBe('true');

    // A container that was removed is made again, and so is one that lost its network.
    await docker('rm', '--force', before);
    await stack.refresh();
    expect(changed((await stack.up()).summary.resourceChanges)).toEqual({ create: 1 });
    await docker('network', 'disconnect', '--force', `${options.prefix}-net`, `${options.prefix}-box`);
    await docker('network', 'rm', `${options.prefix}-net`);
    await stack.refresh();
    expect(changed((await stack.up()).summary.resourceChanges)).toEqual({ create: 1, replace: 1 });
    const addresses = '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}';
    expect(await docker('inspect', '--format', addresses, `${options.prefix}-box`)).toBe('10.211.11.20');

    // A tag that was moved by hand brings the image back and touches no container.
    const healed = await boxId(project);
    await docker('tag', 'debian:trixie-slim', `${options.prefix}:test`);
    await stack.refresh();
    expect(changed((await stack.up()).summary.resourceChanges)).toEqual({ create: 1 });
    expect(await boxId(project)).toBe(healed);
    await stack.up({ expectNoChanges: true });

    await stack.destroy();
    expect(await leftOf(project)).toEqual([]);
  });
});

describe('what is refused', () => {
  let project: Project;
  beforeAll(async () => {
    project = await makeProject('refused', 12);
  });
  afterAll(() => cleanUp(project));

  test('another resource type, by its name', async () => {
    const stack = await inlineStack(project, async () => {
      new dockerSdk.Tag('tag', { sourceImage: 'debian:trixie-slim', targetImage: 'kit-test-never' });
    });
    await expect(stack.up()).rejects.toThrow(/does not serve docker:index\/tag:Tag\. It serves only/);
  });

  test('an input that is not served, by resource and key', async () => {
    const stack = await inlineStack(project, async () => {
      new dockerSdk.Container('gpu', { image: 'debian:trixie-slim', gpus: 'all' });
    });
    await expect(stack.up()).rejects.toThrow(/Container \(gpu\)[\s\S]*gpus[\s\S]*does not serve this input/);
  });

  test('an image that would be pushed, by resource and key', async () => {
    const stack = await inlineStack(project, async () => {
      new dockerSdk.Image('pushed', { imageName: 'kit-test-never', build: { builderVersion: 'BuilderV1' } });
    });
    await expect(stack.up()).rejects.toThrow(/Image \(pushed\)[\s\S]*skipPush must be true/);
  });

  test('a volume of the same name that belongs to someone else, and it keeps its data', async () => {
    const { prefix } = project.options;
    await docker('volume', 'create', '--label', 'owner=someone', `${prefix}-data`);
    const stack = await inlineStack(project, async () => ({ ...makeBox(project.options) }));
    await expect(stack.up()).rejects.toThrow(
      /cannot create the volume kit-test-refused-data: a volume of this name exists/,
    );
    expect(await docker('volume', 'inspect', '--format', '{{.Labels.owner}}', `${prefix}-data`)).toBe('someone');
    await stack.destroy();
    expect(await leftOf(project)).toEqual([`${prefix}-data`]);
  });
});

describe('a project folder through the language host', () => {
  let project: Project;
  beforeAll(async () => {
    project = await makeProject('folder', 13);
    await pulumi(project, 'stack', 'init');
  });
  afterAll(() => cleanUp(project));

  test('comes up with its secrets kept, previews just what changed, and runs its commands', async () => {
    await setOptions(project, { withCommand: true, greeting: 'nobody', envs: ['ONE=1'] });
    const up = await pulumi(project, 'up', '--yes', '--skip-preview');
    expect(up.output).toContain('the program speaks');
    expect(up.output).toContain('Step 1/5 : FROM debian:trixie-slim');
    expect(up.output).toMatch(/said +: "hello to nobody"/);
    expect(up.code).toBe(0);

    const shown = await pulumi(project, 'stack', 'output', 'password', '--show-secrets');
    const password = shown.output.trim();
    expect(password).toMatch(/^[A-Za-z0-9]{24}$/);
    expect(await docker('exec', 'kit-test-folder-box', 'cat', '/etc/box/password')).toBe(password);
    expect(stateFile(project)).not.toContain(password);
    expect(up.output).not.toContain(password);

    await setOptions(project, { withCommand: true, greeting: 'nobody', envs: ['ONE=2'] });
    const preview = await pulumi(project, 'preview', '--diff');
    expect(preview.output).toMatch(/~ envs *: \[\s+~ \[2\]: "ONE=1" => "ONE=2"\s+\]/);
    expect(preview.output).not.toMatch(/[~+-] (labels|networksAdvanced|uploads|healthcheck)/);

    const destroyed = await pulumi(project, 'destroy', '--yes');
    expect(destroyed.code).toBe(0);
    expect(readFileSync(join(project.folder, 'said-at-the-end'), 'utf8')).toBe('hello to nobody\n');
    expect(await leftOf(project)).toEqual([]);
  });

  test('an image that was built anew beside Pulumi is the one that --replace takes, and the container follows', async () => {
    const { prefix, context } = project.options;
    await setOptions(project, {});
    expect((await pulumi(project, 'up', '--yes', '--skip-preview')).code).toBe(0);
    const before = await boxId(project);
    const built = await docker('build', '--quiet', '--no-cache', '--build-arg', 'GREETING=hello', context);
    const [urn] = /urn:pulumi:[^"]*docker:index\/image:Image::image/.exec(stateFile(project)) ?? [];
    const up = await pulumi(project, 'up', '--yes', '--skip-preview', `--replace=${urn}`);
    expect(up.code, up.output).toBe(0);
    expect(await docker('image', 'inspect', '--format', '{{.Id}}', `${prefix}:test`)).toBe(built);
    expect(await docker('inspect', '--format', '{{.Image}}', `${prefix}-box`)).toBe(built);
    expect(await boxId(project)).not.toBe(before);
    expect((await pulumi(project, 'up', '--yes', '--expect-no-changes')).code).toBe(0);
    expect((await pulumi(project, 'destroy', '--yes')).code).toBe(0);
  });

  test('an error in the program is shown once, and nothing is made', async () => {
    writeFileSync(join(project.folder, 'index.ts'), "throw new Error('this program is broken');\n");
    const { code, output } = await pulumi(project, 'up', '--yes', '--skip-preview');
    expect(code).not.toBe(0);
    expect(output.match(/this program is broken/g)).toHaveLength(1);
    expect(await leftOf(project)).toEqual([]);
  });
});

describe('failures and interruptions', () => {
  let project: Project;
  beforeAll(async () => {
    project = await makeProject('broken', 14);
    await pulumi(project, 'stack', 'init');
  });
  afterEach(async () => {
    await pulumi(project, 'cancel', '--yes');
    await pulumi(project, 'destroy', '--yes');
  });
  afterAll(() => cleanUp(project));

  const isThere = async () => (await leftOf(project)).includes('kit-test-broken-box');
  const running = (child: { pid?: number }) => child.pid !== undefined && existsSync(`/proc/${child.pid}`);

  test('a container that does not become healthy is reported with its last lines, and the next up goes through', async () => {
    await setOptions(project, { envs: ['MODE=broken'] });
    const failed = await pulumi(project, 'up', '--yes', '--skip-preview');
    expect(failed.code).not.toBe(0);
    expect(failed.output).toContain('the container kit-test-broken-box exited with code 3 before it was healthy');
    expect(failed.output).toContain('cannot work like this');
    expect(await isThere()).toBe(false);

    await setOptions(project, { healthyFile: '/never', waitTimeout: 2 });
    const unhealthy = await pulumi(project, 'up', '--yes', '--skip-preview');
    expect(unhealthy.output).toContain('the container kit-test-broken-box was not healthy within 2 s');
    expect(await isThere()).toBe(false);

    await setOptions(project, {});
    expect((await pulumi(project, 'up', '--yes', '--skip-preview')).code).toBe(0);
  });

  test('while one up is under way a second one is refused, and the first can be cancelled', async () => {
    await setOptions(project, { healthyFile: '/never' });
    const first = startPulumi(project, ['up', '--yes', '--skip-preview']);
    await until('the container', isThere);
    const second = await pulumi(project, 'up', '--yes', '--skip-preview');
    expect(second.code).not.toBe(0);
    expect(second.output).toContain('the stack is currently locked by 1 lock(s)');

    // What Ctrl-C sends. The half-made container goes with it.
    first.child.kill('SIGINT');
    expect(await first.ended).not.toBe(0);
    expect(first.output.join('')).toContain('cancelled');
    expect(await isThere()).toBe(false);
    await setOptions(project, {});
    expect((await pulumi(project, 'up', '--yes', '--skip-preview')).code).toBe(0);
  });

  test('after the CLI was killed its plugins clean up and go, and after cancel the next up goes through', async () => {
    await setOptions(project, { healthyFile: '/never' });
    const first = startPulumi(project, ['up', '--yes', '--skip-preview']);
    await until('the container', isThere);
    first.child.kill('SIGKILL');
    await first.ended;
    await until('the end of the half-made container', async () => !(await isThere()));
    await until('the end of the CLI', () => !running(first.child));

    await setOptions(project, {});
    expect((await pulumi(project, 'cancel', '--yes')).code).toBe(0);
    await pulumi(project, 'refresh', '--yes', '--clear-pending-creates');
    expect((await pulumi(project, 'up', '--yes', '--skip-preview')).code).toBe(0);
  });

  test('what a killed provider left behind is replaced by the next up', async () => {
    await setOptions(project, { healthyFile: '/never' });
    const first = startPulumi(project, ['up', '--yes', '--skip-preview']);
    await until('the container', isThere);
    process.kill(providerOf(first.child.pid), 'SIGKILL');
    expect(await first.ended).not.toBe(0);
    expect(await isThere()).toBe(true);
    const left = await boxId(project);

    await setOptions(project, {});
    const next = await pulumi(project, 'up', '--yes', '--skip-preview');
    expect(next.output).toContain('removing the container kit-test-broken-box that an interrupted run left');
    expect(next.code).toBe(0);
    expect(await boxId(project)).not.toBe(left);
  });
});

/** The docker provider among the children of a CLI, each of whose threads has children of its own. */
function providerOf(cli: number | undefined): number {
  const threads = readdirSync(`/proc/${cli}/task`).map((thread) => `/proc/${cli}/task/${thread}/children`);
  const children = threads.flatMap((file) => readFileSync(file, 'utf8').split(' ').filter(Boolean));
  const isProvider = (pid: string) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('provider.js\0docker\0');
  const provider = children.find(isProvider);
  if (provider === undefined) throw new Error(`no docker provider among the children of ${cli}`);
  return Number(provider);
}
