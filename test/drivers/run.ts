/**
 * Takes the usual drivers with `sslmode=verify-full` through renewals of the certificate, kills of the leader and
 * switchovers, and reports what each of them noticed.
 *
 *     npm run test:drivers -- [--runs 3] [--only psql,pgx,…] [--events renewal,failover,switchover] [--pooler] [--keep]
 *
 * Each driver has two loops, which insert one row after the other and repeat none: `held` keeps its connection, `fresh`
 * connects again after every {@link PER_CONNECTION} rows. `--pooler` takes the pooler's port instead of the write port,
 * if the pooler speaks TLS. The stack is the program's own. Results go to docs/results/; the exit code is 1 when a
 * driver saw an error that it should not see, or an acknowledged row is missing. Needs Go for pgx.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { authorityOf } from '../../failover/contract/certificates';
import { machineSize } from '../../scripts/lib/machine-size';
import { someOf, wholeNumber } from '../../scripts/lib/options';
import { say } from '../../scripts/lib/terminal';
import { columnOf, rowsOf } from '../rig/client';
import { docker } from '../rig/docker';
import { readOptions } from '../rig/options';
import { Program } from '../rig/program';
import { loadAverage, PRODUCT, runProgram, testedTree, today, writeResults } from '../rig/progress';
import { shownCertificate } from '../rig/shown-certificate';
import { OwnStack } from '../rig/stack';
import { healthy, untilView } from '../rig/view';
import { epochMs, waitFor, within } from '../rig/wait';
import { acknowledgedOf, longestPauseMs, type WriteEvent, wroteSince } from '../rig/writer';
import { DRIVERS, type Driver, type LoopPlan, Loops } from './drivers';
import { type About, EVENTS, type EventName, type Noticed, page, problemOf, row } from './page';

const PORT = 30_000;
const POOL_PORT = PORT + 643;
const TABLE = 'driver_rows';
/** The certificate names it, as the documents do. Drivers resolve it to both loopbacks. */
const HOST = 'localhost';
const PER_CONNECTION = 5;
const PACE_MS = 50;
/** Loops run this long before an event and after all of them have written again, ms. */
const SETTLE_MS = 2_000;
const WRITE_LIMIT_MS = 60_000;
const RENEWAL_LIMIT_MS = 60_000;
const LEADER_LIMIT_MS = 60_000;

/** The loop of one driver, and all that it reported. */
class Loop {
  readonly writes: WriteEvent[] = [];
  private readonly program: Program;

  constructor(
    readonly plan: LoopPlan,
    loops: Loops,
  ) {
    // Events are not validated: they come from our own programs.
    const take = (line: string) => this.writes.push(JSON.parse(line) as WriteEvent);
    this.program = new Program(...loops.command(plan), take);
  }

  get firstLine(): Promise<string> {
    return this.program.firstLine;
  }

  get kind(): 'held' | 'fresh' {
    return this.plan.perConnection === 0 ? 'held' : 'fresh';
  }

  wroteSince(sinceMs: number): boolean {
    return wroteSince(this.writes, sinceMs, [this.plan.name]);
  }

  stop(): Promise<void> {
    return this.program.stop();
  }
}

class Run {
  private readonly loops: Loop[] = [];
  private renewals = 0;

  constructor(
    private readonly own: OwnStack,
    private readonly programs: Loops,
    private readonly drivers: readonly Driver[],
    private readonly port: number,
  ) {}

  private plan(driver: Driver, name: string, ca: string, perConnection: number): LoopPlan {
    const { user, database } = this.own.seen;
    const to = { host: HOST, port: this.port, user, database, table: TABLE };
    return { name: `${this.own.prefix}${driver}-${name}`, driver, ...to, ca, perConnection, paceMs: PACE_MS };
  }

