/**
 * pgAdmin 4, with the cluster registered through HAProxy's write port: it finds the leader before and after a failover.
 */
import type * as docker from '@pulumi/docker';
import * as pulumi from '@pulumi/pulumi';
import { IDS, PORTS } from '../failover/contract/layout';
import { NAMES, PGADMIN_LOGIN_NAME } from '../stack/naming';
import { type ContainerArgs, makeContainer, type PublishedPortArgs, publishedPort, secretFile } from './container';

const STOP_SECONDS = 10;
/** Limit for its start. It needs seconds of processor time, which take minutes on a busy machine. */
const WAIT_SECONDS = 600;
const FOLDER = '/etc/pgadmin';

export interface PgAdminArgs extends ContainerArgs, PublishedPortArgs {
  /** Name of the front network, the only one that pgAdmin is on. */
  readonly network: pulumi.Input<string>;
  /** Password of the login page. Secret. */
  readonly loginPassword: pulumi.Input<string>;
  /** Name of the cluster in the list of servers. */
  readonly serverName: string;
  /** Name of the database, and its owner. */
  readonly database: { readonly name: string; readonly user: string };
  /** Password of the database's owner. Secret. */
  readonly databasePassword: pulumi.Input<string>;
  /** Resources that must exist first, for example the one that puts a changed password in force. */
  readonly after: readonly pulumi.Resource[];
}

/** Data that people save in pgAdmin is kept in memory and ends with the container, so no secret is left on a disk. */
export class PgAdmin extends pulumi.ComponentResource {
  readonly container: docker.Container;

  constructor(name: string, args: PgAdminArgs, opts?: pulumi.ComponentResourceOptions) {
    super('postgres-failover:index:PgAdmin', name, {}, opts);
    this.container = makeContainer(this, name, args, {
      role: 'pgadmin',
      user: `${IDS.pgadmin}:${IDS.pgadmin}`,
      tmpfs: {
        '/var/lib/pgadmin': `rw,noexec,nosuid,nodev,size=256m,mode=0700,uid=${IDS.pgadmin},gid=${IDS.pgadmin}`,
      },
      networksAdvanced: [{ name: args.network }],
      ports: [publishedPort(PORTS.pgadmin, args)],
      uploads: [
        secretFile(`${FOLDER}/login`, PGADMIN_LOGIN_NAME),
        secretFile(`${FOLDER}/secrets/login_password`, pulumi.secret(args.loginPassword)),
        secretFile(
          `${FOLDER}/secrets/pgpass`,
          pulumi.secret(
            pulumi.output(args.databasePassword).apply((password) => passfile(args.database.user, password)),
          ),
        ),
        secretFile(`${FOLDER}/servers.json`, serverList(args)),
      ],
      wait: true,
      waitTimeout: WAIT_SECONDS,
      stopSeconds: STOP_SECONDS,
      after: args.after,
    });
    this.registerOutputs({ container: this.container.name });
  }
}

/** One line of a libpq passfile (manual, "The Password File"): colon and backslash are escaped. */
export function passfile(user: string, password: string): string {
  const [escapedUser, escapedPassword] = [user, password].map((word) => word.replaceAll(/[\\:]/g, '\\$&'));
  return `${NAMES.haproxy}:${PORTS.haproxyWrite}:*:${escapedUser}:${escapedPassword}\n`;
}

/** Input of pgAdmin's `load-servers`. The passfile's path is within the user's own storage. */
function serverList({ serverName, database }: PgAdminArgs): string {
  const server = {
    Name: serverName,
    Group: 'Servers',
    Host: NAMES.haproxy,
    Port: PORTS.haproxyWrite,
    MaintenanceDB: database.name,
    Username: database.user,
    ConnectionParameters: { sslmode: 'prefer', passfile: '/pgpass', connect_timeout: 30 },
  };
  return JSON.stringify({ Servers: { 1: server } });
}
