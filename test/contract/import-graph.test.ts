/**
 * The simulator runs what is shipped: every module that goes into the monitor's and the keeper's bundle is in the
 * simulator, too, except the named adapters of a port. Whoever adds a module decides here on which side it stands.
 */
import { join } from 'node:path';
import { build } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';

const ROOT = join(__dirname, '../..');

/** Modules that stand between the logic and the world: the simulator has its own in their place. */
const ADAPTERS: Readonly<Record<string, string>> = {
  'failover/keeper/main.ts': 'wires',
  'failover/keeper/postgres/bundled.ts': 'disk: the templates inside the bundle',
  'failover/keeper/postgres/canary.ts': 'PostgreSQL',
  'failover/keeper/postgres/catch-up.ts': 'PostgreSQL: what a copy has still to replay',
  'failover/keeper/postgres/check-settings.ts': 'the command line',
  'failover/keeper/clock.ts': 'clock',
  'failover/keeper/postgres/configuration.ts': 'disk: the files of PostgreSQL’s configuration',
  'failover/keeper/postgres/copy.ts': 'PostgreSQL: base backup',
  'failover/disk/durable.ts': 'disk',
  'failover/keeper/postgres/furnish.ts': 'PostgreSQL: roles and tables',
  'failover/keeper/postgres/heartbeat.ts': 'PostgreSQL',
  'failover/keeper/postgres/log-pipes.ts': 'PostgreSQL: its log',
  'failover/keeper/postgres/look.ts': 'PostgreSQL',
  'failover/keeper/postgres/logins.ts': 'PostgreSQL: how to get into it',
  'failover/keeper/postgres/processes.ts': 'PostgreSQL: its processes and programs',
  'failover/keeper/postgres/receive-wal.ts': 'PostgreSQL: pg_receivewal',
  'failover/keeper/postgres/rejoin.ts': 'PostgreSQL: rewind',
  'failover/keeper/postgres/room.ts': 'disk: the room on it',
  'failover/keeper/postgres/replication.ts': 'PostgreSQL: its replication protocol',
  'failover/keeper/postgres/scram.ts': 'PostgreSQL: passwords',
  'failover/keeper/postgres/server-log.ts': 'PostgreSQL: its log',
  'failover/keeper/postgres/server.ts': 'PostgreSQL',
  'failover/keeper/postgres/session.ts': 'PostgreSQL',
  'failover/disk/two-slot-file.ts': 'disk',
  'failover/keeper/postgres/slots.ts': 'PostgreSQL',
  'failover/keeper/postgres/startup-process.ts': 'PostgreSQL: its processes',
  'failover/keeper/memory.ts': 'disk',
  'failover/keeper/postgres/stream-check.ts': 'PostgreSQL: why it does not stream',
  'failover/keeper/postgres/stream-watch.ts': 'PostgreSQL: when that is asked',
  'failover/keeper/postgres/timelines.ts': 'PostgreSQL: its timelines and files of the log',
  'failover/keeper/postgres/tablespaces.ts': 'disk: folders outside the data',
  'failover/keeper/postgres/titles.ts': 'PostgreSQL: its processes',
  'failover/monitor/main.ts': 'wires',
  'failover/monitor/commands/command.ts': 'the command line',
  'failover/contract/api.ts': 'HTTP: its schemas',
  'failover/contract/inputs.ts': 'wires: the files of their settings',
  'failover/contract/log-line.ts': 'disk: how a line of the log looks',
  'failover/contract/version.ts': 'HTTP: what it tells',
  'failover/monitor/outside/feed.ts': 'HTTP: what readers get',
  'failover/monitor/outside/http.ts': 'HTTP',
  'failover/monitor/outside/listeners.ts': 'HTTP: server-sent events',
  'failover/monitor/outside/load.ts': 'HTTP: how many readers it takes',
  'failover/monitor/outside/metrics.ts': 'HTTP: Prometheus',
  'failover/monitor/outside/notify.ts': 'HTTP: the webhook',
  'failover/monitor/outside/openapi.ts': 'HTTP: its description',
  'failover/monitor/log.ts': 'disk: the log',
  'failover/monitor/outside/page-routes.ts': 'HTTP: the page',
  'failover/monitor/coordination/store.ts': 'disk',
  'failover/monitor/commands/wait-serving.ts': 'the command line',
};

/** Our modules of which something is left in the bundle. */
async function modulesOf(entry: string): Promise<Set<string>> {
  const text = { '.conf': 'text', '.sql': 'text', '.html': 'text', '.css': 'text', '.cfg': 'text' } as const;
  const { metafile } = await build({
    entryPoints: [entry],
    absWorkingDir: ROOT,
    bundle: true,
    write: false,
    metafile: true,
    packages: 'external',
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    loader: text,
    logLevel: 'silent',
  });
  const [output] = Object.values(metafile.outputs);
  const inputs = Object.entries(output?.inputs ?? {});
  return new Set(
    inputs.filter(([path, { bytesInOutput }]) => path.endsWith('.ts') && bytesInOutput > 0).map(([path]) => path),
  );
}

let shipped: string[] = [];
let simulated = new Set<string>();

beforeAll(async () => {
  const [monitor, keeper, simulator] = await Promise.all(
    ['failover/monitor/main.ts', 'failover/keeper/main.ts', 'simulator/run.ts'].map(modulesOf),
  );
  shipped = [...new Set([...(monitor ?? []), ...(keeper ?? [])])].sort();
  simulated = simulator ?? simulated;
});

describe('the simulator', () => {
  it('runs every shipped module that is no adapter', () => {
    expect(shipped.length).toBeGreaterThan(40);
    expect(shipped.filter((module) => !simulated.has(module) && !(module in ADAPTERS))).toEqual([]);
  });

  it('names no adapter that is not shipped or that it runs itself', () => {
    const adapters = Object.keys(ADAPTERS);
    expect(adapters.filter((module) => !shipped.includes(module) || simulated.has(module))).toEqual([]);
  });

  it('runs nothing of the logic that is not shipped', () => {
    const own = [...simulated].filter((module) => module.startsWith('failover/'));
    expect(own.filter((module) => !shipped.includes(module))).toEqual([]);
  });
});
