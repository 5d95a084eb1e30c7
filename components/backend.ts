/** A FastAPI backend: registers users and logs them in, through HAProxy only. */
import type * as docker from '@pulumi/docker';
import * as pulumi from '@pulumi/pulumi';
import { IDS, PATHS } from '../failover/contract/layout';
import { NAMES } from '../stack/naming';
import { type ContainerArgs, makeContainer, secretFile } from './container';

/** Longer than the application's own draining (1 s) and its limit for open requests (15 s). */
const STOP_SECONDS = 20;
/** The image's health check only tests liveness (`/health`), so the container becomes healthy without a database. */
const WAIT_SECONDS = 120;
/** Settings that are secret, one file each (pydantic-settings `secrets_dir`). */
const SECRETS_FOLDER = '/etc/backend/secrets';

export interface BackendArgs extends ContainerArgs {
  /** Name of the front network, the only one that the backend is on. */
  readonly network: pulumi.Input<string>;
  /** Connection string for reading and writing. Secret. */
  readonly haproxyUrl: pulumi.Input<string>;
  /** Connection string for reading only. Secret. */
  readonly haproxyReadUrl: pulumi.Input<string>;
  /** Certificate of the stack's authority, as PEM, by which the backend checks PostgreSQL; absent: it does not. */
  readonly ca?: pulumi.Input<string>;
  /** Key that signs the login tokens; all backends share it. Secret. */
  readonly jwtKey: pulumi.Input<string>;
  /** The backend that must be healthy before this one is replaced. Backends are replaced one at a time. */
  readonly after: readonly pulumi.Resource[];
}

/**
 * HAProxy publishes the backends' port (frontend `api`). It finds every backend by one alias and holds requests while
 * no backend answers, so a backend can be replaced without a failed request (docs/decisions/0005-backends.md).
 */
export class Backend extends pulumi.ComponentResource {
  readonly container: docker.Container;

  constructor(name: string, args: BackendArgs, opts?: pulumi.ComponentResourceOptions) {
    super('postgres-failover:index:Backend', name, {}, opts);
    this.container = makeContainer(this, name, args, {
      role: 'backend',
      user: `${IDS.backend}:${IDS.backend}`,
      networksAdvanced: [{ name: args.network, aliases: [NAMES.backend] }],
      envs: ['BEHIND_PROXY=true', 'HOST=0.0.0.0'],
      uploads: [
        ...(args.ca === undefined ? [] : [{ file: PATHS.backendCa, content: args.ca, permissions: '0444' }]),
        secretFile(`${SECRETS_FOLDER}/haproxy_read_url`, pulumi.secret(args.haproxyReadUrl)),
        secretFile(`${SECRETS_FOLDER}/haproxy_url`, pulumi.secret(args.haproxyUrl)),
        secretFile(`${SECRETS_FOLDER}/secret_key`, pulumi.secret(args.jwtKey)),
      ],
      wait: true,
      waitTimeout: WAIT_SECONDS,
      stopSeconds: STOP_SECONDS,
      after: args.after,
    });
    this.registerOutputs({ container: this.container.name });
  }
}
