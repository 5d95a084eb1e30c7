/**
 * Tablespaces outside the data directory. A copy has them at the leader's paths, because replay creates them there. So
 * the old data and a copy cannot both have a tablespace at one path. Files that an aborted copy left there are removed
 * before the next copy.
 */
import { readdir, readFile, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeWhole } from '../../disk/durable';
import { KeeperError } from '../ports';
import type { Place } from './place';

/**
 * A file in the volume that lists the locations that were empty when a copy began. Files in them belong to the copy.
 */
const LIST = 'data.tablespaces';

export interface Tablespace {
  name: string;
  location: string;
}

/** The locations of a data directory's tablespaces. */
async function locationsOf(data: string): Promise<string[]> {
  const folder = join(data, 'pg_tblspc');
  const names = await readdir(folder).catch(() => []);
  const links = await Promise.all(names.map((name) => readlink(join(folder, name)).catch(() => null)));
  return links.filter((link) => link !== null);
}

async function entriesOf(location: string): Promise<string[]> {
  return readdir(location).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
}

/** Removes PostgreSQL's own folders in these locations; other files stay. */
async function empty(locations: readonly string[]): Promise<void> {
  for (const location of locations) {
    const entries = await readdir(location).catch(() => []);
    for (const entry of entries) {
      if (entry.startsWith('PG_')) await rm(join(location, entry), { recursive: true, force: true });
    }
  }
}

/** Removes the tablespaces of data that is about to be removed, except those that the data in `kept` also has. */
export async function removeTablespaces(data: string, kept: string | null): Promise<void> {
  const others = kept === null ? [] : await locationsOf(kept);
  await empty((await locationsOf(data)).filter((location) => !others.includes(location)));
}

/** Removes files that an unfinished copy left in tablespaces. The present data's tablespaces are not touched. */
export async function removeLeftTablespaces(volume: string, data: string): Promise<void> {
  const text = await readFile(join(volume, LIST), 'utf8').catch(() => null);
  if (text === null) return;
  const present = await locationsOf(data);
  const listed: unknown = JSON.parse(text);
  const places = Array.isArray(listed) ? listed.filter((place) => typeof place === 'string') : [];
  await empty(places.filter((place) => !present.includes(place)));
  await forgetTablespaces(volume);
}

/** The copy has replaced the old data, so its tablespaces now belong to the present data. */
export async function forgetTablespaces(volume: string): Promise<void> {
  await rm(join(volume, LIST), { force: true });
}

/** Whether the old data has a tablespace at a location that the copy needs. */
export async function sharesTablespace(tablespaces: readonly Tablespace[], data: string): Promise<boolean> {
  const present = await locationsOf(data);
  return tablespaces.some(({ location }) => present.includes(location));
}

/** Records the locations of a copy's tablespaces. Throws TABLESPACE_IN_USE if one is not empty. */
export async function claimTablespaces(tablespaces: readonly Tablespace[], place: Place): Promise<void> {
  const { node, volume, data } = place;
  const present = await locationsOf(data);
  for (const { name, location } of tablespaces) {
    if ((await entriesOf(location)).length === 0) continue;
    const why = present.includes(location)
      ? `where the old data of ${node} has its own: allow rebuildInPlace, so that the old data goes first`
      : `and that folder in the container of ${node} is not empty: empty it`;
    throw new KeeperError('TABLESPACE_IN_USE', `the copy needs ${location} of tablespace "${name}", ${why}`);
  }
  if (tablespaces.length === 0) return;
  await writeWhole(volume, LIST, JSON.stringify(tablespaces.map(({ location }) => location)));
}
