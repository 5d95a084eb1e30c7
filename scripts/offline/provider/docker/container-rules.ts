/** The inputs of `docker.Container`, and what a change of each means on the vendor's provider. */
import type { Rules } from '../rules';

const replaced = { replace: true };
const replacedSet = { replace: true, set: true };
const replacedMap = { replace: true, exact: true };
/** The daemon or the image has a value where the program has none. */
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

  // A change of these four is reported as an update while the container stays as it is; the program must say
  // `replaceOnChanges`, as with the vendor's provider. More or fewer mounts do replace.
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

  // How the provider handles the container; the container itself knows nothing of these.
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

/** What the vendor's provider keeps in the state where the program says nothing. */
export function defaultOutputs(): Record<string, string | number | boolean> {
  const outputs: Record<string, string | number | boolean> = {};
  for (const [key, rule] of Object.entries(containerRules)) {
    const value = rule.default;
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') outputs[key] = value;
  }
  return outputs;
}
