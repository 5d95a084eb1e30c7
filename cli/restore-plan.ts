/** What a restore would make: the checks of the wish, and name, ports, subnet and config of the new stack. Pure. */
import type { RestoreTarget } from '../failover/contract/backups';
import { printTarget, type RepositoryLook } from '../failover/contract/restore';
import { overlaps } from '../stack/config-values';
import { KEYS } from '../stack/keys';
import { NAMES } from '../stack/naming';
import { EXIT, Failed } from './exit';

const SECOND_MS = 1_000;
/** The window ends this long before the newest file came into the repository, ms: the last commit in it is older. */
const END_MS = 2 * SECOND_MS;
/** Room for the restored data and for the write-ahead log that is replayed, as a multiple of the backup's size. */
const ROOM_FACTOR = 1.3;
const PORT_MAX = 65_535;
const PORT_STEP = 100;
/** Longest prefix of names that the config takes. */
const PREFIX_MAX = 30;

const PORTS = [
  ...(['writePort', 'readPort', 'statsPort', 'backendPort', 'monitorPort'] as const),
  ...(['prometheusPort', 'pgadminPort', 'poolPort'] as const),
] as const;
export type Ports = Readonly<Record<(typeof PORTS)[number], number>>;
/** Keys of the ports that a new stack may have, with their defaults. */
export const PORT_KEYS = Object.fromEntries(PORTS.map((key) => [key, KEYS[key].default])) as Ports;

/** Why the repository cannot bring this back; null: it can. */
export function whyNotRestorable(target: RestoreTarget, look: RepositoryLook): string | null {
  const { backups, archivedMs } = look;
  const [first] = backups;
  if (first === undefined) return 'There is no backup yet, so nothing can be restored.';
  if (target.kind === 'latest') return null;
  if (target.kind === 'backup') {
    if (backups.some(({ label }) => label === target.label)) return null;
    return `There is no backup ${target.label}. There are: ${backups.map(({ label }) => label).join(', ')}.`;
  }
  const [from, to] = [first.stopMs + SECOND_MS, (archivedMs ?? first.stopMs) - END_MS];
  if (target.atMs >= from && target.atMs <= to) return null;
  const window = `A restore can reach each moment from ${print(from)} to ${print(to)}`;
  const later = target.atMs > to ? '; while the old stack runs, its archive is at most about a minute behind' : '';
  return `${printTarget(target)} is outside. ${window}${later}. All that there is: --to latest.`;
}

const print = (atMs: number) => printTarget({ kind: 'time', atMs: Math.floor(atMs / SECOND_MS) * SECOND_MS });

/** Why the disk has no room for it; null: it has. `nodes`: how many of the new stack have the data. */
export function whyNoRoom({ backups, freeBytes }: RepositoryLook, nodes: number): string | null {
  const needed = Math.ceil(Math.max(0, ...backups.map(({ sizeBytes }) => sizeBytes)) * ROOM_FACTOR * nodes);
  if (freeBytes === null || freeBytes >= needed) return null;
  return `The new stack needs about ${needed} bytes for ${nodes} nodes, and ${freeBytes} are free on the engine’s disk.`;
}

/** `<stack>-restore-<yyyymmddhhmm>`, with a number where that is taken. */
export function freeName(stack: string, now: Date, taken: readonly string[]): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  const base = `${stack}-restore-${day}${two(now.getHours())}${two(now.getMinutes())}`;
  for (let n = 1; ; n++) {
    const name = n === 1 ? base : `${base}-${n}`;
    if (!taken.includes(name)) return name;
  }
}

/** Prefix of the names of the new stack's containers and volumes. A long name is shortened at its beginning. */
export function prefixOf(name: string): string {
  const plain = name.toLowerCase().replace(/[^a-z0-9_-]/g, '-');
  return `${plain.slice(-(PREFIX_MAX - 1)).replace(/^[^a-z0-9]+/, '')}-`;
}

