/**
 * Tablespaces outside the data directory. A copy has them at the leader's paths, because replay creates them there. So
 * the old data and a copy cannot both have a tablespace at one path. Files that an aborted copy left there are removed
 * before the next copy.
 */
import { mkdir, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeWhole } from '../../disk/durable';
import { KeeperError } from '../ports';
import type { Place } from './place';
import type { Session } from './session';

/**
 * A file in the volume that lists the locations that were empty when a copy began. Files in them belong to the copy.
 */
const LIST = 'data.tablespaces';

export interface Tablespace {
  name: string;
  location: string;
}

/** The locations of a data directory's tablespaces. */
export async function locationsOf(data: string): Promise<string[]> {
  const folder = join(data, 'pg_tblspc');
  const names = await readdir(folder).catch(() => []);
  const links = await Promise.all(names.map((name) => readlink(join(folder, name)).catch(() => null)));
  return links.filter((link) => link !== null);
}

/** Throws MUST_COPY when the folder of a tablespace of this data is gone, for example with the former container. */
export async function mustHaveTablespaces(data: string): Promise<void> {
  for (const location of await locationsOf(data)) {
    const entries = await readdir(location).catch(() => []);
    if (entries.some((entry) => entry.startsWith('PG_'))) continue;
    throw new KeeperError('MUST_COPY', `${location}, the folder of a tablespace of this data, is gone`);
  }
}

/**
 * The leader's tablespaces outside its data directory. Makes their folders here where that is possible, because
 * PostgreSQL makes none: it ends when it replays CREATE TABLESPACE without the folder.
 */
export async function askTablespaces(session: Session): Promise<Tablespace[]> {
  const where = "pg_tablespace_location(oid) LIKE '/%'";
  const question = `SELECT spcname AS name, pg_tablespace_location(oid) AS location FROM pg_tablespace WHERE ${where}`;
  const tablespaces = await session.ask<Tablespace>('tablespaces', question);
  await makeFolders(tablespaces.map(({ location }) => location));
  return tablespaces;
}

/** Makes these folders where that is possible. */
export async function makeFolders(locations: readonly string[]): Promise<void> {
  for (const location of locations) await mkdir(location, { recursive: true, mode: 0o700 }).catch(() => null);
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

/**
 * Records the locations of a copy's tablespaces. Resolves with true when the old data has its own at one of them and so
 * has to go first, which `mayRemove` allows. Throws TABLESPACE_IN_USE when a location cannot be used.
 */
export async function claimTablespaces(
  tablespaces: readonly Tablespace[],
  { node, volume, data, fresh, old, wal }: Place,
  mayRemove: boolean,
): Promise<boolean> {
  const present = await locationsOf(data);
  for (const { name, location } of tablespaces) {
    const refuse = (why: string) =>
      new KeeperError('TABLESPACE_IN_USE', `the copy needs ${location} of tablespace "${name}", ${why}`);
    const isOld = present.includes(location);
    if ([data, fresh, old, wal].some((folder) => `${location}/`.startsWith(`${folder}/`)))
      throw refuse('which a copy replaces with the data directory: move its contents to a tablespace beside it');
    const entries = await readdir(location).catch(() => null);
    if (entries === null) throw refuse(`which ${node} does not have and cannot make: make it, or use one in ${volume}`);
    if (entries.every((entry) => isOld && mayRemove && entry.startsWith('PG_'))) continue;
    if (!isOld || mayRemove) throw refuse(`and that folder in the container of ${node} is not empty: empty it`);
    throw refuse(`where the old data of ${node} has its own: allow rebuildInPlace, so that the old data goes first`);
  }
  const locations = tablespaces.map(({ location }) => location);
  if (locations.length > 0) await writeWhole(volume, LIST, JSON.stringify(locations));
  return mayRemove && locations.some((location) => present.includes(location));
}
