/**
 * The titles that PostgreSQL gives its processes (`update_process_title`, `cluster_name`). A client's title is
 * `postgres: NODE: USER DATABASE HOST(PORT) ACTIVITY`. The client chooses user and database, and may use line breaks in
 * them. So only the parts that PostgreSQL itself writes are read: the beginning up to the node, and the end.
 */

/** True for a backend that no view shows yet. */
export function isConnecting(title: string): boolean {
  return /^postgres: .*\(\d+\) (initializing|authentication|startup)$/s.test(title);
}

/** True for the postmaster, and for a child of it that has not set its own title yet. */
export function isUnnamed(title: string): boolean {
  return /^(\S*\/)?postgres /.test(title);
}

/**
 * True for a walsender that sends WAL. An ordinary session's title never ends like this, whatever its user is called.
 */
export function isWalsender(title: string): boolean {
  return /^postgres: .*\(\d+\) (streaming [0-9A-F]+\/[0-9A-F]+|START_REPLICATION)$/s.test(title);
}

/** True for the startup process. Only its title ends with its activity and has no client address. */
export function isStartup(title: string, node: string): boolean {
  const head = `postgres: ${node}: startup`;
  return title.startsWith(head) && /^( (recovering|waiting for) [0-9A-F]{24})?$/.test(title.slice(head.length));
}

/** Name of the WAL file that the startup process reads or waits for, from its title; null: the title shows none. */
export function walFileIn(title: string): string | null {
  return /: startup (?:recovering|waiting for) ([0-9A-F]{24})$/.exec(title)?.[1] ?? null;
}

/** Timeline of that file. */
export function timelineOf(title: string): number | null {
  const file = walFileIn(title);
  return file === null ? null : Number.parseInt(file.slice(0, 8), 16);
}
