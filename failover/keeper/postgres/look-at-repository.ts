/**
 * The command `look-at-repository`: says what a repository, mounted or in S3, can bring back, without any running cluster.
 * Standard input is a JSON object with passphrase and keys, so that no argument and no variable shows them. Standard output
 * is one line of JSON, {@link RepositoryLook}.
 */
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { PATHS } from '../../contract/layout';
import { type RepositoryLook, RepositoryQuestion } from '../../contract/restore';
import { KeeperError } from '../ports';
import { backupsIn, lookIn } from './repository-look';
import { writeRestoreConf } from './restore-conf';
import { archivedTimelines, foldersIn, newestFileMs, timelineFor } from './restore-timeline';
import { freeBytes } from './room';

export async function lookAtRepository(say: (line: string) => void): Promise<void> {
  const question = RepositoryQuestion.safeParse(JSON.parse(await text(process.stdin)));
  if (!question.success) throw new Error(z.prettifyError(question.error));
  say(JSON.stringify(await look(question.data)));
}

async function look({ target, ...keys }: RepositoryQuestion): Promise<RepositoryLook> {
  const configPath = await writeRestoreConf(join(PATHS.archiveRun, 'look'), keys, PATHS.restoreVolume);
  const stanza = await stanzaIn(configPath);
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

async function stanzaIn(configPath: string): Promise<string> {
  // pgBackRest asks for a name, but this list needs none.
  const names = await foldersIn('archive', lookIn({ configPath, stanza: 'none' }));
  const [stanza, ...others] = names.filter((name) => /^c\d+$/.test(name));
  if (stanza === undefined)
    throw new KeeperError('RESTORE_IMPOSSIBLE', 'the repository is empty: no cluster has archived into it');
  if (others.length === 0) return stanza;
  throw new KeeperError('RESTORE_IMPOSSIBLE', `the repository has several clusters: ${[stanza, ...others].join(', ')}`);
}
