/** A running stack as its clients see it, and a stack of a test's own, driven by the commands that a person types. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';
import { imageTags, removeAllOf, removeImage } from '../../scripts/lib/docker';
import { type RunResult, run, runOk } from '../../scripts/lib/exec';
import { PATHS } from '../../scripts/lib/paths';
import { readStack } from '../../scripts/lib/stack';
import { TIMEOUTS } from '../timeouts';

export type Say = (line: string) => void;
type ConfigValue = string | number | Readonly<Record<string, string | number | boolean>>;
/** Config keys without the project's namespace `postgres-failover:`. */
export type Config = Readonly<Record<string, ConfigValue>>;

/** Addresses and login of a running stack. */
export interface Stack {
  name: string;
  /** Prefix of the names of the stack's containers. */
  prefix: string;
  host: string;
  writePort: number;
  readPort: number;
  /** Port of the pooler for `user`; it answers when the stack runs a pooler. */
  poolPort: number;
  user: string;
  password: string;
  database: string;
  /** True when the clients of a test encrypt. @default false */
  tls?: boolean;
  /** Base URL of HAProxy's statistics. */
  stats: string;
  /** Base URL of the monitor. */
  monitor: string;
  /** Base URL of the register/login API. */
  api: string;
}

function stackFrom(name: string, value: (key: string, fallback: string) => string): Stack {
  const host = value('bindAddress', '127.0.0.1');
  return {
    ...{ name, host, prefix: value('namePrefix', '') },
    ...{ writePort: Number(value('writePort', '5434')), readPort: Number(value('readPort', '5435')) },
    poolPort: Number(value('poolPort', '6432')),
    ...{ user: value('databaseUser', 'app'), database: value('databaseName', 'app') },
    password: value('databasePassword', ''),
    stats: `http://${host}:${value('statsPort', '5000')}`,
    monitor: `http://${host}:${value('monitorPort', '8008')}`,
    api: `http://${host}:${value('backendPort', '8000')}`,
  };
}

/** Reads a stack from its config file. @throws Error when neither PGPASSWORD nor the file has a plain password. */
export function stackOf(name: string): Stack {
  const stack = stackFrom(name, readStack(name).value);
  const password = process.env.PGPASSWORD ?? stack.password;
  if (password === '') {
    throw new Error(`set PGPASSWORD to the password (npm run pulumi -- stack output --show-secrets --stack ${name})`);
  }
  return { ...stack, password };
}

export interface OwnStackOptions {
  /** Name of the stack and of its folder under `state/`. With a dash it is the prefix of the containers' names. */
  name: string;
  /**
   * Base of the published ports: statistics at this number, backend +80, monitor +88, pooler +432, writes +434, reads
   * +435.
   */
  ports: number;
  /** First three numbers of the inner network's addresses, for example 10.98.30. */
  subnet: string;
  config?: Config;
}

export class OwnStack {
  readonly name: string;
  readonly prefix: string;
  readonly folder: string;
  /** Path of the monitor's log. */
  readonly log: string;
  readonly label: string;
  private readonly file: string;
  private readonly subnet: string;
  private config: Config;

  constructor({ name, ports, subnet, config }: OwnStackOptions) {
    this.name = name;
    this.prefix = `${name}-`;
    this.subnet = subnet;
    this.config = {
      ...{ namePrefix: this.prefix, subnet: `${subnet}.0/24` },
      ...{ writePort: ports + 434, readPort: ports + 435, statsPort: ports },
      ...{ backendPort: ports + 80, monitorPort: ports + 88, poolPort: ports + 432 },
      ...{ databaseName: 'blink_db', databaseUser: 'blink_user', databasePassword: `${name}-12345` },
      // A switchback would change the leader at a moment that a test does not choose.
      switchback: 'false',
      ...config,
    };
    this.folder = join(PATHS.root, 'state', name);
    this.log = join(PATHS.root, 'logs', name, 'failover.log');
    this.label = `postgres-failover.stack=postgres-failover/${name}`;
    this.file = join(PATHS.root, `Pulumi.${name}.yaml`);
  }

  /** The stack as clients see it, by its present config. */
  get seen(): Stack {
    return stackFrom(this.name, (key, fallback) => String(this.config[key] ?? fallback));
  }

