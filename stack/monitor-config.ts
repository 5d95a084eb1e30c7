/** The monitor's file: addresses, secrets, and the settings that monitor and keepers check when they read it. Pure. */
import { isIP } from 'node:net';
import type { z } from 'zod';
import type { S3Settings } from '../failover/contract/backups';
import { MonitorConfig, Policy } from '../failover/contract/inputs';
import { s3PathOf } from './backup-s3';
import { NAMES } from './naming';
import type { Topology } from './topology';

/** Secrets that the monitor needs. */
export interface MonitorSecrets {
  /** Shared secret of keepers and monitor. */
  readonly clusterKey: string;
  readonly databasePassword: string;
  /** See `verifierOf` in failover/contract/scram.ts. */
  readonly databaseVerifier: string;
  /** From it the certificate authority follows. */
  readonly authoritySecret: string;
  /** Text of `backupS3.caFile`. */
  readonly s3Ca?: string | undefined;
}

/** Longest lease of the node that archives and lets clients of replication in, ms. */
const LEASE_MAX_MS = 2_000;

/**
 * Settings are not named one by one: the file gets those that its schemas ask for.
 */
export function monitorConfig(
  topology: Topology,
  { databaseVerifier, authoritySecret, s3Ca, ...secrets }: MonitorSecrets,
): MonitorConfig {
  const { settings, stack, nodes, haproxy, monitor, tls } = topology;
  const own = tls.own && { certificate: tls.own.certificate.path, key: tls.own.key.path };
  const {
    backup,
    backupQueueBytes,
    backupKeep,
    replicaFrom,
    hangTimeoutMs,
    replicationPort,
    backupS3: _,
    ...plain
  } = settings;
  const leaseMs = Math.min(hangTimeoutMs, LEASE_MAX_MS);
  const replication = replicationPort === 0 ? {} : { replication: { leaseMs } };
  const fromBackup = replicaFrom === 'backup' ? { replicaFrom } : {};
  const backups = backup && {
    backup: { leaseMs, queueBytes: backupQueueBytes, keep: backupKeep, ...s3Of(topology, s3Ca), ...fromBackup },
  };
  const addresses = { haproxyAddress: haproxy.address, monitorAddress: monitor.address };
  return pick(MonitorConfig, {
    ...settings,
    ...secrets,
    stack,
    backupCheckEveryMs: topology.backupCheck === undefined ? undefined : settings.backupCheckEveryMs,
    nodes: nodes.map(({ name, address }) => ({ name, address })),
    // Whoever checks the certificate comes under one of its names.
    hostNames: [...new Set([monitor.name, NAMES.monitor, ...(tls.https ? tls.names.filter(isName) : [])])],
    settings: pick(MonitorConfig.shape.settings, {
      ...plain,
      ...addresses,
      databaseVerifier,
      ...backups,
      ...replication,
    }),
    tls: {
      ...{ mode: tls.mode, secret: authoritySecret, names: [...tls.names], own },
      ...(tls.https && { https: { backends: topology.backends.length > 0 } }),
    },
    policy: pick(Policy, {
      ...settings,
      ...{ syncCount: 1, backupS3: s3Plan(topology) },
      ...(replicationPort !== 0 && { replication: true }),
    }),
  });
}

/** The second place of the backups, as the nodes need it. */
function s3Of({ settings: { backupS3, namePrefix }, stack }: Topology, ca: string | undefined) {
  if (backupS3 === undefined) return {};
  const { endpoint, bucket, region, key, secret, uriStyle, only } = backupS3;
  const path = s3PathOf(backupS3, namePrefix, stack);
  const s3: S3Settings = { endpoint, bucket, region, path, key, secret, uriStyle, ...(ca !== undefined && { ca }) };
  return { s3, ...(only && { local: false }) };
}

/** Its schedule. */
function s3Plan({ settings: { backupS3, backupFullEveryMs, backupEveryMs } }: Topology): Policy['backupS3'] {
  if (backupS3 === undefined) return undefined;
  const { fullEveryMs = backupFullEveryMs, everyMs = backupEveryMs, only } = backupS3;
  return { fullEveryMs, everyMs, only };
}

/** An address needs no mention: the monitor answers under every one. */
function isName(name: string): boolean {
  return isIP(name) === 0 && name !== 'localhost';
}

/** The values that the schema has a field for. */
function pick<S extends z.ZodRawShape>(schema: z.ZodObject<S>, values: z.input<z.ZodObject<S>>) {
  return schema.strip().parse(values);
}
