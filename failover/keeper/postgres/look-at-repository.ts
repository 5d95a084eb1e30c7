/**
 * The command `look-at-repository`: says what a mounted repository can bring back, without any running cluster. Standard
 * input is a JSON object with the passphrase, so that no argument and no variable shows it. Standard output is one line of
 * JSON, {@link RepositoryLook}.
 */
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { PATHS } from '../../contract/layout';
import { type RepositoryLook, RepositoryQuestion } from '../../contract/restore';
import { writeWhole } from '../../disk/durable';
import { KeeperError } from '../ports';
import { backupsIn, lookIn } from './repository-look';
import { renderRestoreConf } from './restore-source';
import { archivedTimelines, newestFileMs, timelineFor } from './restore-timeline';
import { freeBytes } from './room';

export async function lookAtRepository(say: (line: string) => void): Promise<void> {
  const question = RepositoryQuestion.safeParse(JSON.parse(await text(process.stdin)));
  if (!question.success) throw new Error(z.prettifyError(question.error));
  say(JSON.stringify(await look(question.data)));
}

async function look({ passphrase, target }: RepositoryQuestion): Promise<RepositoryLook> {
  const repository = PATHS.restoreVolume;
  const stanza = await stanzaIn(repository);
  const configPath = join(PATHS.archiveRun, 'look.conf');
  await mkdir(PATHS.archiveRun, { recursive: true, mode: 0o700 });
  await writeWhole(PATHS.archiveRun, 'look.conf', renderRestoreConf({ passphrase }, repository), 0o600, false);
  const ask = lookIn({ configPath, stanza });
  await mustOpen(stanza, ask);
  const backups = await backupsIn(ask);
  const known = await archivedTimelines(stanza, ask);
  const walStart =
    target.kind === 'backup' ? (backups.find((one) => one.label === target.label)?.walStart ?? null) : null;
  return {
    stanza,
    backups: backups.map(({ label, type, stopMs, sizeBytes }) => ({ label, type, stopMs, sizeBytes })),
    timelines: known.map(({ timeline, archivedMs }) => ({ timeline, archivedMs })),
    archivedMs: await newestFileMs(stanza, ask),
    freeBytes: await freeBytes('/').catch(() => null),
    timeline: timelineFor(target, known, walStart),
  };
}

/** With a wrong passphrase pgBackRest fails, or gives out what is no text at all. `info` says only that there is nothing. */
async function mustOpen(stanza: string, ask: (...args: string[]) => Promise<string>): Promise<void> {
  const text = await ask('repo-get', `archive/${stanza}/archive.info`).catch(() => '');
  if (text.includes('[backrest]')) return;
  throw new KeeperError('RESTORE_IMPOSSIBLE', 'the passphrase is another one, or archive.info is damaged');
}

async function stanzaIn(repository: string): Promise<string> {
  const names = await readdir(join(repository, 'archive')).catch(() => []);
  const [stanza, ...others] = names.filter((name) => /^c\d+$/.test(name));
  if (stanza === undefined)
    throw new KeeperError('RESTORE_IMPOSSIBLE', 'the repository is empty: no cluster has archived into it');
  if (others.length === 0) return stanza;
  throw new KeeperError('RESTORE_IMPOSSIBLE', `the repository has several clusters: ${[stanza, ...others].join(', ')}`);
}
