/** Where the backups are, in words for people. */

/** Says where the backups are, and which loss takes them, too. The only place that words this. */
export function placeWords(): string {
  return 'The backups are in a volume on this machine: a loss of the machine loses them, too.';
}
