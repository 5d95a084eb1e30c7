/**
 * How the files stand to each other. First the rooms: each imports only what its line allows, all of it further up in
 * the list, so no circle of rooms can come about. Then the simulator, which runs what is shipped: every module that goes
 * into the monitor's and the keeper's bundle is in the simulator, too, except the adapters of a port.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { metafileOf } from './metafile';

const ROOT = join(__dirname, '../..');

interface Room {
  name: string;
  /** Of several rooms that fit a file the first one has it. */
  files: RegExp;
  /** Rooms that it may import beside itself. */
  may: readonly string[];
  why: string;
}

const FACTS = ['contract', 'state', 'facts'];
/** What a part of the monitor knows that stands between the loop and the world. */
const ADAPTER = ['contract', 'state', 'monitor ports'];
const CORE = ['state', 'facts', 'effects', 'transitions', 'procedures', 'core'];
const LOOP = ['contract', ...CORE, 'monitor ports'];
const WIRED = [...LOOP, 'nodes', 'router', 'coordination', 'outside', 'monitor'];
const ROOMS: readonly Room[] = [
  room('contract', /^failover\/contract\//, [], 'what all sides agree on'),
  room('disk', /^failover\/disk\//, [], 'files that survive a crash, whatever is in them'),
  room('state', /^failover\/core\/state\//, ['contract'], 'what is remembered and what is seen: data only'),
  room('facts', /^failover\/core\/facts\//, ['contract', 'state'], 'what follows from state and view'),
  room('effects', /^failover\/core\/effects\//, FACTS, 'what a state wants done'),
  room('transitions', /^failover\/core\/(transitions|rule)\.ts/, FACTS, 'what several rows do'),
  room('procedures', /^failover\/core\/procedures\//, ['contract', ...CORE.slice(0, 4)], 'the rows of the table'),
  room('core', /^failover\/core\//, ['contract', ...CORE.slice(0, 5)], 'puts the table together and asks it'),
  room('keeper ports', /^failover\/keeper\/(ports|tunables|keeper-state|lsn|clock)\.ts/, ['contract'], 'to PostgreSQL'),
  room('postgres', /^failover\/keeper\/postgres\//, ['contract', 'disk', 'keeper ports'], 'the real PostgreSQL'),
  room('keeper main', /^failover\/keeper\/main\.ts/, ['contract', 'keeper ports', 'postgres', 'keeper'], 'wires'),
  room('keeper', /^failover\/keeper\//, ['contract', 'disk', 'keeper ports'], 'what is done in which order'),
  room('monitor ports', /^failover\/monitor\/ports\.ts/, ['contract', 'state'], 'between the loop and the world'),
  room('nodes', /^failover\/monitor\/nodes\//, ADAPTER, 'the keepers and their PostgreSQL'),
  room('router', /^failover\/monitor\/router\//, ADAPTER, 'HAProxy'),
  room('coordination', /^failover\/monitor\/coordination\//, ['contract', 'disk', 'monitor ports'], 'the store'),
  room('outside', /^failover\/monitor\/outside\//, LOOP, 'HTTP, which asks the core, too'),
  room('monitor main', /^failover\/monitor\/(main|monitor)\.ts/, WIRED, 'wires'),
  room('monitor', /^failover\/monitor\//, LOOP, 'the loop and what it remembers'),
  room('page', /^failover\/page\//, ['contract'], 'runs in a browser'),
  room('stack', /^stack\//, ['contract'], 'the stack as data: config, names, addresses and checks'),
  room('components', /^components\//, ['contract', 'stack'], 'the Pulumi resources'),
  room('program', /^index\.ts$/, ['stack', 'components'], 'the Pulumi program'),
  room('examples', /^examples\//, ['stack', 'components'], 'programs of other people'),
  room('offline kit', /^packages\/pulumi-offline\//, [], 'Pulumi for closed networks: knows nothing of this project'),
  room('scripts', /^scripts\//, ['contract', 'stack', 'offline kit'], 'set-up, from outside'),
  room('cli', /^cli\//, ['contract', 'stack', 'scripts'], 'the command line, from outside'),
];

/** From the first to the second; to be removed. A line that is no longer needed fails. */
const EXCEPTIONS: readonly (readonly [RegExp, RegExp, string])[] = [
  [/^scripts\/docs\.ts/, /^failover\/core\/rules\.ts/, 'writes the table into a document: stays'],
  [/^scripts\/docs\.ts/, /^cli\/doctor\/findings\.ts/, 'writes the table into a document: stays'],
];
/** Tests that look at a running system from outside: of the failover they know the contract. */
const OUTSIDERS = /^test\/(bench|change|chaos|cli|e2e|rig|scripts|soak|upgrade)\//;
/** HAProxy's own protocol: stays. */
const FOR_OUTSIDERS = /^failover\/(contract\/|monitor\/router\/haproxy-socket\.ts)/;

function room(name: string, files: RegExp, may: readonly string[], why: string): Room {
  return { name, files, may, why };
}

type Edge = readonly [from: string, to: string];

const HOUSES = ['cli', 'failover', 'stack', 'components', 'examples', 'packages', 'scripts', 'simulator', 'test'];
const sources = HOUSES.flatMap((house) =>
  readdirSync(join(ROOT, house), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.includes('node_modules'))
    .map((name) => `${house}/${name}`),
);

const edges: readonly Edge[] = ['index.ts', ...sources].flatMap((from) =>
  [...readFileSync(join(ROOT, from), 'utf8').matchAll(/(?:from|import)\s*\(?'(\.[^']*)'/g)]
    .map(([, path = '']): Edge => [from, `${join(from, '..', path)}.ts`])
    .filter(([, to]) => sources.includes(to)),
);

const roomOf = (file: string) => ROOMS.find(({ files }) => files.test(file));
const isExcepted = ([from, to]: Edge) => EXCEPTIONS.some(([a, b]) => a.test(from) && b.test(to));
const told = (found: readonly Edge[]) => found.map(([from, to]) => `${from} → ${to}`);

/** Folder of the package that has the file; empty for a file of the repository's own. */
const packageOf = (file: string) => /^packages\/[^/]+\//.exec(file)?.[0] ?? '';

/** Files in circles: what is left when the files that import none of the rest are taken away, again and again. */
function inCircles(among: readonly Edge[]): Edge[] {
  let left = [...among];
  for (;;) {
    const next = left.filter(([from, to]) => left.some(([f]) => f === to) && left.some(([, t]) => t === from));
    if (next.length === left.length) return left;
    left = next;
  }
}

describe('the rooms', () => {
  it('have every file of the product', () => {
    const product = sources.filter((file) => !/^(test|simulator)\//.test(file));
    expect(product.length).toBeGreaterThan(200);
    expect(product.filter((file) => roomOf(file) === undefined)).toEqual([]);
    expect(ROOMS.filter(({ files }) => !['index.ts', ...sources].some((file) => files.test(file)))).toEqual([]);
  });

  it('import only what their line allows, and neither tests nor the simulator', () => {
    const refused = edges.filter((edge) => {
      const [from, to] = edge.map(roomOf);
      if (from === undefined || from === to || isExcepted(edge)) return false;
      return to === undefined || !from.may.includes(to.name);
    });
    expect(told(refused)).toEqual([]);
  });

  it('stand in no circle', () => {
    const pairs = ROOMS.flatMap(({ name, may }) => may.map((other): Edge => [name, other]));
    expect(told(inCircles(pairs))).toEqual([]);
  });

  it('have no files in a circle, and neither has the simulator', () => {
    const held = edges.filter((edge) => !edge[0].startsWith('test/') && !isExcepted(edge));
    expect(held.filter(([from]) => from.startsWith('simulator/')).length).toBeGreaterThan(50);
    expect(told(inCircles(held))).toEqual([]);
  });

  it('are seen from outside by the contract alone', () => {
    const inside = edges.filter(([from, to]) => OUTSIDERS.test(from) && /^failover\//.test(to));
    expect(told(inside.filter(([, to]) => !FOR_OUTSIDERS.test(to)))).toEqual([]);
  });

  it('are packages of their own where they stand in packages/, seen through their index alone', () => {
    const past = edges.filter(([from, to]) => packageOf(to) !== '' && packageOf(from) !== packageOf(to));
    expect(past.length).toBeGreaterThan(0);
    expect(told(past.filter(([, to]) => to !== `${packageOf(to)}index.ts`))).toEqual([]);
    const out = edges.filter(([from, to]) => packageOf(from) !== '' && packageOf(from) !== packageOf(to));
    expect(told(out)).toEqual([]);
  });

  it('need every exception that is left', () => {
    expect(EXCEPTIONS.filter(([a, b]) => !edges.some(([from, to]) => a.test(from) && b.test(to)))).toEqual([]);
  });
});

/** What stands between the logic and the world: the simulator has its own in its place. */
const ADAPTERS: readonly RegExp[] = [
  /^failover\/disk\//,
  /^failover\/keeper\/postgres\//,
  /^failover\/keeper\/(main|clock|memory)\.ts/,
  /^failover\/monitor\/(outside|coordination)\//,
  /^failover\/monitor\/(main|log)\.ts/,
  // Words of HTTP, of the log and of the files of their settings.
  /^failover\/contract\/(api|inputs|log-line|scram|version)\.ts/,
];
/** Logic that stands among them: the simulator runs it. */
const LOGIC: readonly string[] = [
  'failover/keeper/postgres/config-files.ts',
  'failover/keeper/postgres/own-time.ts',
  'failover/keeper/postgres/template.ts',
  'failover/monitor/outside/status-view.ts',
];

/** Our modules of which something is left in the bundle. */
async function modulesOf(entry: string): Promise<Set<string>> {
  const metafile = await metafileOf(entry);
  const [output] = Object.values(metafile.outputs);
  const left = Object.entries(output?.inputs ?? {}).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
  return new Set(left.map(([path]) => path).filter((path) => path.endsWith('.ts')));
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

describe('the command line in the monitor’s image', () => {
  it('carries nothing that needs Docker, Pulumi or the stack’s files', async () => {
    const carried = [...(await modulesOf('cli/inside.ts'))];
    const may =
      /^(cli\/[a-z-]+\.ts|failover\/contract\/.*|stack\/config-values\.ts|scripts\/lib\/(exec|foreground|terminal)\.ts)$/;
    expect(carried).toContain('cli/wait-serving.ts');
    expect(carried.filter((module) => !may.test(module) || /cli\/(host|psql|target)\.ts/.test(module))).toEqual([]);
  });
});

describe('the simulator', () => {
  it('runs every shipped module that is no adapter', () => {
    const isAdapter = (module: string) => !LOGIC.includes(module) && ADAPTERS.some((files) => files.test(module));
    expect(shipped.length).toBeGreaterThan(40);
    expect(shipped.filter((module) => !simulated.has(module) && !isAdapter(module))).toEqual([]);
  });

  it('names no adapters that are not shipped or that it runs itself', () => {
    const own = shipped.filter((module) => !simulated.has(module));
    expect(ADAPTERS.filter((files) => !own.some((module) => files.test(module)))).toEqual([]);
  });

  it('runs nothing of the logic that is not shipped', () => {
    const own = [...simulated].filter((module) => module.startsWith('failover/'));
    expect(own.filter((module) => !shipped.includes(module))).toEqual([]);
  });
});
