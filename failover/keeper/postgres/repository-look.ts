/** Reads the lists of a repository with pgBackRest: what a restore, its test and a look at a repository need alike. */
import { readInfo } from './backup';
import { run, type ToolOptions } from './processes';
import type { Look } from './restore-timeline';

const LOOK_LIMIT_MS = 60_000;
/** A repository with thousands of files has long lists, bytes. */
const LIST_MAX = 2 * 1024 * 1024;

/** Runs pgBackRest and resolves with its output. @throws KeeperError TOOL_FAILED */
export type Pgbackrest = (args: readonly string[], options: ToolOptions) => Promise<string>;

export const pgbackrest: Pgbackrest = (args, options) => run('pgbackrest', [...args], options);

export interface RepositoryPlace {
  readonly stanza: string;
  /** pgBackRest's config, which has repository and passphrase. */
  readonly configPath: string;
  readonly signal?: AbortSignal;
}

/** Arguments of every command. */
export function commonArgs({ configPath, stanza }: RepositoryPlace): string[] {
  return [`--config=${configPath}`, `--stanza=${stanza}`];
}

/** Runs commands that only read. */
export function lookIn(place: RepositoryPlace, tool: Pgbackrest = pgbackrest): Look {
  const options = { limitMs: LOOK_LIMIT_MS, signal: place.signal, outputMax: LIST_MAX };
  return (...args) => tool([...commonArgs(place), ...args], options);
}

/** The backups of the repository, oldest first. @throws KeeperError */
export async function backupsIn(look: Look): Promise<ReturnType<typeof readInfo>['facts']['backups']> {
  return readInfo(await look('--output=json', 'info')).facts.backups;
}