  /** Environment of the stack's commands. It is read anew each time, because DOCKER_HOST may change. */
  get env(): NodeJS.ProcessEnv {
    const backend = `file://${join(this.folder, 'pulumi')}`;
    return { ...process.env, PULUMI_BACKEND_URL: backend, PULUMI_CONFIG_PASSPHRASE: this.name, NO_COLOR: '1' };
  }

  /** Full name of a container. */
  container(name: string): string {
    return `${this.prefix}${name}`;
  }

  nodes(replicas: number): string[] {
    const replica = (_: unknown, i: number) => this.container(`postgres-replica-${i + 1}`);
    return [this.container('postgres-primary'), ...Array.from({ length: replicas }, replica)];
  }

  /** Address of a container on the inner network. The same fixed numbers are in stack/topology.ts. */
  addressOf(container: string): string {
    const fixed = { haproxy: 10, 'failover-monitor': 11 }[container.slice(this.prefix.length)];
    const replica = /postgres-replica-(\d)$/.exec(container)?.[1];
    return `${this.subnet}.${fixed ?? 20 + Number(replica ?? 0)}`;
  }

  /** Changes the stack's config file; the next `up` applies it. */
  configure(changes: Config): void {
    this.config = { ...this.config, ...changes };
    this.writeFile();
  }

  /** Runs `npm run up`, for a new stack or for changes of a running one. */
  async up(say: Say): Promise<void> {
    mkdirSync(join(this.folder, 'pulumi'), { recursive: true });
    this.writeFile();
    await this.succeed('up', [], say);
  }

  /** Runs `npm run destroy -- --volumes`, and removes what an earlier, interrupted run may have left. */
  async down(say: Say): Promise<void> {
    if (existsSync(this.file)) await this.succeed('destroy', ['--volumes'], say).catch((error) => say(String(error)));
    await removeAllOf(this.label);
    rmSync(join(this.folder, 'pulumi'), { recursive: true, force: true });
    rmSync(this.file, { force: true });
  }

  /**
   * Removes everything of the stack by force, with its data and its state. For the end of a test that does not look at
   * `destroy`, which gives each container the time to stop.
   */
  async remove(): Promise<void> {
    await removeAllOf(this.label);
    for (const tag of await imageTags(`postgres-failover/*:${this.prefix}${this.name}`)) await removeImage(tag);
    for (const folder of [join(this.folder, 'pulumi'), dirname(this.log)])
      rmSync(folder, { recursive: true, force: true });
    rmSync(this.file, { force: true });
  }

  /** Runs `npm run <name> -- --stack … <args>` and returns how it ended. */
  command(name: string, args: readonly string[], say: Say): Promise<RunResult> {
    const start = join(PATHS.root, 'scripts', 'start.mjs');
    const options = { cwd: PATHS.root, env: this.env, deadlineMs: TIMEOUTS.firstUp, onLine: say };
    return run(process.execPath, [start, name, '--stack', this.name, ...args], options);
  }

  /** Runs `npm run failover -- <args> --stack …` and returns what it printed. @throws CommandError when it fails. */
  async failover(...args: readonly string[]): Promise<string> {
    const start = join(PATHS.root, 'scripts', 'start.mjs');
    const options = { cwd: PATHS.root, env: this.env, deadlineMs: TIMEOUTS.firstUp };
    return (await runOk(process.execPath, [start, 'failover', ...args, '--stack', this.name], options)).stdout;
  }

  /** As {@link command}. @throws Error with its last lines when it fails. */
  async succeed(name: string, args: readonly string[], say: Say): Promise<RunResult> {
    const result = await this.command(name, args, say);
    if (result.code !== 0) throw new Error(`${name} failed (exit code ${result.code})\n${result.tail.join('\n')}`);
    return result;
  }

  /**
   * Writes the config file. It keeps Pulumi's `encryptionsalt`: without this Pulumi cannot read the stack's secrets.
   */
  private writeFile(): void {
    const before: unknown = existsSync(this.file) ? parse(readFileSync(this.file, 'utf8')) : {};
    const salt =
      typeof before === 'object' && before !== null && 'encryptionsalt' in before ? before.encryptionsalt : undefined;
    const entries = Object.entries(this.config).map(([key, value]) => [`postgres-failover:${key}`, value]);
    const head = salt === undefined ? {} : { encryptionsalt: salt };
    writeFileSync(this.file, stringify({ ...head, config: Object.fromEntries(entries) }));
  }
}
