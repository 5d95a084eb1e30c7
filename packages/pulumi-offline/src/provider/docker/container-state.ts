/** Translates the daemon's description of a container into the outputs that the vendor's provider stores. */
import type { ContainerInspectInfo } from 'dockerode';
import { defined } from '../resource-kind';
import { refreshed } from '../rules';
import { objects, type Props, text, type Value } from '../values';
import { containerRules } from './container-rules';
import { asValue, formatDuration } from './container-spec';

const MIB = 1024 * 1024;

/** Parts of the daemon's answer that the type package does not declare. */
interface MoreConfig {
  StopSignal?: string;
  StopTimeout?: number;
}

/**
 * @param outputs the outputs so far
 * @param networkIds the networks that exist; a container that was attached to another one has lost it
 */
export function observe(found: ContainerInspectInfo, outputs: Props, networkIds: Set<string>): Props {
  const { Config: config, HostConfig: host, State: state } = found;
  const more: MoreConfig = config as MoreConfig;
  const running = state.Running;
  const image = text(outputs, 'image') ?? '';
  const seen = defined({
    ...hostOutputs(found, outputs),
    name: found.Name.replace(/^\//, ''),
    bridge: '',
    image: image.startsWith('sha256:') ? found.Image : config.Image,
    hostname: config.Hostname,
    domainname: config.Domainname,
    command: asValue(config.Cmd ?? []),
    entrypoints: asValue([config.Entrypoint ?? []].flat()),
    user: config.User,
    workingDir: config.WorkingDir,
    platform: found.Platform,
    tty: config.Tty,
    stdinOpen: config.OpenStdin,
    stopSignal: more.StopSignal,
    stopTimeout: more.StopTimeout ?? 0,
    healthcheck: healthcheck(found),
    exitCode: running ? 0 : state.ExitCode,
    // A container that should run and does not is a change, so the next update starts it.
    mustRun: !running && outputs.mustRun === true ? false : undefined,
    networkDatas: networkDatas(found),
    ports: running && outputs.ports !== undefined ? ports(found) : undefined,
    networksAdvanced: outputs.networksAdvanced && attached(found, outputs, networkIds),
    init: host.Init ?? false,
  });
  return refreshed(containerRules, outputs, seen);
}

function hostOutputs(found: ContainerInspectInfo, outputs: Props): Props {
  const host = found.HostConfig;
  const swap = host.MemorySwap ?? 0;
  const capabilities = { adds: asValue(host.CapAdd ?? []), drops: asValue(host.CapDrop ?? []) };
  const hasCapabilities = (host.CapAdd ?? []).length + (host.CapDrop ?? []).length > 0;
  return defined({
    rm: host.AutoRemove ?? false,
    readOnly: host.ReadonlyRootfs ?? false,
    privileged: host.Privileged ?? false,
    publishAllPorts: host.PublishAllPorts ?? false,
    networkMode: host.NetworkMode,
    restart: host.RestartPolicy?.Name || 'no',
    maxRetryCount: host.RestartPolicy?.MaximumRetryCount ?? 0,
    capabilities: hasCapabilities ? capabilities : undefined,
    securityOpts: asValue(host.SecurityOpt ?? []),
    runtime: host.Runtime,
    ipcMode: host.IpcMode,
    usernsMode: host.UsernsMode,
    mounts: mounts(found),
    tmpfs: asValue(host.Tmpfs ?? {}),
    hosts: (host.ExtraHosts ?? []).map((entry: string) => {
      const [name = '', ...ip] = entry.split(':');
      return { host: name, ip: ip.join(':') };
    }),
    memory: (host.Memory ?? 0) / MIB,
    memoryReservation: (host.MemoryReservation ?? 0) / MIB,
    memorySwap: swap > 0 ? swap / MIB : swap,
    shmSize: (host.ShmSize ?? 0) / MIB,
    cpuShares: host.CpuShares ?? 0,
    cpuSet: host.CpusetCpus ?? '',
    logDriver: host.LogConfig?.Type,
    logOpts: outputs.logOpts && asValue(host.LogConfig?.Config ?? {}),
    sysctls: asValue(host.Sysctls ?? {}),
    groupAdds: asValue(host.GroupAdd ?? []),
    dns: asValue(host.Dns ?? []),
    dnsOpts: asValue(host.DnsOptions ?? []),
    dnsSearches: asValue(host.DnsSearch ?? []),
  });
}

function healthcheck(found: ContainerInspectInfo): Value | undefined {
  const check = found.Config.Healthcheck as
    | {
        Test?: string[];
        Interval?: number;
        Timeout?: number;
        StartPeriod?: number;
        StartInterval?: number;
        Retries?: number;
      }
    | undefined;
  return (
    check && {
      tests: check.Test ?? [],
      interval: formatDuration(check.Interval ?? 0),
      timeout: formatDuration(check.Timeout ?? 0),
      startPeriod: formatDuration(check.StartPeriod ?? 0),
      startInterval: formatDuration(check.StartInterval ?? 0),
      retries: check.Retries ?? 0,
    }
  );
}

function mounts(found: ContainerInspectInfo): Value[] {
  return (found.HostConfig.Mounts ?? []).map((mount) =>
    defined({
      type: mount.Type,
      target: mount.Target,
      source: mount.Source,
      readOnly: mount.ReadOnly ?? false,
      bindOptions: mount.BindOptions && { propagation: mount.BindOptions.Propagation },
      tmpfsOptions: mount.TmpfsOptions && {
        sizeBytes: mount.TmpfsOptions.SizeBytes ?? 0,
        mode: mount.TmpfsOptions.Mode ?? 0,
      },
    }),
  );
}

function networkDatas(found: ContainerInspectInfo): Value[] {
  return Object.entries(found.NetworkSettings.Networks ?? {}).map(([networkName, network]) => ({
    networkName,
    ipAddress: network.IPAddress,
    ipPrefixLength: network.IPPrefixLen,
    gateway: network.Gateway,
    globalIpv6Address: network.GlobalIPv6Address,
    globalIpv6PrefixLength: network.GlobalIPv6PrefixLen,
    ipv6Gateway: network.IPv6Gateway,
    macAddress: network.MacAddress,
  }));
}

function ports(found: ContainerInspectInfo): Value[] {
  const keys = Object.keys(found.NetworkSettings.Ports ?? {});
  keys.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1));
  return keys.flatMap((key) => {
    const [internal, protocol = 'tcp'] = key.split('/');
    return (found.NetworkSettings.Ports[key] ?? []).map((binding) => ({
      internal: Number(internal),
      external: Number(binding.HostPort),
      ip: binding.HostIp,
      protocol,
    }));
  });
}

/** The wanted networks to which the container is really attached. */
function attached(found: ContainerInspectInfo, outputs: Props, networkIds: Set<string>): Value[] {
  const endpoints = Object.entries(found.NetworkSettings.Networks ?? {});
  return objects(outputs, 'networksAdvanced').filter((wanted) => {
    const endpoint = endpoints.find(([name, { NetworkID }]) => wanted.name === name || wanted.name === NetworkID);
    return endpoint !== undefined && networkIds.has(endpoint[1].NetworkID);
  });
}
