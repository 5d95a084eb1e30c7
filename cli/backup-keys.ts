/** The command `backup keys`: what a team keeps elsewhere, so that the backups in S3 can be restored on another machine. */
import type { Command } from 'commander';
import type { Common } from './commands';
import type { Io } from './io';
import { command, type Ended } from './program';
import type { KeptKeys } from './restore-from';

/** Adds it to `backup`. It needs the stack's config and outputs. */
export function backupKeysCommand(backup: Command, io: Io, ended: Ended): void {
  const about = 'prints place, key and passphrase of the backups in S3, all that "restore --s3-stdin" needs: a secret';
  command(backup, io, 'keys', about).action(async ({ stack }: Common) => {
    const { repositoryInS3 } = await import('./restore-from.js');
    const target = io.target(stack);
    const kept: KeptKeys = { ...(await repositoryInS3(target)), passphrase: await target.backupPassphrase() };
    io.out(JSON.stringify(kept, null, 2));
    ended(0);
  });
}
