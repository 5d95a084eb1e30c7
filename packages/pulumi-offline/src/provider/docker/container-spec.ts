/** Translates the inputs of `docker.Container` into the daemon's create call. */
import type { ContainerCreateOptions, HostConfig, MountConfig, MountSettings } from 'dockerode';
import { defined } from '../resource-kind';
import { flag, number, object, objects, type Props, text, textMap, texts, type Value } from '../values';
import { labelMap } from './labels';

const MIB = 1024 * 1024;

/** @throws naming the input that is invalid */
export function containerSpec(inputs: Props): ContainerCreateOptions {
  const ports = objects(inputs, 'ports').map((port) => ({
    key: `${number(port, 'internal')}/${text(port, 'protocol') ?? 'tcp'}`,
    binding: { HostIp: text(port, 'ip') ?? '0.0.0.0', HostPort: String(number(port, 'external') ?? '') },
  }));
  const command = texts(inputs, 'command');
  if (command.includes('')) throw new Error('command must not hold an empty string');
  return {
    name: text(inputs, 'name'),
    platform: text(inputs, 'platform'),
    Image: text(inputs, 'image'),
    Hostname: text(inputs, 'hostname'),
    Domainname: text(inputs, 'domainname'),
    User: text(inputs, 'user'),
    WorkingDir: text(inputs, 'workingDir'),
    Tty: flag(inputs, 'tty'),
    OpenStdin: flag(inputs, 'stdinOpen'),
    Env: texts(inputs, 'envs'),
    Cmd: command.length > 0 ? command : undefined,
    Entrypoint: texts(inputs, 'entrypoints').length > 0 ? texts(inputs, 'entrypoints') : undefined,
    Labels: labelMap(inputs),
    StopSignal: text(inputs, 'stopSignal'),
    StopTimeout: number(inputs, 'stopTimeout'),
    Healthcheck: healthcheck(inputs),
    ExposedPorts: Object.fromEntries(ports.map(({ key }) => [key, {}])),
    HostConfig: {
      ...hostConfig(inputs),
      PortBindings: groupBy(ports),
    },
  };
}

function groupBy(ports: { key: string; binding: object }[]): Record<string, object[]> {
  const result: Record<string, object[]> = {};
  for (const { key, binding } of ports) {
    result[key] ??= [];
    result[key].push(binding);
  }
  return result;
}

function hostConfig(inputs: Props): HostConfig {
  const capabilities = object(inputs, 'capabilities') ?? {};
  const cpus = text(inputs, 'cpus');
  return {
    ...resources(inputs),
    // Like the vendor's provider: the container is created on the default bridge and moved to its networks before the
    // start.
    NetworkMode: text(inputs, 'networkMode') ?? 'bridge',
    RestartPolicy: restartPolicy(inputs),
    AutoRemove: flag(inputs, 'rm'),
    ReadonlyRootfs: flag(inputs, 'readOnly'),
    Privileged: flag(inputs, 'privileged'),
    PublishAllPorts: flag(inputs, 'publishAllPorts'),
    Init: flag(inputs, 'init') ?? false,
    Runtime: text(inputs, 'runtime'),
    Mounts: mounts(inputs),
    Tmpfs: textMap(inputs, 'tmpfs'),
    CapAdd: texts(capabilities, 'adds'),
    CapDrop: texts(capabilities, 'drops'),
    SecurityOpt: texts(inputs, 'securityOpts'),
    ShmSize: mebibytes(inputs, 'shmSize'),
    NanoCpus: cpus === undefined ? undefined : Math.round(Number(cpus) * 1e9),
    LogConfig: { Type: text(inputs, 'logDriver') ?? '', Config: textMap(inputs, 'logOpts') },
    ExtraHosts: objects(inputs, 'hosts').map((host) => `${text(host, 'host')}:${text(host, 'ip')}`),
    Dns: texts(inputs, 'dns'),
    DnsOptions: texts(inputs, 'dnsOpts'),
    DnsSearch: texts(inputs, 'dnsSearches'),
    GroupAdd: texts(inputs, 'groupAdds'),
    IpcMode: text(inputs, 'ipcMode'),
    PidMode: text(inputs, 'pidMode'),
    UsernsMode: text(inputs, 'usernsMode'),
    Sysctls: textMap(inputs, 'sysctls'),
    Ulimits: objects(inputs, 'ulimits').map((limit) => ({
      Name: text(limit, 'name') ?? '',
      Soft: number(limit, 'soft') ?? 0,
      Hard: number(limit, 'hard') ?? 0,
    })),
    ...(text(inputs, 'cgroupnsMode') && { CgroupnsMode: text(inputs, 'cgroupnsMode') }),
  };
}

