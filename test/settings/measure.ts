/** One group of settings on a running stack: applied under a writer, then a kill of the leader and a switchover. */
import { z } from 'zod';
import type { ClusterStatus } from '../../failover/contract/api';
import { messageOf } from '../../failover/contract/errors';
import { run } from '../../scripts/lib/exec';
import { PATHS } from '../../scripts/lib/paths';
import { columnOf, rowsOf } from '../rig/client';
import { docker } from '../rig/docker';
import { loadAverage } from '../rig/progress';
import type { OwnStack, Say } from '../rig/stack';
import { healthy, untilView } from '../rig/view';
import { epochMs, waitFor } from '../rig/wait';
import { heldAndFresh, longestPauseMs, Writer } from '../rig/writer';
import { TIMEOUTS } from '../timeouts';
import { CLIENTS_OWN } from './extremes';
import type { Group } from './groups';

/** With its schema, because `search_path` is one of the settings. */
const TABLE = 'public.settings_writes';
/** Longest time without an acknowledged write, of each client, in a kill and in a switchover, ms. */
export const PAUSE_LIMIT_MS = 2_000;
/** Until something that takes a moment counts as never, ms. */
const NEVER_MS = 60_000;
/**
 * 20 ms between two writes of the held, 100 ms of the fresh client: the log of every statement is a part of the test.
 */
const SLOWER = 10;
const PROBLEMS_MAX = 10;

/** Pauses of the held and of the fresh client, ms. */
const Pauses = z.object({ held: z.number(), fresh: z.number() });

export const Result = z.object({
  name: z.string(),
  settings: z.record(z.string(), z.string()),
  /** Day of the run, and the commit that it ran on. */
  date: z.string(),
  tree: z.string(),
  upMs: z.number(),
  kill: Pauses,
  /** From the start of the killed node's container until all was well, ms. */
  backMs: z.number(),
  switchover: Pauses,
  acknowledged: z.number(),
  lost: z.number(),
  /** Codes of what doctor found in the end. */
  doctor: z.array(z.string()),
  /** Load average of the machine (1 minute) at the end. */
  load: z.number(),
  problems: z.array(z.string()),
});
export type Result = z.infer<typeof Result>;

const Doctor = z.object({ findings: z.array(z.object({ code: z.string(), sentence: z.string() })) });

/** Makes the table, and gives the role of the clients the limits of its own. */
export async function prepare({ seen }: OwnStack): Promise<void> {
  await rowsOf(seen, `CREATE TABLE IF NOT EXISTS ${TABLE} (id text PRIMARY KEY) USING heap`);
  for (const [name, value] of Object.entries(CLIENTS_OWN)) {
    await rowsOf(seen, `ALTER ROLE ${seen.user} SET ${name} = '${value}'`);
  }
}

/** What doctor may say with these settings, because it is right. */
function deserved({ settings }: Group): string[] {
  const archives = settings.archive_mode !== 'off' && settings.archive_command !== 'true';
  return archives ? ['ARCHIVE_LATE'] : [];
}

/** Runs one group. What goes wrong is in the result, too. */
export async function measure(group: Group, own: OwnStack, tree: string, say: Say): Promise<Result> {
  const result: Result = {
    ...{ name: group.name, settings: { ...group.settings }, date: new Date().toISOString().slice(0, 10), tree },
    ...{ upMs: 0, kill: { held: 0, fresh: 0 }, backMs: 0, switchover: { held: 0, fresh: 0 } },
    ...{ acknowledged: 0, lost: 0, doctor: [], load: 0, problems: [] },
  };
  const writer = new Writer(own.seen, { table: TABLE, clients: heldAndFresh(SLOWER) });
  try {
    await disturb(group, own, writer, result, say);
  } catch (error) {
    result.problems.push(messageOf(error).slice(0, 2_000));
  } finally {
    await writer.stop();
  }
  await compare(own, writer, result).catch((error: unknown) => {
    result.problems.push(`the table cannot be read: ${messageOf(error)}`);
  });
  result.load = loadAverage();
  result.problems.splice(PROBLEMS_MAX);
  return result;
}

