/**
 * Checks the imports between files. First the rooms (groups of files): each one imports only the rooms that its line
 * names, and there is no circle. Then the simulator: it runs every module of the monitor's and the keeper's bundle,
 * except the adapters of a port.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { metafileOf } from './metafile';

const ROOT = join(__dirname, '../..');

interface Room {
  name: string;
  /** The files of the room. A file belongs to the first room that fits. */
  files: RegExp;
  /** Other rooms that it may import. */
  may: readonly string[];
  why: string;
}

const FACTS = ['contract', 'state', 'facts'];
/** Rooms that a part of the monitor between the loop and the outside may import. */
const ADAPTER = ['contract', 'state', 'monitor ports'];
const CORE = ['state', 'facts', 'effects', 'transitions', 'procedures', 'core'];
const LOOP = ['contract', ...CORE, 'monitor ports'];
const PLACES = ['nodes', 'router', 'monitor pooler', 'monitor restore tests', 'coordination', 'outside'];
const WIRED = [...LOOP, ...PLACES, 'monitor'];
const ROOMS: readonly Room[] = [
  room('contract', /^failover\/contract\//, [], 'what all sides agree on'),
  room('disk', /^failover\/disk\//, [], 'files that survive a crash, with any content'),
  room('link', /^failover\/link\//, ['contract'], 'proven connections between the monitor and a supervisor'),
  room('state', /^failover\/core\/state\//, ['contract'], 'what the monitor remembers and sees: data only'),
  room('facts', /^failover\/core\/facts\//, ['contract', 'state'], 'what follows from state and view'),
  room('effects', /^failover\/core\/effects\//, FACTS, 'orders and routes that follow from a state'),
  room('transitions', /^failover\/core\/(transitions|rule)\.ts/, FACTS, 'steps that several rows take'),
  room('procedures', /^failover\/core\/procedures\//, ['contract', ...CORE.slice(0, 4)], 'the rows of the table'),
  room('core', /^failover\/core\//, ['contract', ...CORE.slice(0, 5)], 'lists the rows and applies one'),
  room(
    'keeper ports',
    /^failover\/keeper\/(ports|tunables|keeper-state|lsn|clock)\.ts/,
    ['contract'],
    'between keeper and PostgreSQL',
  ),
  room('postgres', /^failover\/keeper\/postgres\//, ['contract', 'disk', 'keeper ports'], 'the real PostgreSQL'),
  room(
    'restore tests',
    /^failover\/keeper\/restore-tests\//,
    ['contract', 'disk', 'link', 'postgres'],
    'the container that tests restores',
  ),
  room(
    'keeper main',
    /^failover\/keeper\/main\.ts/,
    ['contract', 'keeper ports', 'postgres', 'keeper', 'restore tests'],
    'puts the parts together',
  ),
  room('keeper', /^failover\/keeper\//, ['contract', 'disk', 'keeper ports'], 'carries out orders'),
  room('monitor ports', /^failover\/monitor\/ports\.ts/, ['contract', 'state'], 'between the loop and the outside'),
  room('nodes', /^failover\/monitor\/nodes\//, ADAPTER, 'the keepers and their PostgreSQL'),
  room('router', /^failover\/monitor\/router\//, ADAPTER, 'HAProxy'),
  room('monitor pooler', /^failover\/monitor\/pooler\//, [...ADAPTER, 'link'], 'the pooler’s supervisor'),
  room(
    'monitor restore tests',
    /^failover\/monitor\/restore-tests\//,
    ['contract', 'disk', 'link', 'monitor ports'],
    'when a restore is tested, and how the last ones ended',
  ),
  room('pooler', /^failover\/pooler\//, ['contract', 'disk', 'link'], 'the processes of PgBouncer'),
  room('coordination', /^failover\/monitor\/coordination\//, ['contract', 'disk', 'monitor ports'], 'the store'),
  room('outside', /^failover\/monitor\/outside\//, LOOP, 'HTTP, which also asks the core'),
  room('monitor main', /^failover\/monitor\/(main|monitor)\.ts/, WIRED, 'puts the parts together'),
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

/** Allowed imports from the first file to the second, against the lines above. An unused one makes a test fail. */
const EXCEPTIONS: readonly (readonly [RegExp, RegExp, string])[] = [
  [/^scripts\/docs\.ts/, /^failover\/core\/rules\.ts/, 'writes the table into a document: stays'],
  [/^scripts\/docs\.ts/, /^cli\/doctor\/findings\.ts/, 'writes the table into a document: stays'],
];
/** Tests that watch a running system from outside. Of the failover they may import the contract only. */
const OUTSIDERS = /^test\/(bench|change|chaos|cli|e2e|rig|scripts|soak|upgrade)\//;
/** What these tests may import: the contract, and the reader of HAProxy's own protocol. */
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
const linesOf = (found: readonly Edge[]) => found.map(([from, to]) => `${from} → ${to}`);

/** Folder of the package that has the file; empty for a file outside of packages/. */
const packageOf = (file: string) => /^packages\/[^/]+\//.exec(file)?.[0] ?? '';

/**
 * Imports that are part of a circle: those that remain when imports from or to the end of a chain are removed
 * repeatedly.
 */
function inCircles(among: readonly Edge[]): Edge[] {
  let left = [...among];
  for (;;) {
    const next = left.filter(([from, to]) => left.some(([f]) => f === to) && left.some(([, t]) => t === from));
    if (next.length === left.length) return left;
    left = next;
  }
}

describe('the rooms', () => {
  it('contain every file of the product', () => {
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
    expect(linesOf(refused)).toEqual([]);
  });

  it('form no circle', () => {
    const pairs = ROOMS.flatMap(({ name, may }) => may.map((other): Edge => [name, other]));
    expect(linesOf(inCircles(pairs))).toEqual([]);
  });

  it('have no circle of files, and neither has the simulator', () => {
    const held = edges.filter((edge) => !edge[0].startsWith('test/') && !isExcepted(edge));
    expect(held.filter(([from]) => from.startsWith('simulator/')).length).toBeGreaterThan(50);
    expect(linesOf(inCircles(held))).toEqual([]);
  });

  it('are imported from outside only through the contract', () => {
    const inside = edges.filter(([from, to]) => OUTSIDERS.test(from) && /^failover\//.test(to));
    expect(linesOf(inside.filter(([, to]) => !FOR_OUTSIDERS.test(to)))).toEqual([]);
  });

  it('in packages/ are imported only through their index and import nothing of the repository', () => {
    const past = edges.filter(([from, to]) => packageOf(to) !== '' && packageOf(from) !== packageOf(to));
    expect(past.length).toBeGreaterThan(0);
    expect(linesOf(past.filter(([, to]) => to !== `${packageOf(to)}index.ts`))).toEqual([]);
    const out = edges.filter(([from, to]) => packageOf(from) !== '' && packageOf(from) !== packageOf(to));
    expect(linesOf(out)).toEqual([]);
  });

  it('need every exception of the list', () => {
    expect(EXCEPTIONS.filter(([a, b]) => !edges.some(([from, to]) => a.test(from) && b.test(to)))).toEqual([]);
  });
});

/** Modules that connect the logic to the outside. The simulator has models in their place. */
const ADAPTERS: readonly RegExp[] = [
  /^failover\/disk\//,
  /^failover\/keeper\/postgres\//,
  /^failover\/keeper\/(main|clock|memory|alive-port)\.ts/,
  /^failover\/monitor\/(outside|coordination)\//,
  // Tests of restores, which no decision depends on.
  /^failover\/(keeper|monitor)\/restore-tests\//,
  /^failover\/link\/caller\.ts/,
  /^failover\/monitor\/(main|log)\.ts/,
  // Schemas of the HTTP API, of the log and of the input files.
  /^failover\/contract\/(api|inputs|log-line|restore|restore-test|restore-tests|role-sql|scram|version)\.ts/,
  // TLS with clients, which no decision depends on.
  /^failover\/monitor\/(certificates|router\/api-certificate)\.ts/,
  /^failover\/contract\/(der|certificates|certificate-check|seal)\.ts/,
];
/** Modules in the same folders that are logic, so the simulator runs them. */
const LOGIC: readonly string[] = [
  'failover/keeper/postgres/config-files.ts',
  'failover/keeper/postgres/own-time.ts',
  'failover/keeper/postgres/template.ts',
  'failover/monitor/outside/status-view.ts',
];

/** Modules of this repository that are in the bundle of a program. */
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
  it('contains nothing that needs Docker, Pulumi or the stack’s files', async () => {
    const carried = [...(await modulesOf('cli/inside.ts'))];
    const may =
      /^(cli\/[a-z-]+\.ts|failover\/contract\/.*|stack\/config-values\.ts|scripts\/lib\/(exec|foreground|terminal)\.ts)$/;
    expect(carried).toContain('cli/wait-serving.ts');
    expect(carried.filter((module) => !may.test(module) || /cli\/(host|psql|target)\.ts/.test(module))).toEqual([]);
  });
});

describe('the simulator', () => {
  it('runs every shipped module that is not an adapter', () => {
    const isAdapter = (module: string) => !LOGIC.includes(module) && ADAPTERS.some((files) => files.test(module));
    expect(shipped.length).toBeGreaterThan(40);
    expect(shipped.filter((module) => !simulated.has(module) && !isAdapter(module))).toEqual([]);
  });

  it('has no unused line in the list of adapters', () => {
    const own = shipped.filter((module) => !simulated.has(module));
    expect(ADAPTERS.filter((files) => !own.some((module) => files.test(module)))).toEqual([]);
  });

  it('runs no module of failover/ that is not shipped', () => {
    const own = [...simulated].filter((module) => module.startsWith('failover/'));
    expect(own.filter((module) => !shipped.includes(module))).toEqual([]);
  });
});