  /** What the driver says to a server of another authority. @throws Error when it connects. */
  async refusal(driver: Driver): Promise<string> {
    const ca = await this.certificateFile('other.pem', (await authorityOf('o'.repeat(48))).certificate());
    const loop = await this.launch(this.plan(driver, 'other', ca, 0));
    try {
      await within(`an answer of ${driver}`, WRITE_LIMIT_MS, loop.firstLine);
    } finally {
      await loop.stop();
    }
    const { id, message = '?' } = loop.writes[0] ?? {};
    if (id !== null) throw new Error(`${driver} trusts another authority`);
    if (!/certificat/i.test(message)) throw new Error(`${driver} does not name the certificate: ${message}`);
    return message;
  }

  /** Starts the loops, and waits until each of them writes. */
  async start(): Promise<void> {
    const ca = await this.certificateFile('ca.pem', await this.own.failover('ca'));
    await rowsOf(this.own.seen, `DROP TABLE IF EXISTS ${TABLE}`);
    await rowsOf(this.own.seen, `CREATE TABLE ${TABLE} (id text NOT NULL)`);
    for (const driver of this.drivers) {
      const plans = [this.plan(driver, 'held', ca, 0), this.plan(driver, 'fresh', ca, PER_CONNECTION)];
      for (const plan of plans) this.loops.push(await this.launch(plan));
    }
    await this.allWrote(0);
  }

  /** One event under load: what each loop noticed of it. */
  async event(run: number, name: EventName, isPooled: boolean): Promise<Noticed[]> {
    await healthy(this.own.seen);
    await this.allWrote(epochMs());
    const calmMs = epochMs();
    await sleep(SETTLE_MS);
    const fromMs = epochMs();
    const undo = await this.happen(name);
    await this.allWrote(epochMs());
    await sleep(SETTLE_MS);
    const toMs = epochMs();
    await undo();
    return this.loops.map((loop) => {
      const during = loop.writes.filter(({ endMs }) => endMs >= fromMs && endMs < toMs);
      const pause = (sinceMs: number, untilMs: number) => longestPauseMs(loop.writes, sinceMs, loop.plan.name, untilMs);
      const noticed = {
        ...{ run, event: name, driver: loop.plan.driver, kind: loop.kind, written: acknowledgedOf(during).length },
        ...{ calmMs: pause(calmMs, fromMs), pauseMs: pause(fromMs, toMs) },
        errors: during
          .filter(({ outcome }) => outcome !== 'acknowledged')
          .map(({ id, message = '?' }) => `${id === null ? 'connect' : 'statement'}: ${message}`),
      };
      return { ...noticed, problem: problemOf(noticed, isPooled) };
    });
  }

  /** Stops the loops. For each driver the rows that it got acknowledged, and those that are not in the table once. */
  async end(): Promise<Map<Driver, { acknowledged: number; missing: string[] }>> {
    await this.stop();
    const there = Map.groupBy(await columnOf(this.own.seen, `SELECT id FROM ${TABLE}`), (id) => id);
    const of = (driver: Driver) => {
      const loops = this.loops.filter(({ plan }) => plan.driver === driver);
      const ids = loops.flatMap(({ writes }) => acknowledgedOf(writes));
      return { acknowledged: ids.length, missing: ids.filter((id) => there.get(id)?.length !== 1) };
    };
    return new Map(this.drivers.map((driver) => [driver, of(driver)]));
  }

  async stop(): Promise<void> {
    await Promise.all(this.loops.map((loop) => loop.stop()));
  }

  private async allWrote(sinceMs: number): Promise<void> {
    await waitFor('a row of each loop', WRITE_LIMIT_MS, () => {
      const late = this.loops.filter((loop) => !loop.wroteSince(sinceMs));
      const last = (loop: Loop) => loop.writes.at(-1)?.message ?? 'no answer';
      if (late.length > 0) throw new Error(late.map((loop) => `${loop.plan.name}: ${last(loop)}`).join('; '));
      return true;
    });
  }

  /** Starts a loop. An earlier run that was killed may have left its container. */
  private async launch(plan: LoopPlan): Promise<Loop> {
    await docker('rm', '-f', plan.name).catch(() => undefined);
    return new Loop(plan, this.programs);
  }

