/** Where the backups are, in words for people. */
import type { BackupPart } from './api';

type Places = Pick<BackupPart, 'repository'> & { readonly second?: Pick<BackupPart, 'repository'> | undefined };

/** No backup is outside the machine with the data. */
export function isOnlyHere({ repository = 'local', second }: Places): boolean {
  return repository === 'local' && second === undefined;
}

/** A sentence for people: where the backups are, and which loss destroys them, too. All programs take it from here. */
export function placeWords(backup: Places): string {
  if (isOnlyHere(backup))
    return 'The backups are on the same machine as the data: a loss of the machine loses them, too.';
  const places = backup.second === undefined ? 'in S3 alone' : 'on this machine, and in S3';
  return `The backups are ${places}.`;
}

/** Name of a place for people. */
export function placeName(repository: BackupPart['repository']): string {
  return repository === 's3' ? 'S3' : 'this machine';
}
