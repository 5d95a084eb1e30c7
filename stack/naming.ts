/** All names that the program gives to Docker objects. */

/** Label with the stack to which an object belongs: `<project>/<stack>`. */
export const STACK_LABEL = 'postgres-failover.stack';
/** Label with the purpose of an object, for example `haproxy` or `postgres`. */
export const ROLE_LABEL = 'postgres-failover.role';

/** Labels of a data volume: which database it was made for, and the role that owns it. */
export const DATABASE_LABEL = 'postgres-failover.database';
export const OWNER_LABEL = 'postgres-failover.owner';
export const DATA_ROLE = 'postgres-data';

/** Names without the stack's prefix. They are also the parts' names in Pulumi, so a prefix changes no URN. */
export const NAMES = {
  primary: 'postgres-primary',
  haproxy: 'haproxy',
  monitor: 'failover-monitor',
  backend: 'backend',
  prometheus: 'prometheus',
  pgadmin: 'pgadmin',
  pooler: 'pooler',
  innerNetwork: 'postgres-failover-inner',
  frontNetwork: 'postgres-failover-front',
  haproxyConfig: 'haproxy-config',
  haproxySockets: 'haproxy-sockets',
  monitorStore: 'failover-monitor-store',
  prometheusData: 'prometheus-data',
  backupVolume: 'postgres-backup',
  backupCheck: 'backup-check',
  backupCheckVolume: 'backup-check-scratch',
} as const;

/** User of pgAdmin's login page. The page requires an e-mail address, and no e-mail is ever sent to it. */
export const PGADMIN_LOGIN_NAME = 'admin@example.com';

/** @param index counts from 1. */
export const replicaName = (index: number): string => `postgres-replica-${index}`;

/** @param index counts from 1. The first backend has the same name as the only one. */
export const backendName = (index: number): string => (index === 1 ? NAMES.backend : `${NAMES.backend}-${index}`);

export const dataVolumeName = (node: string): string => `${node}-data`;

/** The images that the program builds, named as their folders in `images/`. */
export const IMAGES = ['postgres', 'haproxy', 'monitor', 'backend', 'prometheus', 'pgadmin', 'pooler'] as const;
export type ImageName = (typeof IMAGES)[number];

/** Folder of the staged images, relative to the project's folder. */
export const IMAGES_FOLDER = 'build/images';

/** Build context of an image, staged by `npm run bundle`; relative to the project's folder. */
export const imageContext = (image: ImageName, folder = IMAGES_FOLDER): string => `${folder}/${image}`;

/** Tag of an image: each stack has its own, so that one stack's build never moves another's. */
export const imageTag = (image: ImageName, prefix: string, stack: string): string =>
  `postgres-failover/${image}:${prefix}${stack}`;

/** Name of an image in Pulumi, without the cluster's. */
export const imagePart = (image: ImageName): string => `${image}-image`;

type Label = { label: string; value: string };

/** Labels in the Docker provider's form, sorted, for containers, volumes and networks. */
export function labels(stackLabel: string, role: string): Label[] {
  return [
    { label: ROLE_LABEL, value: role },
    { label: STACK_LABEL, value: stackLabel },
  ];
}

/** Labels of a data volume. They keep their first values, so that a later config can be compared with them. */
export function dataLabels(stackLabel: string, database: { readonly name: string; readonly user: string }): Label[] {
  return [
    { label: DATABASE_LABEL, value: database.name },
    { label: OWNER_LABEL, value: database.user },
    ...labels(stackLabel, DATA_ROLE),
  ];
}