  /** Makes the event and waits for its effect. Returns what brings the stack back. */
  private async happen(name: EventName): Promise<() => Promise<unknown>> {
    const stack = this.own.seen;
    const { leader, lastFailover } = await healthy(stack);
    const term = lastFailover?.term ?? 0;
    const later = () =>
      untilView(stack, 'a later leadership', LEADER_LIMIT_MS, (now) => (now.lastFailover?.term ?? 0) > term);
    switch (name) {
      case 'renewal':
        await this.renew();
        return async () => undefined;
      case 'failover':
        await docker('kill', leader ?? '');
        await later();
        return () => docker('start', leader ?? '');
      case 'switchover':
        await docker('exec', this.own.container('failover-monitor'), 'switchover');
        await later();
        return async () => undefined;
    }
  }

  /**
   * A further name for the certificate: the monitor signs a new one, with a new key, and the nodes get it by a reload,
   * as after two thirds of the life of the old one.
   */
  private async renew(): Promise<void> {
    const { writePort, readPort } = this.own.seen;
    const ports = [...new Set([writePort, readPort, this.port])];
    const shown = () => Promise.all(ports.map((port) => shownCertificate(HOST, port)));
    const before = await shown();
    this.renewals += 1;
    this.own.configure({ tlsNames: `renewal-${this.renewals}.example.com` });
    await this.own.up(() => undefined);
    const isNew = async () => (await shown()).every((serial, i) => serial !== before[i]);
    await waitFor('the new certificate on every port', RENEWAL_LIMIT_MS, isNew);
  }

  private async certificateFile(name: string, pem: string): Promise<string> {
    const path = join(this.own.folder, name);
    mkdirSync(this.own.folder, { recursive: true });
    writeFileSync(path, pem, { mode: 0o644 });
    return path;
  }
}

/** @throws Error that names what is allowed. */
function readArguments() {
  const values = readOptions({ runs: '3', only: null, events: null, pooler: false, keep: false });
  const named = someOf('only', values.only, DRIVERS);
  const events = someOf('events', values.events, EVENTS);
  return {
    ...{ runs: wholeNumber('runs', values.runs, 1, 100), pooler: values.pooler, keep: values.keep },
    drivers: DRIVERS.filter((driver) => named.includes(driver)),
    events: EVENTS.filter((event) => events.includes(event)),
  };
}

async function main(): Promise<boolean> {
  const { runs, drivers, events, pooler, keep } = readArguments();
  const config = { replicas: 1, backend: 'false', tls: 'on', pooler: String(pooler), poolPort: POOL_PORT };
  const own = new OwnStack({ name: 'drivers', ports: PORT, subnet: '10.217.51', config });
  const programs = new Loops();
  const run = new Run(own, programs, drivers, pooler ? POOL_PORT : own.seen.writePort);
  process.env.PGPASSWORD = own.seen.password;
  const noticed: Noticed[] = [];
  const about: About[] = [];
  try {
    await programs.build(drivers);
    await own.up(say);
    for (const driver of drivers) {
      const refusal = await run.refusal(driver);
      about.push({ driver, version: await programs.version(driver), refusal, acknowledged: 0, missing: [] });
    }
    await run.start();
    for (let n = 1; n <= runs; n++) {
      for (const event of events) {
        const results = await run.event(n, event, pooler);
        noticed.push(...results);
        for (const result of results) say(row(result));
      }
    }
    for (const [driver, kept] of await run.end()) {
      const entry = about.find((one) => one.driver === driver);
      if (entry !== undefined) Object.assign(entry, kept);
    }
  } finally {
    await run.stop();
    if (!keep) await own.down(() => undefined);
  }
  const result = {
    ...{ date: today(), tree: await testedTree([...PRODUCT, 'stack', 'test/drivers']), machine: machineSize() },
    ...{ load: loadAverage(), pooler, perConnection: PER_CONNECTION, paceMs: PACE_MS, about, noticed },
  };
  say(writeResults(`drivers-${result.date}${pooler ? '-pooler' : ''}.md`, page(result)));
  const bad = noticed.filter(({ problem }) => problem !== null);
  const missing = about.flatMap((one) => one.missing);
  say(`${noticed.length - bad.length} of ${noticed.length} as expected; ${missing.length} acknowledged rows missing`);
  return bad.length === 0 && missing.length === 0;
}

runProgram(main);
