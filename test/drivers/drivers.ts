/** The drivers, and how each of their loops is started. All loops are controlled by the same environment (loop.py). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PATHS } from '../../scripts/lib/paths';
import { docker, dockerWithin } from '../rig/docker';
import { buildGo } from '../rig/go';
import { script } from '../rig/program';

const FOLDER = join(PATHS.root, 'test', 'drivers');
const IMAGE = 'postgres-failover-drivers:test';
const BUILD_LIMIT_MS = 900_000;
/** Where a container has the authority's certificate. */
const CA_INSIDE = '/run/ca.pem';

export const DRIVERS = ['psql', 'psycopg', 'asyncpg', 'node-postgres', 'pgx', 'pgjdbc'] as const;
export type Driver = (typeof DRIVERS)[number];

/** Drivers that Debian packages: for each the package whose version is shown, and the command inside the image. */
const INSIDE: Partial<Record<Driver, { readonly of: string; readonly command: readonly string[] }>> = {
  psql: { of: 'postgresql-client-17', command: ['python3', 'psql_loop.py'] },
  psycopg: { of: 'python3-psycopg', command: ['python3', 'psycopg_loop.py'] },
  asyncpg: { of: 'python3-asyncpg', command: ['python3', 'asyncpg_loop.py'] },
  pgjdbc: {
    of: 'libpostgresql-jdbc-java',
    command: ['java', '-Xmx64m', '-XX:-UsePerfData', '-cp', '/app:/usr/share/java/postgresql.jar', 'Loop'],
  },
};

/** A loop's environment. The password comes from PGPASSWORD of this process, so that no list of processes shows it. */
export interface LoopPlan {
  readonly name: string;
  readonly driver: Driver;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  readonly table: string;
  /** File with the certificate that the loop trusts. */
  readonly ca: string;
  /** Statements before the loop connects again; 0: it keeps its connection. */
  readonly perConnection: number;
  /** Wait between two statements, ms. */
  readonly paceMs: number;
}

/** What the loops of these drivers need: the image, and the Go program. */
export class Loops {
  private pgx = '';

  async build(drivers: readonly Driver[]): Promise<void> {
    if (drivers.some((driver) => INSIDE[driver] !== undefined)) {
      process.env.DOCKER_BUILDKIT = '0';
      await dockerWithin(BUILD_LIMIT_MS, 'build', '-q', '-t', IMAGE, FOLDER);
    }
    if (drivers.includes('pgx')) this.pgx = await buildGo(join(FOLDER, 'pgx'), 'pgx-loop');
  }

  /** Command and arguments of a loop's process. A container has the plan's name. */
  command(plan: LoopPlan): [command: string, args: string[]] {
    const inside = INSIDE[plan.driver];
    if (inside === undefined) {
      const [program, args] = plan.driver === 'pgx' ? [this.pgx, []] : script('test/drivers/node-postgres.ts', []);
      return ['env', [...environment(plan, plan.ca), program, ...args]];
    }
    const rights = ['--cap-drop', 'ALL', '--security-opt', 'no-new-privileges', '--read-only', '--tmpfs', '/tmp'];
    const variables = [...environment(plan, CA_INSIDE), 'PGPASSWORD'].flatMap((variable) => ['--env', variable]);
    return [
      'docker',
      [
        ...['run', '--rm', '--init', '--name', plan.name, '--network', 'host', ...rights, ...variables],
        ...['--volume', `${plan.ca}:${CA_INSIDE}:ro`, IMAGE, ...inside.command],
      ],
    ];
  }

  async version(driver: Driver): Promise<string> {
    const of = INSIDE[driver]?.of;
    if (of !== undefined) return docker('run', '--rm', IMAGE, 'dpkg-query', '-W', '-f', `$\{Version} (Debian)`, of);
    const pattern = driver === 'pgx' ? /pgx\/v5 v(\S+)/ : /"version": "([^"]+)"/;
    const file = driver === 'pgx' ? join(FOLDER, 'pgx', 'go.mod') : join(PATHS.root, 'node_modules/pg/package.json');
    return pattern.exec(readFileSync(file, 'utf8'))?.[1] ?? '?';
  }
}

function environment(plan: LoopPlan, ca: string): string[] {
  const { name, host, port, user, database, table, perConnection, paceMs } = plan;
  const variables = {
    ...{ CLIENT: name, PGHOST: host, PGPORT: port, PGUSER: user, PGDATABASE: database, TABLE: table, CA: ca },
    ...{ PER_CONNECTION: perConnection, PACE_MS: paceMs },
  };
  return Object.entries(variables).map(([key, value]) => `${key}=${value}`);
}