async function disturb(group: Group, own: OwnStack, writer: Writer, result: Result, say: Say): Promise<void> {
  const { seen } = own;
  const beginMs = epochMs();
  own.configure({ postgresSettings: group.settings });
  await own.up(say);
  const applied = await healthy(seen);
  result.upMs = Math.round(epochMs() - beginMs);
  result.problems.push(...applied.nodes.flatMap((node) => unlikeWanted(node)));
  const first = applied.leader ?? '';
  const second = applied.nodes.find(({ name }) => name !== first)?.name ?? '';

  result.kill = await pausesOf(own, writer, () => docker('kill', first));
  const startMs = epochMs();
  await docker('start', first);
  await healthy(seen);
  result.backMs = Math.round(epochMs() - startMs);
  const moved = async () => (await healthy(seen)).leader === second;
  if (!(await moved())) result.problems.push(`${second} does not lead after the kill of ${first}`);

  const monitor = own.container('failover-monitor');
  result.switchover = await pausesOf(own, writer, () => docker('exec', monitor, 'switchover', first));
  await healthy(seen);
  for (const [what, { held, fresh }] of Object.entries({ kill: result.kill, switchover: result.switchover })) {
    if (Math.max(held, fresh) > PAUSE_LIMIT_MS) result.problems.push(`${what}: no write for ${held} / ${fresh} ms`);
  }
  await askDoctor(group, own, result);
}

/** Settings that are refused, or not in force, on a node. */
function unlikeWanted({ name, settings }: ClusterStatus['nodes'][number]): string[] {
  const { refused = null, pending = [] } = settings ?? {};
  return [
    ...(refused === null ? [] : [`${name} refuses ${refused}`]),
    ...(pending.length === 0 ? [] : [`${name} waits for a restart for ${pending.join(', ')}`]),
  ];
}

/** Longest pause of each client in a change of leader, which must end with writes of both. */
async function pausesOf(own: OwnStack, writer: Writer, act: () => Promise<unknown>): Promise<Result['kill']> {
  const { seen } = own;
  await waitFor('a write of each client', NEVER_MS, () => writer.wroteSince(epochMs() - 1_000));
  const term = (await healthy(seen)).lastFailover?.term ?? 0;
  const fromMs = epochMs();
  await act();
  await untilView(seen, 'a later leadership', NEVER_MS, (now) => (now.lastFailover?.term ?? 0) > term && now.serving);
  const servesMs = epochMs();
  await waitFor('a write of each client after the change', NEVER_MS, () => writer.wroteSince(servesMs));
  const longest = (client: string) => longestPauseMs(writer.writes, fromMs, client);
  return { held: longest('held'), fresh: longest('fresh') };
}

/** Doctor, as a person runs it. */
async function askDoctor(group: Group, own: OwnStack, result: Result): Promise<void> {
  const command = [`${PATHS.root}/bin/pgfailover.mjs`, 'doctor', '--json', '--stack', own.name];
  const options = { cwd: PATHS.root, env: own.env, deadlineMs: TIMEOUTS.pulumi };
  const { stdout, tail } = await run(process.execPath, command, options);
  try {
    const { findings } = Doctor.parse(JSON.parse(stdout));
    result.doctor = findings.map(({ code }) => code);
    const allowed = deserved(group);
    const wrong = findings.filter(({ code }) => !allowed.includes(code));
    result.problems.push(...wrong.map(({ code, sentence }) => `doctor: ${code}: ${sentence}`));
  } catch {
    result.problems.push(`doctor: ${tail.join(' ')}`);
  }
}

async function compare({ seen }: OwnStack, { acknowledged }: Writer, result: Result): Promise<void> {
  const there = new Set(await columnOf(seen, `SELECT id FROM ${TABLE}`));
  result.acknowledged = acknowledged.length;
  result.lost = acknowledged.filter((id) => !there.has(id)).length;
  if (result.lost > 0) result.problems.push(`${result.lost} acknowledged writes are lost`);
  if (result.acknowledged === 0) result.problems.push('no write was acknowledged');
  await rowsOf(seen, `TRUNCATE ${TABLE}`);
}