export function restartPolicy(inputs: Props): { Name: string; MaximumRetryCount: number } {
  return { Name: text(inputs, 'restart') ?? 'no', MaximumRetryCount: number(inputs, 'maxRetryCount') ?? 0 };
}

/** The limits that can be changed while the container runs. */
export function resources(inputs: Props): Partial<HostConfig> {
  const swap = number(inputs, 'memorySwap');
  return {
    Memory: mebibytes(inputs, 'memory') ?? 0,
    MemoryReservation: mebibytes(inputs, 'memoryReservation') ?? 0,
    // -1 means no limit.
    MemorySwap: swap !== undefined && swap < 0 ? swap : mebibytes(inputs, 'memorySwap'),
    CpuShares: number(inputs, 'cpuShares') ?? 0,
    CpusetCpus: text(inputs, 'cpuSet') ?? '',
  };
}

function mebibytes(inputs: Props, key: string): number | undefined {
  const value = number(inputs, key);
  return value === undefined ? undefined : value * MIB;
}

function mounts(inputs: Props): MountConfig {
  return objects(inputs, 'mounts').map((mount) => {
    const type = text(mount, 'type');
    if (type !== 'bind' && type !== 'volume' && type !== 'tmpfs') {
      throw new Error(`mounts: type must be bind, volume or tmpfs, not ${JSON.stringify(type)}`);
    }
    if (object(mount, 'volumeOptions')) throw new Error('mounts: volumeOptions is not served by the offline kit');
    const tmpfs = object(mount, 'tmpfsOptions') ?? {};
    const propagation = text(object(mount, 'bindOptions') ?? {}, 'propagation');
    const settings: MountSettings = {
      Type: type,
      Target: text(mount, 'target') ?? '',
      Source: text(mount, 'source') ?? '',
      ReadOnly: flag(mount, 'readOnly') ?? false,
      ...(propagation && { BindOptions: { Propagation: propagation as 'rprivate' } }),
      ...(type === 'tmpfs' && {
        TmpfsOptions: { SizeBytes: number(tmpfs, 'sizeBytes') ?? 0, Mode: number(tmpfs, 'mode') ?? 0 },
      }),
    };
    return settings;
  });
}

function healthcheck(inputs: Props): ContainerCreateOptions['Healthcheck'] {
  const check = object(inputs, 'healthcheck');
  if (!check) return undefined;
  const config = defined({
    Test: texts(check, 'tests'),
    Interval: nanoseconds(check, 'interval'),
    Timeout: nanoseconds(check, 'timeout'),
    StartPeriod: nanoseconds(check, 'startPeriod'),
    // Engines before 25 do not know this field and ignore it.
    StartInterval: nanoseconds(check, 'startInterval'),
    Retries: number(check, 'retries') ?? 0,
  });
  return config as ContainerCreateOptions['Healthcheck'] & Props;
}

const UNIT_NS: Record<string, number> = { ns: 1, us: 1e3, µs: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

function nanoseconds(check: Props, key: string): number {
  return parseDuration(text(check, key) ?? '0s', key);
}

/**
 * Reads a duration as Go writes it, e.g. `1m30s` or `500ms`.
 * @returns nanoseconds
 * @throws naming the key
 */
export function parseDuration(value: string, key: string): number {
  const parts = [...value.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)];
  if (value === '0') return 0;
  if (parts.length === 0 || parts.map(([whole]) => whole).join('') !== value) {
    throw new Error(`${key} must be a duration such as 500ms, 5s or 1m30s, not ${JSON.stringify(value)}`);
  }
  return parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (UNIT_NS[unit ?? 'ns'] ?? 1), 0);
}

/** Writes a duration in Go's format, which the vendor's provider has in its state. */
export function formatDuration(ns: number): string {
  if (ns === 0) return '0s';
  if (ns < 1e3) return `${ns}ns`;
  if (ns < 1e6) return `${ns / 1e3}µs`;
  if (ns < 1e9) return `${ns / 1e6}ms`;
  const hours = Math.floor(ns / 3600e9);
  const minutes = Math.floor((ns % 3600e9) / 60e9);
  const seconds = `${(ns % 60e9) / 1e9}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}

/** @returns a copy in which nothing is undefined, for the state */
export function asValue(value: unknown): Value {
  return JSON.parse(JSON.stringify(value ?? null)) as Value;
}