/** The old stack's ports, all moved by the same number, so that none is taken. Null: there are none. */
export async function freePorts(old: Ports, isFree: (port: number) => Promise<boolean>): Promise<Ports | null> {
  for (let by = PORT_STEP; by < PORT_MAX; by += PORT_STEP) {
    const moved = Object.entries(old).map(([key, port]) => [key, port + by] as const);
    if (moved.some(([, port]) => port > PORT_MAX)) return null;
    const free = await Promise.all(moved.map(([, port]) => isFree(port)));
    if (free.every(Boolean)) return Object.fromEntries(moved) as Ports;
  }
  return null;
}

/** A subnet that overlaps none of these; null: there is none. */
export function freeSubnet(taken: readonly string[]): string | null {
  for (let second = 201; second <= 220; second++)
    for (let third = 44; third <= 250; third++) {
      const subnet = `10.${second}.${third}.0/24`;
      if (!taken.some((other) => overlaps(other, subnet))) return subnet;
    }
  return null;
}

export interface NewStack {
  name: string;
  prefix: string;
  ports: Ports;
  subnet: string;
  /** Undefined: as many as the old stack has. */
  replicas?: number | undefined;
}

/** Reads `--replicas`, which is bounded like the key. @throws Failed (usage) */
export function replicasOf(raw: string): number {
  const { schema, allowed } = KEYS.replicas;
  const parsed = schema.safeParse(raw);
  if (parsed.success) return parsed.data;
  throw new Failed(EXIT.usage, `--replicas: ${JSON.stringify(raw)} is refused; must be ${allowed}`);
}

/**
 * What of the old stack's config the new one does not take over. Its backups must never go where those of the old one
 * are: both have the same system identifier.
 */
const LEFT_OUT = [
  ...['backupFolder', 'backupS3', 'clientNetworks', 'notifyWebhook'],
  ...['replicationPort', 'restoreFrom', 'tlsNames'],
];

/**
 * The new stack's file: the old one's config, with names, ports and subnet of its own, on loopback, and without the parts
 * that are not the database. The salt stays, so that the secrets in it can be read with the old stack's passphrase.
 */
export function newStackFile(
  old: Readonly<Record<string, unknown>>,
  project: string,
  { prefix, ports, subnet, replicas }: NewStack,
  /** Without passphrase and keys, which are set as secrets. */
  restoreFrom: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const config = typeof old.config === 'object' && old.config !== null ? old.config : {};
  const values: Record<string, unknown> = { ...config };
  const kept = Object.entries(values).filter(([key]) => !LEFT_OUT.some((name) => key === `${project}:${name}`));
  const own = {
    ...ports,
    ...{ namePrefix: prefix, subnet, bindAddress: '127.0.0.1' },
    ...(replicas !== undefined && replicaKeys(replicas, Number(values[`${project}:reportReplicas`] ?? 0))),
    ...{ backend: 'false', monitoring: 'false', pgadmin: 'false', pooler: 'false' },
    restoreFrom,
  };
  const changed = Object.entries(own).map(([key, value]) => [`${project}:${key}`, value]);
  return { ...old, config: { ...Object.fromEntries(kept), ...Object.fromEntries(changed) } };
}

/** At least one replica beside those for reports, as the config asks for. */
function replicaKeys(replicas: number, reportReplicas: number): Record<string, number> {
  return {
    replicas,
    ...(reportReplicas > 0 && { reportReplicas: Math.min(reportReplicas, Math.max(0, replicas - 1)) }),
  };
}

/** Where a stack has its backups on this machine: a Docker volume or a folder, as `restoreFrom` names it. */
export type BackupsHere = { readonly volume: string } | { readonly folder: string };

/** `folder`: the stack's `backupFolder`. */
export function backupsHere(prefix: string, folder: string): BackupsHere {
  return folder === '' ? { volume: `${prefix}${NAMES.backupVolume}` } : { folder };
}
