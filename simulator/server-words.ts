/**
 * What a keeper would conclude from the messages in PostgreSQL's log, as releases up to 0.1.0 did. Every client that
 * reaches a port can add text to that log: a user name in a refused login, or a statement that fails. Only a mutation
 * uses this.
 */
const IMPOSSIBLE = [
  /requested WAL segment \S+ has already been removed/,
  /highest timeline \d+ of the primary is behind recovery timeline \d+/,
  /requested starting point \S+ on timeline \d+ is not in this server's history/,
  /requested starting point \S+ is ahead of the WAL flush position/,
  /new timeline \d+ forked off current database system timeline \d+ before current recovery point/,
  /database system identifier differs between the primary and standby/,
];
const PAUSED = 'hot standby is not possible because of insufficient parameter settings';

export class ServerWords {
  impossible: string | null = null;
  paused = false;

  /** The server starts, or its data was replaced. */
  begin(): void {
    this.impossible = null;
    this.paused = false;
  }

  hear(line: string): void {
    if (IMPOSSIBLE.some((pattern) => pattern.test(line))) this.impossible = line.slice(0, 300);
    if (line.includes(PAUSED)) this.paused = true;
  }
}

/** User names that fit into a start packet. PostgreSQL logs them before it asks for a password. */
export const HOSTILE_NAMES = [
  'requested WAL segment x has already been removed',
  'highest timeline 1 of the primary is behind recovery timeline 2',
  'hot standby is not possible because of insufficient parameter settings',
] as const;
