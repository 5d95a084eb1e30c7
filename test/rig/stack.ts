/** A test's own stack, brought up and taken down by the commands that a person types. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { removeAllOf } from '../../scripts/lib/docker';
import { run } from '../../scripts/lib/exec';
import { PATHS } from '../../scripts/lib/paths';
import { TIMEOUTS } from '../timeouts';

type Say = (line: string) => void;

export interface OwnStackOptions {
  /** Name of the stack, of its folder under `state/`, and, with a dash, prefix of its containers. */
  name: string;
  /** Keys without the project's namespace. */
  config: Record<string, ConfigValue>;
}

type ConfigValue = string | number | Readonly<Record<string, string | number | boolean>>;

export class OwnStack {
  readonly name: string;
  readonly prefix: string;
  readonly folder: string;
  /** The monitor's log. */
  readonly log: string;
  private readonly label: string;
  private readonly file: string;
  private config: OwnStackOptions['config'];

  constructor({ name, config }: OwnStackOptions) {
    this.name = name;
    this.prefix = `${name}-`;
    this.config = { namePrefix: this.prefix, ...config };
    this.folder = join(PATHS.root, 'state', name);
    this.log = join(PATHS.root, 'logs', name, 'failover.log');
    this.label = `postgres-failover.stack=postgres-failover/${name}`;
    this.file = join(PATHS.root, `Pulumi.${name}.yaml`);
  }

  /** What the stack's commands find in their environment. */
  get env(): NodeJS.ProcessEnv {
    const backend = `file://${join(this.folder, 'pulumi')}`;
    return { ...process.env, PULUMI_BACKEND_URL: backend, PULUMI_CONFIG_PASSPHRASE: this.name, NO_COLOR: '1' };
  }

  /** Changes keys of the config, for the next `up`. */
  configure(changes: OwnStackOptions['config']): void {
    this.config = { ...this.config, ...changes };
    this.writeFile();
  }

  /** `npm run up`, also on a stack that runs already. */
  async up(say: Say): Promise<void> {
    mkdirSync(join(this.folder, 'pulumi'), { recursive: true });
    this.writeFile();
    await this.command('up', [], say);
  }

  /** `npm run destroy -- --volumes`, and whatever may be left after it. */
  async down(say: Say): Promise<void> {
    if (existsSync(this.file)) await this.command('destroy', ['--volumes'], say).catch((error) => say(String(error)));
    await removeAllOf(this.label);
    rmSync(join(this.folder, 'pulumi'), { recursive: true, force: true });
    rmSync(this.file, { force: true });
  }

  /** Keeps the salt that Pulumi wrote into the file: without it the stack's secrets are lost. */
  private writeFile(): void {
    const before: unknown = existsSync(this.file) ? parse(readFileSync(this.file, 'utf8')) : {};
    const salt =
      typeof before === 'object' && before !== null && 'encryptionsalt' in before ? before.encryptionsalt : undefined;
    const entries = Object.entries(this.config).map(([key, value]) => [`postgres-failover:${key}`, value]);
    const head = salt === undefined ? {} : { encryptionsalt: salt };
    writeFileSync(this.file, stringify({ ...head, config: Object.fromEntries(entries) }));
  }

  private async command(name: string, args: readonly string[], say: Say): Promise<void> {
    const start = join(PATHS.root, 'scripts', 'start.mjs');
    const options = { cwd: PATHS.root, env: this.env, deadlineMs: TIMEOUTS.firstUp, onLine: say };
    const result = await run(process.execPath, [start, name, '--stack', this.name, ...args], options);
    if (result.code !== 0) throw new Error(`${name} failed (exit code ${result.code})\n${result.tail.join('\n')}`);
  }
}
