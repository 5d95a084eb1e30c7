/** The chain as a client sees it: HAProxy's statistics and the password file. */
import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import type { Target } from '../target';
import { fetchTrusting } from '../trusting';
import type { Facts, HaproxyFact, PassfileFact } from './facts';

const STATS_MS = 3_000;
const Problem = z.object({ code: z.string(), detail: z.string() });

/** The statistics as CSV (HAProxy management guide, 9.1). */
export async function lookAtHaproxy(target: Target): Promise<HaproxyFact> {
  const url = `http://${target.host}:${target.info.value('statsPort', '5000')}/stats;csv`;
  const silent = { answers: false, write: null, sessions: 0, limit: 0, queued: 0 };
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(STATS_MS) });
    const fact = parseStats(await response.text());
    return fact ?? { ...silent, message: `the answer of ${url} does not have the statistics of this stack` };
  } catch (error) {
    return {
      ...silent,
      message: error instanceof Error && error.name === 'TimeoutError' ? 'no answer in time' : 'no connection',
    };
  }
}

/**
 * The write backend's state; null when the statistics do not contain it. Sessions are counted only while a slot is
 * open, because clients are held otherwise.
 */
export function parseStats(csv: string): HaproxyFact | null {
  const [head = '', ...lines] = csv.split('\n');
  const names = head.replace(/^# /, '').split(',');
  const rows = lines.map((line) => line.split(','));
  const cell = (row: string[] | undefined, name: string) => row?.[names.indexOf(name)] ?? '';
  const write = rows.filter((row) => cell(row, 'pxname') === 'write');
  const slots = write.filter((row) => /^node\d+$/.test(cell(row, 'svname')));
  if (slots.length === 0) return null;
  const open = slots.find((row) => !cell(row, 'status').startsWith('MAINT'));
  if (open === undefined) return { answers: true, message: '', write: null, sessions: 0, limit: 0, queued: 0 };
  const backend = write.find((row) => cell(row, 'svname') === 'BACKEND');
  return {
    answers: true,
    message: '',
    write: cell(open, 'addr'),
    sessions: Number(cell(open, 'scur')),
    limit: Number(cell(open, 'slim')),
    queued: Number(cell(open, 'qcur')) + Number(cell(backend, 'qcur')),
  };
}

/** What a backend says of the database when it is not ready; undefined: it is ready, or does not answer. */
export async function lookAtBackend(target: Target): Promise<Facts['backend']> {
  const url = `${target.scheme}://${target.host}:${target.info.value('backendPort', '8000')}/ready`;
  try {
    const response = await fetchTrusting(url, { limitMs: STATS_MS }, target.trust);
    return response.ok ? undefined : Problem.parse(await response.json());
  } catch {
    return undefined;
  }
}

/** Checks libpq's password file (manual, "The Password File") for this stack's entries. */
export async function lookAtPassfile(target: Target, env: NodeJS.ProcessEnv = process.env): Promise<PassfileFact> {
  const file = env.PGPASSFILE ?? join(homedir(), '.pgpass');
  const absent = { file, state: 'absent' } as const;
  const text = readable(file);
  if (text === null) return absent;
  const { info } = target;
  const wanted = [
    info.value('writePort', '5434'),
    info.value('databaseName', 'app'),
    info.value('databaseUser', 'app'),
  ];
  const found = passfileEntry(text, [target.host, 'localhost'], wanted);
  if (found === null) return absent;
  if ((statSync(file).mode & 0o077) !== 0) return { file, state: 'open' };
  const password = await target.password().catch(() => null);
  return { file, state: password === null || password === found ? 'fits' : 'wrong' };
}

function readable(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}

/** The password of the first line that matches, as in libpq. `rest`: port, database, user. */
export function passfileEntry(text: string, hosts: readonly string[], rest: readonly string[]): string | null {
  for (const line of text.split('\n').filter((one) => one.trim() !== '' && !one.startsWith('#'))) {
    const fields = line.split(/(?<!\\):/).map((field) => field.replaceAll(/\\([:\\])/g, '$1'));
    const [host = '', ...others] = fields;
    const fits =
      (host === '*' || hosts.includes(host)) && rest.every((value, at) => others[at] === '*' || others[at] === value);
    if (fits) return others[rest.length] ?? '';
  }
  return null;
}
