/** The stack that is changed: `npm run up` brings it up, then the Pulumi CLI itself changes it. */
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type RunResult, run } from '../../scripts/lib/exec';
import { PATHS } from '../../scripts/lib/paths';
import { type Ready, setUp } from '../../scripts/lib/setup';
import type { ImageName } from '../../stack/naming';
import type { Config, OwnStack, Say } from '../rig/stack';
import { TIMEOUTS } from '../timeouts';

const Preview = z.object({ steps: z.array(z.object({ op: z.string(), urn: z.string() })).optional() });
/** Steps that are left out: parts of a replacement, which `replace` already names, and resources without a change. */
const SILENT = new Set(['same', 'read', 'create-replacement', 'delete-replaced']);

export class ChangeStack {
  private ready: Ready | null = null;

  constructor(readonly own: OwnStack) {}

  /** Runs `npm run up` with these keys. It copies the images' sources again, so it also undoes `renewImage`. */
  async start(changes: Config, say: Say): Promise<void> {
    this.own.configure(changes);
    await this.own.up(say);
    Object.assign(process.env, this.own.env);
    this.ready = await setUp(this.own.name, 'state', { silent: true });
  }

  /** Makes the next `up` build the image with other content: one more label, as its last layer. */
  renewImage(image: ImageName): void {
    const line = `LABEL postgres-failover.change="${Date.now()}"\n`;
    appendFileSync(join(PATHS.images, image, 'Dockerfile'), line);
  }

  /** The steps that `pulumi preview` announces, for example `replace Container failover-monitor`. */
  async preview(): Promise<string[]> {
    const result = await this.pulumi('preview', ['--json']);
    if (result.code !== 0) throw new Error(`preview failed\n${result.tail.join('\n')}`);
    const { steps = [] } = Preview.parse(JSON.parse(result.stdout));
    return steps
      .filter(({ op }) => !SILENT.has(op))
      .map(({ op, urn }) => `${op} ${kindOf(urn)} ${urn.split('::').at(-1)}`)
      .sort();
  }

  /** @throws Error with the end of Pulumi's output when it fails. */
  async up(say: Say): Promise<void> {
    const result = await this.pulumi('up', ['--yes', '--skip-preview'], say);
    if (result.code !== 0) throw new Error(`up failed (exit code ${result.code})\n${result.tail.join('\n')}`);
  }

  /** Runs `preview --expect-no-changes`: null when there is no change left, else Pulumi's output. */
  async changesLeft(): Promise<string | null> {
    const result = await this.pulumi('preview', ['--expect-no-changes']);
    return result.code === 0 ? null : result.tail.join('\n');
  }

  private pulumi(command: string, args: readonly string[], onLine?: Say): Promise<RunResult> {
    if (this.ready === null) throw new Error('the stack was not started');
    const all = [command, '--stack', this.own.name, '--non-interactive', ...args];
    const { cli, env } = this.ready;
    return run(cli.command, all, { cwd: PATHS.root, env, deadlineMs: TIMEOUTS.pulumi, onLine });
  }
}

/** Type of a resource: `Container` for `…$docker:index/container:Container::name`. */
function kindOf(urn: string): string {
  return urn.split('::').at(-2)?.split(':').at(-1) ?? '?';
}
