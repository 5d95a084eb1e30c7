/** The inputs of `docker.Container`, and the effect of a change of each with the vendor's provider. */
import type { Rules } from '../rules';

const replaced = { replace: true };
const replacedSet = { replace: true, set: true };
const replacedMap = { replace: true, exact: true };
/** The daemon or the image gives the value when the program gives none. */
const replacedComputed = { replace: true, computed: true };

export const containerRules: Rules = {
  name: replaced,
  image: replaced,
  command: replacedComputed,
  entrypoints: replacedComputed,
  envs: { replace: true, set: true, computed: true },
  labels: { replace: true, set: true, computed: true },
  hostname: replacedComputed,
  domainname: replaced,
  user: replacedComputed,
  workingDir: replacedComputed,
  tty: replaced,
  stdinOpen: replaced,
  stopSignal: replacedComputed,
  stopTimeout: replacedComputed,
  platform: replacedComputed,
  runtime: replacedComputed,
  readOnly: replaced,
  privileged: replaced,
  publishAllPorts: replaced,
  ipcMode: replacedComputed,
  pidMode: replaced,
  usernsMode: replaced,
  cgroupnsMode: replaced,
  groupAdds: replacedSet,
  dns: replacedSet,
  dnsOpts: replacedSet,
  dnsSearches: replacedSet,
  hosts: replacedSet,
  sysctls: replacedMap,
  shmSize: replacedComputed,
  cpus: replaced,
  logDriver: replacedComputed,
  logOpts: replacedMap,
  securityOpts: { replace: true, set: true, computed: true },
  capabilities: { replace: true, setFields: ['adds', 'drops'] },
  networkMode: { replace: true, default: 'bridge' },
  networksAdvanced: { replace: true, set: true, setFields: ['aliases', 'linkLocalIps', 'driverOpts'] },
  ports: { replace: true, fieldDefaults: { ip: '0.0.0.0', protocol: 'tcp' } },
  uploads: replacedSet,
  ulimits: replacedSet,

  // A change of these four inputs is reported as an update, but the container stays as it is. The program must use
  // `replaceOnChanges`, as with the vendor's provider. A change of the number of mounts does replace.
  healthcheck: {
    computed: true,
    fieldDefaults: { interval: '0s', timeout: '0s', startPeriod: '0s', startInterval: '0s', retries: 0 },
  },
  mounts: { set: true, replaceOnCount: true },
  tmpfs: { exact: true },
  init: { computed: true },

  restart: { default: 'no' },
  maxRetryCount: {},
  memory: {},
  memorySwap: {},
  memoryReservation: { default: 0 },
  cpuShares: {},
  cpuSet: {},

  // Instructions for the provider; the container itself does not have these values.
  rm: { default: false },
  start: { default: true },
  wait: { default: false },
  waitTimeout: { default: 60 },
  attach: { default: false },
  logs: { default: false },
  mustRun: { default: true },
  removeVolumes: { default: true },
  destroyGraceSeconds: {},
  containerReadRefreshTimeoutMilliseconds: { default: 15_000 },
};

/** Values that the vendor's provider stores in the state when the program gives none. */
export function defaultOutputs(): Record<string, string | number | boolean> {
  const outputs: Record<string, string | number | boolean> = {};
  for (const [key, rule] of Object.entries(containerRules)) {
    const value = rule.default;
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') outputs[key] = value;
  }
  return outputs;
}
