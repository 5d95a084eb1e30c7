/** Where a node has the files of its PostgreSQL. */
import { join } from 'node:path';
import { PORTS } from '../../contract/layout';

export type Place = ReturnType<typeof placeOf>;

/** The place in this volume. */
export function placeOf(node: string, clusterKey: string, volume: string) {
  // The configuration is outside the data directory, because copies and rewinds replace that.
  const conf = join(volume, 'conf');
  const port: number = PORTS.postgres;
  return {
    ...{ node, clusterKey, volume, conf, port },
    passfile: join(conf, 'pgpass'),
    configFile: join(conf, 'postgresql.conf'),
    data: join(volume, 'data'),
    /** Folder in which a copy is made. */
    fresh: join(volume, 'data.new'),
    /** Folder of the data that a copy has replaced. */
    old: join(volume, 'data.old'),
    /** Folder in which WAL is received while a copy is made. */
    wal: join(volume, 'data.wal'),
  };
}
