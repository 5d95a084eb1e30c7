/**
 * The titles that PostgreSQL gives its processes (`update_process_title`, `cluster_name`). A client's title is
 * `postgres: NODE: USER DATABASE HOST(PORT) ACTIVITY`, and the client chooses user and database, line breaks included. So
 * a title is read only by its beginning up to the node and by its end, which are PostgreSQL's own.
 */

/** A backend that no view shows yet. */
export function isConnecting(title: string): boolean {
  return /^postgres: .*\(\d+\) (initializing|authentication|startup)$/s.test(title);
}

/** The postmaster, and a child of it that has not made its own title yet. */
export function isUnnamed(title: string): boolean {
  return /^(\S*\/)?postgres /.test(title);
}

/** A walsender that sends log; an ordinary session never ends its title like that, whatever its user is called. */
export function isWalsender(title: string): boolean {
  return /^postgres: .*\(\d+\) (streaming [0-9A-F]+\/[0-9A-F]+|START_REPLICATION)$/s.test(title);
}

/** The startup process: alone in having nothing behind its activity, where a client's title has its address. */
export function isStartup(title: string, node: string): boolean {
  const head = `postgres: ${node}: startup`;
  return title.startsWith(head) && /^( (recovering|waiting for) [0-9A-F]{24})?$/.test(title.slice(head.length));
}

/** Timeline of the file of log that the startup process reads or waits for, by its title; null when it shows none. */
export function timelineOf(title: string): number | null {
  const file = /: startup (?:recovering|waiting for) ([0-9A-F]{8})[0-9A-F]{16}$/.exec(title);
  return file?.[1] === undefined ? null : Number.parseInt(file[1], 16);
}
